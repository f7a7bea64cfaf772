//! An approved plan is a contract: what it touches must be as it was read.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};

use super::{Bench, Ran, config_map, deployment};

impl Bench {
    fn save(&self, text: &str) -> String {
        let (file, plan) = (self.manifest(text), self.path(&crate::parts::unique("plan")));
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
    bench.merge(&path, json!({"data": {"other": "x"}, "metadata": {"labels": {"seen": "yes"}}})).await;
    bench.apply_plan(&plan).ended(0);
    assert_eq!(bench.get(&path).await["data"], json!({"a": "2", "other": "x"}));

    let plan = bench.save(&config_map("c", "3"));
    bench.merge(&path, json!({"data": {"a": "theirs"}})).await;
    let refused = bench.apply_plan(&plan).ended(3);
    assert!(refused.err.contains("data.a: plan \"2\" ↔ now \"theirs\""), "{}", refused.err);
    assert_eq!(bench.get(&path).await["data"]["a"], "theirs");

    let replanned = bench.run(&["apply", &plan, "--yes", "--deploy-moved", "replan"]).ended(0);
    assert!(replanned.err.contains("planned anew"), "{}", replanned.err);
    assert_eq!(bench.get(&path).await["data"]["a"], "3");
}

#[tokio::test]
async fn a_secret_that_moved_is_refused_and_not_shown() {
    let bench = Bench::new().await;
    let secret =
        |value: &str| format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\nstringData: {{p: {value}}}\n");
    bench.apply("web", &secret("marked-one"), &[]).ended(0);
    let plan = bench.save(&secret("marked-two"));
    let path = format!("/api/v1/namespaces/{}/secrets/s", bench.namespace);
    bench.merge(&path, json!({"stringData": {"p": "marked-theirs"}})).await;
    let refused = bench.apply_plan(&plan).ended(3);
    assert!(refused.err.contains("data.p: plan") && !refused.err.contains("marked"), "{}", refused.err);
    let theirs = bench.get(&path).await["data"]["p"].clone();
    assert_eq!(theirs, "bWFya2VkLXRoZWlycw==");
}

#[tokio::test]
async fn an_object_that_appeared_or_went_is_refused() {
    let bench = Bench::new().await;
    let plan = bench.save(&config_map("new", "1"));
    let path = bench.config_map("new");
    bench.create(&path.replace("/new", ""), json!({"metadata": {"name": "new"}, "data": {"a": "foreign"}})).await;
    assert!(bench.apply_plan(&plan).ended(3).err.contains("now it is there"));
    assert_eq!(bench.get(&path).await["data"]["a"], "foreign");

    bench.apply("web", &config_map("c", "1"), &[]).ended(0);
    let plan = bench.save(&config_map("c", "1"));
    bench.delete(&bench.config_map("c")).await;
    assert!(bench.apply_plan(&plan).ended(3).err.contains("now it is not"));
}

#[tokio::test]
async fn saved_plans_are_shown_without_secrets_and_are_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let bench = Bench::new().await;
    let plan = bench.save("apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {p: marked-secret}\n");
    assert_eq!(std::fs::metadata(&plan).unwrap().permissions().mode() & 0o777, 0o600);
    let shown = bench.run(&["plan", "show", &plan]);
    // `plan show` asks no cluster.
    let shown = if shown.code == 64 {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_nuon-runner"))
            .args(["plan", "show", &plan])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    } else {
        shown.out
    };
    assert!(
        shown.contains("+ Secret/") && shown.contains("1 to create") && !shown.contains("marked-secret"),
        "{shown}"
    );
}

/// Between plan and apply somebody writes; what the plan touches, or something else.
#[tokio::test]
async fn seeded_races_between_plan_and_apply_end_as_they_must() {
    let races: u64 = std::env::var("NUON_RACES").ok().and_then(|count| count.parse().ok()).unwrap_or(12);
    let bench = Bench::new().await;
    let deployment_path = format!("/apis/apps/v1/namespaces/{}/deployments/web", bench.namespace);
    let (mut unapproved, mut needless) = (Vec::new(), Vec::new());
    bench
        .apply("web", &format!("{}{}", config_map("c", "0"), deployment("web", 1)), &["--deploy-wait", "false"])
        .ended(0);
    for seed in 0..races {
        let mut rng = StdRng::seed_from_u64(seed);
        let next =
            format!("{}{}", config_map("c", &format!("{}", seed + 1)), deployment("web", rng.random_range(1..3)));
        let plan = bench.save(&next);
        let touched = rng.random_bool(0.5);
        let (path, change) = match (touched, rng.random_range(0..3)) {
            (true, 0) => (bench.config_map("c"), json!({"data": {"a": format!("raced-{seed}")}})),
            (true, _) => (deployment_path.clone(), json!({"spec": {"replicas": 3 + seed}})),
            (false, 0) => (bench.config_map("c"), json!({"data": {"other": format!("{seed}")}})),
            (false, 1) => (deployment_path.clone(), json!({"metadata": {"annotations": {"seen": format!("{seed}")}}})),
            (false, _) => (deployment_path.clone(), json!({"spec": {"minReadySeconds": seed % 5}})),
        };
        bench.merge(&path, change.clone()).await;
        let before = bench.get(&path).await;
        let ran = bench.apply_plan(&plan);
        match (touched, ran.code) {
            (true, 3) => {
                let after = bench.get(&path).await;
                if essence(&before) != essence(&after) {
                    unapproved.push(format!("{seed}: {change}"));
                }
                // The next race begins where this one left off.
                bench.apply("web", &next, &["--deploy-wait", "false"]).ended(0);
            }
            (true, _) => unapproved.push(format!("{seed}: {change}: exit code {}", ran.code)),
            (false, 0) => {}
            (false, _) => needless.push(format!("{seed}: {change}: {}", ran.err)),
        }
    }
    assert!(unapproved.is_empty(), "unapproved writes: {unapproved:?}");
    assert!(needless.is_empty(), "refused for nothing: {needless:?}");
}

fn essence(object: &Value) -> (Value, Value) {
    (object["data"].clone(), object["spec"].clone())
}
