//! Saved plans: an apply is refused if a managed value has changed since it was read.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};

use super::{Bench, Ran, config_map, deployment};
use crate::parts::apiserver::ApiProxy;

impl Bench {
    fn save(&self, text: &str) -> String {
        let (file, plan) = (
            self.manifest(text),
            self.path(&crate::parts::unique("plan")),
        );
        let ran = self.run(&["plan", "-f", &file, "--component", "web", "--out", &plan]);
        assert!([0, 2].contains(&ran.code), "{}", ran.err);
        plan
    }

    fn apply_plan(&self, plan: &str) -> Ran {
        self.run(&["apply", plan, "--deploy-wait", "false"])
    }
}

#[tokio::test]
async fn a_touched_field_that_moved_is_refused_and_others_pass() {
    let bench = Bench::new().await;
    bench.apply("web", &config_map("c", "1"), &[]).ended(0);
    let path = bench.config_map("c");

    let plan = bench.save(&config_map("c", "2"));
    bench
        .merge(
            &path,
            json!({"data": {"other": "x"}, "metadata": {"labels": {"seen": "yes"}}}),
        )
        .await;
    bench.apply_plan(&plan).ended(0);
    assert_eq!(
        bench.get(&path).await["data"],
        json!({"a": "2", "other": "x"})
    );

    let plan = bench.save(&config_map("c", "3"));
    bench.merge(&path, json!({"data": {"a": "theirs"}})).await;
    let refused = bench.apply_plan(&plan).ended(3);
    assert!(
        refused.err.contains("data.a: plan \"2\" ↔ now \"theirs\""),
        "{}",
        refused.err
    );
    assert_eq!(bench.get(&path).await["data"]["a"], "theirs");

    let replanned = bench
        .run(&["apply", &plan, "--yes", "--deploy-moved", "replan"])
        .ended(0);
    assert!(
        replanned.err.contains("planning again"),
        "{}",
        replanned.err
    );
    assert_eq!(bench.get(&path).await["data"]["a"], "3");
}

#[tokio::test]
async fn a_secret_that_moved_is_refused_and_not_shown() {
    let bench = Bench::new().await;
    let secret = |value: &str| {
        format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\nstringData: {{p: {value}}}\n")
    };
    bench.apply("web", &secret("marked-one"), &[]).ended(0);
    let plan = bench.save(&secret("marked-two"));
    let path = format!("/api/v1/namespaces/{}/secrets/s", bench.namespace);
    bench
        .merge(&path, json!({"stringData": {"p": "marked-theirs"}}))
        .await;
    let refused = bench.apply_plan(&plan).ended(3);
    assert!(
        refused.err.contains("data.p: plan") && !refused.err.contains("marked"),
        "{}",
        refused.err
    );
    let theirs = bench.get(&path).await["data"]["p"].clone();
    assert_eq!(theirs, "bWFya2VkLXRoZWlycw==");
}

#[tokio::test]
async fn an_object_that_appeared_or_went_is_refused() {
    let bench = Bench::new().await;
    let plan = bench.save(&config_map("new", "1"));
    let path = bench.config_map("new");
    bench
        .create(
            &path.replace("/new", ""),
            json!({"metadata": {"name": "new"}, "data": {"a": "foreign"}}),
        )
        .await;
    assert!(bench.apply_plan(&plan).ended(3).err.contains("exists now"));
    assert_eq!(bench.get(&path).await["data"]["a"], "foreign");

    bench.apply("web", &config_map("c", "1"), &[]).ended(0);
    let plan = bench.save(&config_map("c", "1"));
    bench.delete(&bench.config_map("c")).await;
    assert!(
        bench
            .apply_plan(&plan)
            .ended(3)
            .err
            .contains("no longer does")
    );
}

#[tokio::test]
async fn saved_plans_are_shown_without_secrets_and_are_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let bench = Bench::new().await;
    let plan = bench.save(
        "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {p: marked-secret}\n",
    );
    assert_eq!(
        std::fs::metadata(&plan).unwrap().permissions().mode() & 0o777,
        0o600
    );
    // `plan show` contacts no cluster, so it takes no cluster arguments.
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_nuon-runner"))
        .args(["plan", "show", &plan])
        .output()
        .unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(
        shown.contains("+ Secret/")
            && shown.contains("1 to create")
            && !shown.contains("marked-secret"),
        "{shown}"
    );
}

