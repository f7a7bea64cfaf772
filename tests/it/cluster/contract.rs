//! Saved plans: an apply is refused if a managed value has changed since it was read.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::support::cluster::{ClusterFixture, CommandOutput, config_map, deployment};
use crate::support::parts::apiserver::ApiProxy;

impl ClusterFixture {
    fn save(&self, text: &str) -> String {
        let (file, plan) = (
            self.manifest(text),
            self.path(&crate::support::parts::unique("plan")),
        );
        let ran = self.run(&["plan", "-f", &file, "--component", "web", "--out", &plan]);
        assert!([0, 2].contains(&ran.code), "{}", ran.err);
        plan
    }

    fn apply_plan(&self, plan: &str) -> CommandOutput {
        self.run(&["apply", plan, "--deploy-wait", "false"])
    }
}

#[tokio::test]
async fn a_changed_managed_value_is_refused_and_other_changes_are_allowed() {
    let fixture = ClusterFixture::new().await;
    fixture
        .apply("web", &config_map("c", "1"), &[])
        .expect_code(0);
    let path = fixture.config_map("c");

    let plan = fixture.save(&config_map("c", "2"));
    fixture
        .merge(
            &path,
            json!({"data": {"other": "x"}, "metadata": {"labels": {"seen": "yes"}}}),
        )
        .await;
    fixture.apply_plan(&plan).expect_code(0);
    assert_eq!(
        fixture.get(&path).await["data"],
        json!({"a": "2", "other": "x"})
    );

    let plan = fixture.save(&config_map("c", "3"));
    fixture.merge(&path, json!({"data": {"a": "theirs"}})).await;
    let refused = fixture.apply_plan(&plan).expect_code(3);
    assert!(
        refused.err.contains("data.a: plan \"2\" ↔ now \"theirs\""),
        "{}",
        refused.err
    );
    assert_eq!(fixture.get(&path).await["data"]["a"], "theirs");

    let replanned = fixture
        .run(&["apply", &plan, "--yes", "--deploy-moved", "replan"])
        .expect_code(0);
    assert!(
        replanned.err.contains("planning again"),
        "{}",
        replanned.err
    );
    assert_eq!(fixture.get(&path).await["data"]["a"], "3");
}

#[tokio::test]
async fn a_changed_secret_is_refused_and_not_shown() {
    let fixture = ClusterFixture::new().await;
    let secret = |value: &str| {
        format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\nstringData: {{p: {value}}}\n")
    };
    fixture
        .apply("web", &secret("marked-one"), &[])
        .expect_code(0);
    let plan = fixture.save(&secret("marked-two"));
    let path = format!("/api/v1/namespaces/{}/secrets/s", fixture.namespace);
    fixture
        .merge(&path, json!({"stringData": {"p": "marked-theirs"}}))
        .await;
    let refused = fixture.apply_plan(&plan).expect_code(3);
    assert!(
        refused.err.contains("data.p: plan") && !refused.err.contains("marked"),
        "{}",
        refused.err
    );
    let theirs = fixture.get(&path).await["data"]["p"].clone();
    assert_eq!(theirs, "bWFya2VkLXRoZWlycw==");
}

#[tokio::test]
async fn an_object_that_was_created_or_deleted_is_refused() {
    let fixture = ClusterFixture::new().await;
    let plan = fixture.save(&config_map("new", "1"));
    let path = fixture.config_map("new");
    fixture
        .create(
            &path.replace("/new", ""),
            json!({"metadata": {"name": "new"}, "data": {"a": "foreign"}}),
        )
        .await;
    assert!(
        fixture
            .apply_plan(&plan)
            .expect_code(3)
            .err
            .contains("exists now")
    );
    assert_eq!(fixture.get(&path).await["data"]["a"], "foreign");

    fixture
        .apply("web", &config_map("c", "1"), &[])
        .expect_code(0);
    let plan = fixture.save(&config_map("c", "1"));
    fixture.delete(&fixture.config_map("c")).await;
    assert!(
        fixture
            .apply_plan(&plan)
            .expect_code(3)
            .err
            .contains("no longer does")
    );
}

