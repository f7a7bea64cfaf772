//! Deploys through a failing network, and processes that are killed during a deploy.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::cluster::{ClusterFixture, changes, config_map, deployment};
use crate::support::parts::apiserver::ApiProxy;

fn count(variable: &str, usual: u64) -> u64 {
    std::env::var(variable)
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(usual)
}

fn set(size: usize, value: &str) -> String {
    (0..size)
        .map(|at| config_map(&format!("c{at}"), value))
        .chain([deployment("web", 1)])
        .collect()
}

/// Runs a command and kills it after this many requests are answered. Returns true if it ended
/// before.
async fn killed_after(proxy: &ApiProxy, requests: usize, mut command: Command) -> bool {
    proxy.silence_after(requests);
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while proxy.count() <= requests && child.try_wait().unwrap().is_none() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let has_ended = child.try_wait().unwrap().is_some();
    child.kill().unwrap();
    child.wait().unwrap();
    proxy.silence_after(usize::MAX);
    has_ended
}

/// With seeded faults in 5 of 100 requests, a deploy succeeds, or reports a failure that the next
/// deploy repairs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deploys_through_a_failing_network_succeed_or_report_failure() {
    for seed in 0..count("NUON_FAULTY_DEPLOYS", 4) {
        let fixture = ClusterFixture::new().await;
        let proxy = ApiProxy::with_faults(5, seed).await;
        std::fs::write(fixture.path("kubeconfig"), proxy.kubeconfig()).unwrap();
        let mut tries = 0;
        for value in ["1", "2"] {
            loop {
                tries += 1;
                let ran = fixture.apply("web", &set(20, value), &[]);
                if ran.code == 0 {
                    break;
                }
                assert!(tries < 6, "seed {seed}: {}", ran.err);
                assert!(
                    ran.err.contains("error: "),
                    "seed {seed}: a failure has a reason: {}",
                    ran.err
                );
            }
        }
        for at in 0..20 {
            assert_eq!(
                fixture.get(&fixture.config_map(&format!("c{at}"))).await["data"]["a"],
                "2",
                "seed {seed}"
            );
        }
    }
}

/// After an interrupted apply, the same saved plan can be applied again: its own changes are no
/// conflict.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_apply_is_finished_by_the_same_plan() {
    let every = usize::try_from(count("NUON_KILL_EVERY", 5)).unwrap();
    let proxy = ApiProxy::start().await;
    let (before, after) = (
        format!("{}{}", set(4, "1"), config_map("goes", "1")),
        format!("{}{}", set(4, "2"), config_map("new", "1")),
    );
    let mut whole = usize::MAX;
    let mut at = 0;
    while at < whole {
        let fixture = ClusterFixture::new().await;
        std::fs::write(fixture.path("kubeconfig"), proxy.kubeconfig()).unwrap();
        fixture.apply("web", &before, &[]).expect_code(0);
        let (file, plan) = (fixture.manifest(&after), fixture.path("plan"));
        fixture
            .run(&["plan", "-f", &file, "--component", "web", "--out", &plan])
            .expect_code(2);
        proxy.take();
        if killed_after(&proxy, at, fixture.command(&["apply", &plan])).await {
            whole = proxy.count();
        }
        let ran = fixture.run(&["apply", &plan]);
        assert_eq!(ran.code, 0, "after request {at}: {}", ran.err);
        assert_eq!(
            changes(&fixture.plan("web", &after)),
            Vec::<String>::new(),
            "after request {at}"
        );
        assert_eq!(
            fixture.get(&fixture.config_map("goes")).await,
            Value::Null,
            "after request {at}"
        );
        at += every;
    }
    assert!(whole > 12, "{whole} requests");
}

/// A namespace of a name alone bears no trace of who applied it.
#[tokio::test]
async fn a_saved_plan_with_a_new_namespace_can_be_applied_again() {
    let fixture = ClusterFixture::new().await;
    let name = format!("{}-bare", fixture.namespace);
    let namespace = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n---\n");
    let inside =
        config_map("a", "1").replace("{name: a}", &format!("{{name: a, namespace: {name}}}"));
    let (file, plan) = (
        fixture.manifest(&format!("{namespace}{inside}")),
        fixture.path("plan"),
    );
    fixture
        .run(&["plan", "-f", &file, "--component", "web", "--out", &plan])
        .expect_code(2);
    for _ in 0..2 {
        fixture.run(&["apply", &plan]).expect_code(0);
    }
    fixture.tear_down("web", &[]).expect_code(0);
    assert!(
        fixture
            .get(&format!("/api/v1/namespaces/{name}"))
            .await
            .is_null()
    );
}

/// After a kill between any two requests, the next run repairs the state.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deploy_that_is_killed_between_any_two_requests_is_repaired_by_the_next() {
    let every = usize::try_from(count("NUON_KILL_EVERY", 9)).unwrap();
    let proxy = ApiProxy::start().await;
    let fixture = ClusterFixture::new().await;
    std::fs::write(fixture.path("kubeconfig"), proxy.kubeconfig()).unwrap();
    // An object that the killed deploy should prune must not be forgotten.
    let (before, after) = (
        format!("{}{}", set(19, "1"), config_map("goes", "1")),
        set(19, "2"),
    );
    fixture.apply("web", &before, &[]).expect_code(0);
    proxy.take();
    fixture.apply("web", &after, &[]).expect_code(0);
    let whole = proxy.take().len();
    assert!(whole > 40, "{whole} requests");
    for at in (0..whole).step_by(every) {
        let fixture = ClusterFixture::new().await;
        std::fs::write(fixture.path("kubeconfig"), proxy.kubeconfig()).unwrap();
        fixture.apply("web", &before, &[]).expect_code(0);
        proxy.take();
        let file = fixture.manifest(&after);
        killed_after(
            &proxy,
            at,
            fixture.command(&["apply", "--yes", "-f", &file, "--component", "web"]),
        )
        .await;
        fixture.apply("web", &after, &[]).expect_code(0);
        assert_eq!(
            changes(&fixture.plan("web", &after)),
            Vec::<String>::new(),
            "after request {at}"
        );
        assert_eq!(
            fixture.get(&fixture.config_map("goes")).await,
            Value::Null,
            "an orphan, after request {at}"
        );
    }
}
