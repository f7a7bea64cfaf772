//! Deploys through a failing network, and processes that are killed during a deploy.

use std::process::{Command, Stdio};

use serde_json::Value;

use super::{Bench, changes, config_map, deployment};
use crate::parts::apiserver::ApiProxy;

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
async fn deploys_through_a_failing_network_end_right_or_say_that_they_did_not() {
    for seed in 0..count("NUON_FAULTY_DEPLOYS", 4) {
        let bench = Bench::new().await;
        let proxy = ApiProxy::with_faults(5, seed).await;
        std::fs::write(bench.path("kubeconfig"), proxy.kubeconfig()).unwrap();
        let mut tries = 0;
        for value in ["1", "2"] {
            loop {
                tries += 1;
                let ran = bench.apply("web", &set(20, value), &[]);
                if ran.code == 0 {
                    break;
                }
                assert!(tries < 6, "seed {seed}: {}", ran.err);
                assert!(
                    ran.err.contains("error: "),
                    "seed {seed}: a failure says why: {}",
                    ran.err
                );
            }
        }
        for at in 0..20 {
            assert_eq!(
                bench.get(&bench.config_map(&format!("c{at}"))).await["data"]["a"],
                "2",
                "seed {seed}"
            );
        }
    }
}

/// After an interrupted apply, the same saved plan can be applied again: its own changes are no
/// conflict.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_that_was_cut_short_is_finished_by_the_same_plan() {
    let every = usize::try_from(count("NUON_KILL_EVERY", 5)).unwrap();
    let proxy = ApiProxy::start().await;
    let (before, after) = (
        format!("{}{}", set(4, "1"), config_map("goes", "1")),
        format!("{}{}", set(4, "2"), config_map("new", "1")),
    );
    let mut whole = usize::MAX;
    let mut at = 0;
    while at < whole {
        let bench = Bench::new().await;
        std::fs::write(bench.path("kubeconfig"), proxy.kubeconfig()).unwrap();
        bench.apply("web", &before, &[]).ended(0);
        let (file, plan) = (bench.manifest(&after), bench.path("plan"));
        bench
            .run(&["plan", "-f", &file, "--component", "web", "--out", &plan])
            .ended(2);
        proxy.take();
        if killed_after(&proxy, at, bench.command(&["apply", &plan])).await {
            whole = proxy.count();
        }
        let ran = bench.run(&["apply", &plan]);
        assert_eq!(ran.code, 0, "after request {at}: {}", ran.err);
        assert_eq!(
            changes(&bench.plan("web", &after)),
            Vec::<String>::new(),
            "after request {at}"
        );
        assert_eq!(
            bench.get(&bench.config_map("goes")).await,
            Value::Null,
            "after request {at}"
        );
        at += every;
    }
    assert!(whole > 12, "{whole} requests");
}

/// After a kill between any two requests, the next run repairs the state.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deploy_that_is_killed_between_any_two_requests_is_mended_by_the_next() {
    let every = usize::try_from(count("NUON_KILL_EVERY", 9)).unwrap();
    let proxy = ApiProxy::start().await;
    let bench = Bench::new().await;
    std::fs::write(bench.path("kubeconfig"), proxy.kubeconfig()).unwrap();
    // An object that the killed deploy should prune must not be forgotten.
    let (before, after) = (
        format!("{}{}", set(19, "1"), config_map("goes", "1")),
        set(19, "2"),
    );
    bench.apply("web", &before, &[]).ended(0);
    proxy.take();
    bench.apply("web", &after, &[]).ended(0);
    let whole = proxy.take().len();
    assert!(whole > 40, "{whole} requests");
    for at in (0..whole).step_by(every) {
        let bench = Bench::new().await;
        std::fs::write(bench.path("kubeconfig"), proxy.kubeconfig()).unwrap();
        bench.apply("web", &before, &[]).ended(0);
        proxy.take();
        let file = bench.manifest(&after);
        killed_after(
            &proxy,
            at,
            bench.command(&["apply", "--yes", "-f", &file, "--component", "web"]),
        )
        .await;
        bench.apply("web", &after, &[]).ended(0);
        assert_eq!(
            changes(&bench.plan("web", &after)),
            Vec::<String>::new(),
            "after request {at}"
        );
        assert_eq!(
            bench.get(&bench.config_map("goes")).await,
            Value::Null,
            "an orphan, after request {at}"
        );
    }
}