/// The server cannot dry-run what is in a namespace, or of a kind, that the set itself creates: the
/// plan does not know how such an object will be. It must not overwrite a later deploy of our own.
#[tokio::test]
async fn an_object_that_could_not_be_dry_run_is_only_created() {
    let fixture = ClusterFixture::new().await;
    let name = crate::support::parts::unique("contract");
    let set = |value: &str| {
        format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n---\n\
             apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c, namespace: {name}}}\ndata: {{a: {value}}}\n---\n\
             apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: d, namespace: {name}}}\nspec:\n  \
             selector: {{matchLabels: {{a: b}}}}\n  template:\n    metadata: {{labels: {{a: b}}}}\n    spec:\n      containers:\n      \
             - {{name: c, image: i, resources: {{requests: {{cpu: 1000m, memory: 0.5Gi}}}}}}\n"
        )
    };
    let plan = fixture.save(&set("one"));
    fixture.apply_plan(&plan).expect_code(0);
    let again = fixture.apply_plan(&plan).expect_code(0);
    assert!(again.out.contains("0 created, 0 changed"), "{}", again.out);
    let path = format!("/api/v1/namespaces/{name}/configmaps/c");
    for component in ["web", ""] {
        let component = match component {
            "" => vec![],
            name => vec!["--component", name],
        };
        let file = fixture.manifest(&set("two"));
        let apply = ["apply", "-f", &file, "--yes", "--deploy-wait", "false"];
        fixture.run(&[&apply, &*component].concat()).expect_code(0);
        let refused = fixture.apply_plan(&plan).expect_code(3);
        assert!(refused.err.contains("exists now"), "{}", refused.err);
        assert_eq!(fixture.get(&path).await["data"]["a"], "two");
    }
    fixture.delete(&format!("/api/v1/namespaces/{name}")).await;
}

/// A plan is for the object that was read, and not for a later one of the same name and values.
#[tokio::test]
async fn an_object_that_was_made_anew_with_the_same_values_is_refused() {
    let fixture = ClusterFixture::new().await;
    let theirs = json!({"metadata": {"name": "c"}, "data": {"a": "theirs"}});
    let path = fixture.config_map("c");
    let maps = path.trim_end_matches("/c");
    fixture.create(maps, theirs.clone()).await;
    let plan = fixture.save(&config_map("c", "1"));
    fixture.delete(&path).await;
    fixture.create(maps, theirs).await;
    let refused = fixture.apply_plan(&plan).expect_code(3);
    assert!(
        refused
            .err
            .contains("it was deleted and recreated since the plan was made"),
        "{}",
        refused.err
    );
    assert_eq!(fixture.get(&path).await["data"]["a"], "theirs");
}