/// Fields that the apply would remove are checked like fields that it would set.
#[tokio::test]
async fn what_an_apply_would_take_away_is_touched_too() {
    let bench = Bench::new().await;
    let path = bench.config_map("c");
    let two = config_map("c", "1").replace("}\n---", ", b: \"1\"}\n---");
    bench.apply("web", &two, &[]).ended(0);
    let plan = bench.save(&config_map("c", "1"));
    bench.merge(&path, json!({"data": {"b": "theirs"}})).await;
    let refused = bench.apply_plan(&plan).ended(3);
    assert!(
        refused.err.contains("data.b: plan \"1\" ↔ now \"theirs\""),
        "{}",
        refused.err
    );
    assert_eq!(
        bench.get(&path).await["data"],
        json!({"a": "1", "b": "theirs"})
    );

    // Fields that kubectl applied are adopted, so the apply would remove this one.
    bench.apply("web", &config_map("c", "1"), &[]).ended(0);
    let plan = bench.save(&config_map("c", "2"));
    bench
        .merge(
            &format!("{path}?fieldManager=kubectl-client-side-apply"),
            json!({"data": {"hotfix": "x"}}),
        )
        .await;
    let refused = bench.apply_plan(&plan).ended(3);
    assert!(refused.err.contains("data.hotfix"), "{}", refused.err);
    assert_eq!(bench.get(&path).await["data"]["hotfix"], "x");
}

/// A refused plan is not saved, and a plan made with other settings is not accepted.
#[tokio::test]
async fn a_plan_is_of_its_settings_and_of_what_was_accepted() {
    let bench = Bench::new().await;
    let path = bench.config_map("c");
    let theirs = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "theirs"}});
    bench.apply_as("somebody", &path, theirs).await;
    let (file, plan) = (bench.manifest(&config_map("c", "1")), bench.path("plan"));
    bench
        .run(&[
            "plan",
            "-f",
            &file,
            "--out",
            &plan,
            "--deploy-conflicts",
            "refuse",
        ])
        .ended(6);
    assert!(!std::path::Path::new(&plan).exists());

    let plan = bench.save(&config_map("c", "1"));
    let refused = bench
        .run(&["apply", &plan, "--deploy-ignore", "ConfigMap:/data/a"])
        .ended(3);
    assert!(
        refused.err.contains("have changed since the plan was made"),
        "{}",
        refused.err
    );
    let refused = bench
        .run(&["apply", &plan, "--component", "other"])
        .ended(64);
    assert!(refused.err.contains("the component web"), "{}", refused.err);
    assert_eq!(bench.get(&path).await["data"]["a"], "theirs");
    let dry = bench.run(&["apply", &plan, "--dry-run"]).ended(2);
    assert!(dry.err.contains("still fits"), "{}", dry.err);
}