#[tokio::test]
async fn saved_plans_are_shown_without_secrets_and_readable_by_their_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let fixture = ClusterFixture::new().await;
    let plan = fixture.save(
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
async fn fields_that_an_apply_would_remove_are_checked_too() {
    let fixture = ClusterFixture::new().await;
    let path = fixture.config_map("c");
    let two = config_map("c", "1").replace("}\n---", ", b: \"1\"}\n---");
    fixture.apply("web", &two, &[]).expect_code(0);
    let plan = fixture.save(&config_map("c", "1"));
    fixture.merge(&path, json!({"data": {"b": "theirs"}})).await;
    let refused = fixture.apply_plan(&plan).expect_code(3);
    assert!(
        refused.err.contains("data.b: plan \"1\" ↔ now \"theirs\""),
        "{}",
        refused.err
    );
    assert_eq!(
        fixture.get(&path).await["data"],
        json!({"a": "1", "b": "theirs"})
    );

    // Fields that kubectl applied are adopted, so the apply would remove this one.
    fixture
        .apply("web", &config_map("c", "1"), &[])
        .expect_code(0);
    let plan = fixture.save(&config_map("c", "2"));
    fixture
        .merge(
            &format!("{path}?fieldManager=kubectl-client-side-apply"),
            json!({"data": {"hotfix": "x"}}),
        )
        .await;
    let refused = fixture.apply_plan(&plan).expect_code(3);
    assert!(refused.err.contains("data.hotfix"), "{}", refused.err);
    assert_eq!(fixture.get(&path).await["data"]["hotfix"], "x");
}

/// A refused plan is not saved, and a plan made with other settings is not accepted.
#[tokio::test]
async fn a_plan_is_saved_only_if_accepted_and_valid_only_for_its_settings() {
    let fixture = ClusterFixture::new().await;
    let path = fixture.config_map("c");
    let theirs = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "theirs"}});
    fixture.apply_as("somebody", &path, theirs).await;
    let (file, plan) = (
        fixture.manifest(&config_map("c", "1")),
        fixture.path("plan"),
    );
    fixture
        .run(&[
            "plan",
            "-f",
            &file,
            "--out",
            &plan,
            "--deploy-conflicts",
            "refuse",
        ])
        .expect_code(6);
    assert!(!std::path::Path::new(&plan).exists());

    let plan = fixture.save(&config_map("c", "1"));
    let refused = fixture
        .run(&["apply", &plan, "--deploy-ignore", "ConfigMap:/data/a"])
        .expect_code(3);
    assert!(
        refused.err.contains("have changed since the plan was made"),
        "{}",
        refused.err
    );
    let refused = fixture
        .run(&["apply", &plan, "--component", "other"])
        .expect_code(64);
    assert!(refused.err.contains("the component web"), "{}", refused.err);
    assert_eq!(fixture.get(&path).await["data"]["a"], "theirs");
    let dry = fixture.run(&["apply", &plan, "--dry-run"]).expect_code(2);
    assert!(dry.err.contains("still fits"), "{}", dry.err);
}

/// Lists are checked item by item: items that another manager adds are allowed.
#[tokio::test]
async fn list_items_that_others_add_are_allowed() {
    let fixture = ClusterFixture::new().await;
    let path = format!(
        "/apis/apps/v1/namespaces/{}/deployments/web",
        fixture.namespace
    );
    fixture
        .apply("web", &deployment("web", 1), &["--deploy-wait", "false"])
        .expect_code(0);
    let plan = fixture.save(&deployment("web", 2));
    let sidecar = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"template": {"spec": {"containers": [{"name": "sidecar", "image": "i"}]}}}});
    fixture.apply_as("injector", &path, sidecar).await;
    fixture.apply_plan(&plan).expect_code(0);
    let now = fixture.get(&path).await;
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
async fn a_changed_ignored_field_is_no_conflict() {
    let fixture = ClusterFixture::new().await;
    let path = format!(
        "/apis/apps/v1/namespaces/{}/deployments/web",
        fixture.namespace
    );
    let set = |image: &str| {
        let scaled = deployment("web", 1).replace(
            "metadata: {name: web}",
            "metadata: {name: web, annotations: {nuon.co/ignore-fields: /spec/replicas}}",
        );
        format!("{scaled}\n---\n{}", config_map("c", image))
    };
    fixture
        .apply("web", &set("1"), &["--deploy-wait", "false"])
        .expect_code(0);
    let plan = fixture.save(&set("2"));
    fixture.merge(&path, json!({"spec": {"replicas": 3}})).await;
    fixture.apply_plan(&plan).expect_code(0);
    assert_eq!(fixture.get(&path).await["spec"]["replicas"], 3);
}

/// An object that was absent in the plan is only created: if another client creates it at the same
/// moment, it is not overwritten.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_others_create_at_the_same_moment_is_never_overwritten() {
    let fixture = ClusterFixture::new().await;
    let proxy = ApiProxy::start().await;
    std::fs::write(fixture.path("kubeconfig"), proxy.kubeconfig()).unwrap();
    let foreign = json!({"metadata": {"name": "c"}, "data": {"a": "theirs"}});
    let path = fixture.config_map("c");
    let maps = path.trim_end_matches("/c").to_owned();

    let plan = fixture.save(&config_map("c", "1"));
    proxy.create_before_write("/configmaps/c", &maps, foreign.clone());
    let refused = fixture.apply_plan(&plan).expect_code(3);
    assert!(refused.err.contains("exists now"), "{}", refused.err);
    assert_eq!(fixture.get(&path).await["data"]["a"], "theirs");

    fixture.delete(&path).await;
    proxy.create_before_write("/configmaps/c", &maps, foreign);
    fixture
        .apply("web", &config_map("c", "1"), &[])
        .expect_code(3);
    assert_eq!(fixture.get(&path).await["data"]["a"], "theirs");
    // We did not create it, so a teardown does not delete it.
    fixture.tear_down("web", &[]).expect_code(0);
    assert_eq!(fixture.get(&path).await["data"]["a"], "theirs");
}

/// Another client changes an object after the check of the plan and right before the first write.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_at_the_moment_of_the_write_is_never_overwritten() {
    let maps = |fixture: &ClusterFixture| fixture.config_map("c");
    let deployments = |fixture: &ClusterFixture| {
        let namespace = &fixture.namespace;
        format!("/apis/apps/v1/namespaces/{namespace}/deployments/c")
    };
    let recreated = deployment("c", 1).replace(
        "spec:\n  replicas",
        "spec:\n  strategy: {type: Recreate}\n  replicas",
    );
    type Path = fn(&ClusterFixture) -> String;
    let cases: [(Path, bool, String, String, Value); 3] = [
        (
            maps,
            false,
            config_map("c", "1"),
            config_map("c", "2"),
            json!({"data": {"a": "theirs"}}),
        ),
        (
            maps,
            true,
            String::new(),
            config_map("c", "2"),
            json!({"data": {"a": "theirs"}}),
        ),
        (
            deployments,
            false,
            deployment("c", 1),
            recreated,
            json!({"spec": {"replicas": 0}}),
        ),
    ];
    for (path, is_adopted, before, after, change) in cases {
        let fixture = ClusterFixture::new().await;
        let proxy = ApiProxy::start().await;
        std::fs::write(fixture.path("kubeconfig"), proxy.kubeconfig()).unwrap();
        let path = path(&fixture);
        if is_adopted {
            let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1"}});
            fixture.apply_as("kubectl", &path, object).await;
        } else {
            let made = fixture.apply("web", &before, &["--deploy-wait", "false"]);
            made.expect_code(0);
        }
        let plan = fixture.save(&after);
        proxy.change_before_write(&path, change.clone());
        let refused = fixture.apply_plan(&plan).expect_code(3);
        let now = fixture.get(&path).await;
        let member = if change.get("data").is_some() {
            "/data/a"
        } else {
            "/spec/replicas"
        };
        assert_eq!(
            now.pointer(member),
            change.pointer(member),
            "{}",
            refused.err
        );
    }
}