/// Lists are checked item by item: items that another manager adds are allowed.
#[tokio::test]
async fn what_others_add_to_a_list_passes() {
    let bench = Bench::new().await;
    let path = format!(
        "/apis/apps/v1/namespaces/{}/deployments/web",
        bench.namespace
    );
    bench
        .apply("web", &deployment("web", 1), &["--deploy-wait", "false"])
        .ended(0);
    let plan = bench.save(&deployment("web", 2));
    let sidecar = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"template": {"spec": {"containers": [{"name": "sidecar", "image": "i"}]}}}});
    bench.apply_as("injector", &path, sidecar).await;
    bench.apply_plan(&plan).ended(0);
    let now = bench.get(&path).await;
    assert_eq!(now["spec"]["replicas"], 2);
    assert_eq!(
        now["spec"]["template"]["spec"]["containers"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

/// A change of an ignored field is no conflict.
#[tokio::test]
async fn an_ignored_field_that_moves_is_no_breach() {
    let bench = Bench::new().await;
    let path = format!(
        "/apis/apps/v1/namespaces/{}/deployments/web",
        bench.namespace
    );
    let set = |image: &str| {
        let scaled = deployment("web", 1).replace(
            "metadata: {name: web}",
            "metadata: {name: web, annotations: {nuon.co/ignore-fields: /spec/replicas}}",
        );
        format!("{scaled}\n---\n{}", config_map("c", image))
    };
    bench
        .apply("web", &set("1"), &["--deploy-wait", "false"])
        .ended(0);
    let plan = bench.save(&set("2"));
    bench.merge(&path, json!({"spec": {"replicas": 3}})).await;
    bench.apply_plan(&plan).ended(0);
    assert_eq!(bench.get(&path).await["spec"]["replicas"], 3);
}

/// An object that was absent in the plan is only created: if another client creates it at the same
/// moment, it is not overwritten.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_made_by_others_in_the_same_moment_is_never_written_over() {
    let bench = Bench::new().await;
    let proxy = ApiProxy::start().await;
    std::fs::write(bench.path("kubeconfig"), proxy.kubeconfig()).unwrap();
    let foreign = json!({"metadata": {"name": "c"}, "data": {"a": "theirs"}});
    let path = bench.config_map("c");
    let maps = path.trim_end_matches("/c").to_owned();

    let plan = bench.save(&config_map("c", "1"));
    proxy.ambush("/configmaps/c", &maps, foreign.clone());
    let refused = bench.apply_plan(&plan).ended(3);
    assert!(refused.err.contains("exists now"), "{}", refused.err);
    assert_eq!(bench.get(&path).await["data"]["a"], "theirs");

    bench.delete(&path).await;
    proxy.ambush("/configmaps/c", &maps, foreign);
    bench.apply("web", &config_map("c", "1"), &[]).ended(3);
    assert_eq!(bench.get(&path).await["data"]["a"], "theirs");
    // We did not create it, so a teardown does not delete it.
    bench.tear_down("web", &[]).ended(0);
    assert_eq!(bench.get(&path).await["data"]["a"], "theirs");
}

/// Another client writes between plan and apply, either a managed value or another field.
#[tokio::test]
async fn seeded_races_between_plan_and_apply_end_as_they_must() {
    let races: u64 = std::env::var("NUON_RACES")
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(12);
    let bench = Bench::new().await;
    let web = format!(
        "/apis/apps/v1/namespaces/{}/deployments/web",
        bench.namespace
    );
    let (mut unapproved, mut needless) = (Vec::new(), Vec::new());
    let set = |value: &str, more: &str, replicas: u32| {
        let map = config_map("c", value).replace("}\n---", &format!("{more}}}\n---"));
        format!("{map}{}", deployment("web", replicas))
    };
    for seed in 0..races {
        let mut rng = StdRng::seed_from_u64(seed);
        bench
            .apply(
                "web",
                &set(&format!("{seed}"), ", b: \"1\"", 1),
                &["--deploy-wait", "false"],
            )
            .ended(0);
        let new = format!("n{seed}");
        let next = format!(
            "{}{}",
            set(&format!("{seed}-next"), "", rng.random_range(1..3)),
            config_map(&new, "ours")
        );
        let plan = bench.save(&next);
        let (touched, kind) = (rng.random_bool(0.5), rng.random_range(0..6));
        let path = match (touched, kind) {
            (true, 0 | 3 | 5) | (false, 0 | 4) => bench.config_map("c"),
            (true, 4) => bench.config_map(&new),
            _ => web.clone(),
        };
        let container = |name: &str| {
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
                "spec": {"template": {"spec": {"containers": [{"name": name, "image": format!("raced-{seed}")}]}}}})
        };
        match (touched, kind) {
            (true, 0) => {
                bench
                    .merge(&path, json!({"data": {"a": format!("raced-{seed}")}}))
                    .await
            }
            (true, 1) => {
                bench
                    .merge(&path, json!({"spec": {"replicas": 3 + seed}}))
                    .await
            }
            // A list item that is identified by its name.
            (true, 2) => bench.apply_as("somebody", &path, container("c")).await,
            // Fields that the apply would remove: our own, and those of an adopted manager.
            (true, 3) => {
                bench
                    .merge(&path, json!({"data": {"b": format!("raced-{seed}")}}))
                    .await
            }
            (true, 4) => {
                let maps = bench.config_map("").trim_end_matches('/').to_owned();
                bench
                    .create(
                        &maps,
                        json!({"metadata": {"name": new}, "data": {"a": "theirs"}}),
                    )
                    .await
            }
            (true, _) => {
                let kubectl = format!("{path}?fieldManager=kubectl-client-side-apply");
                bench
                    .merge(&kubectl, json!({"data": {"hotfix": format!("{seed}")}}))
                    .await
            }
            (false, 0) => {
                bench
                    .merge(&path, json!({"data": {"other": format!("{seed}")}}))
                    .await
            }
            (false, 1) => {
                bench
                    .merge(
                        &path,
                        json!({"metadata": {"annotations": {"seen": format!("{seed}")}}}),
                    )
                    .await
            }
            (false, 2) => {
                bench
                    .merge(&path, json!({"spec": {"minReadySeconds": seed % 5}}))
                    .await
            }
            (false, 3) => {
                bench
                    .apply_as("injector", &path, container("sidecar"))
                    .await
            }
            (false, 4) => {
                bench
                    .merge(
                        &path,
                        json!({"metadata": {"labels": {"seen": format!("{seed}")}}}),
                    )
                    .await
            }
            (false, _) => {
                bench
                    .merge(
                        &path,
                        json!({"spec": {"revisionHistoryLimit": 3 + seed % 5}}),
                    )
                    .await
            }
        };
        let before = bench.get(&path).await;
        let ran = bench.apply_plan(&plan);
        match (touched, ran.code) {
            (true, 3) => {
                let after = bench.get(&path).await;
                if essence(&before) != essence(&after) {
                    unapproved.push(format!("{seed} ({kind})"));
                }
            }
            (true, code) => unapproved.push(format!("{seed} ({kind}): exit code {code}")),
            (false, 0) => {}
            (false, _) => needless.push(format!("{seed} ({kind}): {}", ran.err)),
        }
    }
    assert!(unapproved.is_empty(), "unapproved writes: {unapproved:?}");
    assert!(needless.is_empty(), "refused for nothing: {needless:?}");
}

fn essence(object: &Value) -> (Value, Value) {
    (object["data"].clone(), object["spec"].clone())
}