/// Another client writes between plan and apply, either a managed value or another field.
#[tokio::test]
async fn seeded_races_between_plan_and_apply_have_the_expected_result() {
    let races: u64 = std::env::var("NUON_RACES")
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(12);
    let fixture = ClusterFixture::new().await;
    let web = format!(
        "/apis/apps/v1/namespaces/{}/deployments/web",
        fixture.namespace
    );
    let (mut unapproved, mut needless) = (Vec::new(), Vec::new());
    let set = |value: &str, more: &str, replicas: u32| {
        let map = config_map("c", value).replace("}\n---", &format!("{more}}}\n---"));
        format!("{map}{}", deployment("web", replicas))
    };
    for seed in 0..races {
        let mut rng = StdRng::seed_from_u64(seed);
        fixture
            .apply(
                "web",
                &set(&format!("{seed}"), ", b: \"1\"", 1),
                &["--deploy-wait", "false"],
            )
            .expect_code(0);
        let new = format!("n{seed}");
        let next = format!(
            "{}{}",
            set(&format!("{seed}-next"), "", rng.random_range(1..3)),
            config_map(&new, "ours")
        );
        let plan = fixture.save(&next);
        let (touched, kind) = (rng.random_bool(0.5), rng.random_range(0..6));
        let path = match (touched, kind) {
            (true, 0 | 3 | 5) | (false, 0 | 4) => fixture.config_map("c"),
            (true, 4) => fixture.config_map(&new),
            _ => web.clone(),
        };
        let container = |name: &str| {
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
                "spec": {"template": {"spec": {"containers": [{"name": name, "image": format!("raced-{seed}")}]}}}})
        };
        match (touched, kind) {
            (true, 0) => {
                fixture
                    .merge(&path, json!({"data": {"a": format!("raced-{seed}")}}))
                    .await
            }
            (true, 1) => {
                fixture
                    .merge(&path, json!({"spec": {"replicas": 3 + seed}}))
                    .await
            }
            // A list item that is identified by its name.
            (true, 2) => fixture.apply_as("somebody", &path, container("c")).await,
            // Fields that the apply would remove: our own, and those of an adopted manager.
            (true, 3) => {
                fixture
                    .merge(&path, json!({"data": {"b": format!("raced-{seed}")}}))
                    .await
            }
            (true, 4) => {
                let maps = fixture.config_map("").trim_end_matches('/').to_owned();
                fixture
                    .create(
                        &maps,
                        json!({"metadata": {"name": new}, "data": {"a": "theirs"}}),
                    )
                    .await
            }
            (true, _) => {
                let kubectl = format!("{path}?fieldManager=kubectl-client-side-apply");
                fixture
                    .merge(&kubectl, json!({"data": {"hotfix": format!("{seed}")}}))
                    .await
            }
            (false, 0) => {
                fixture
                    .merge(&path, json!({"data": {"other": format!("{seed}")}}))
                    .await
            }
            (false, 1) => {
                fixture
                    .merge(
                        &path,
                        json!({"metadata": {"annotations": {"seen": format!("{seed}")}}}),
                    )
                    .await
            }
            (false, 2) => {
                fixture
                    .merge(&path, json!({"spec": {"minReadySeconds": seed % 5}}))
                    .await
            }
            (false, 3) => {
                fixture
                    .apply_as("injector", &path, container("sidecar"))
                    .await
            }
            (false, 4) => {
                fixture
                    .merge(
                        &path,
                        json!({"metadata": {"labels": {"seen": format!("{seed}")}}}),
                    )
                    .await
            }
            (false, _) => {
                fixture
                    .merge(
                        &path,
                        json!({"spec": {"revisionHistoryLimit": 3 + seed % 5}}),
                    )
                    .await
            }
        };
        let before = fixture.get(&path).await;
        let ran = fixture.apply_plan(&plan);
        match (touched, ran.code) {
            (true, 3) => {
                let after = fixture.get(&path).await;
                if data_and_spec(&before) != data_and_spec(&after) {
                    unapproved.push(format!("{seed} ({kind})"));
                }
            }
            (true, code) => unapproved.push(format!("{seed} ({kind}): exit code {code}")),
            (false, 0) => {}
            (false, _) => needless.push(format!("{seed} ({kind}): {}", ran.err)),
        }
    }
    assert!(unapproved.is_empty(), "unapproved writes: {unapproved:?}");
    assert!(
        needless.is_empty(),
        "refused without a conflict: {needless:?}"
    );
}

fn data_and_spec(object: &Value) -> (Value, Value) {
    (object["data"].clone(), object["spec"].clone())
}
