//! Jobs that try to stop the daemon or fill its memory, beside others that must complete. `/livez`
//! responds all the time, and memory stays small.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nuon_runner::dev::server::build_plan;
use nuon_runner::dev::{Generation, NewJob};
use serde_json::{Value, json};

use crate::support::daemon::{Setup, WAIT_TIMEOUT, control_plane, get};
use crate::support::parts::{testbed, unique};

/// Maximum peak memory of the daemon, in bytes.
const MAX_MEMORY: u64 = 256 << 20;
/// Maximum memory of the daemon after the jobs, in bytes.
const MAX_KEPT: u64 = 96 << 20;
/// Maximum time of a probe. Work without a bound takes minutes; what a debug build on a loaded
/// machine does with 60,000 keys takes up to 2 s.
const MAX_PROBE: Duration = Duration::from_secs(10);

fn wide(keys: usize) -> String {
    let mut text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: wide}\ndata:\n".to_owned();
    for at in 0..keys {
        // Keys in no sorted order.
        text.push_str(&format!("  key{}: v\n", (at * 7919) % keys));
    }
    text
}

fn annotated(name: &str, rule: &str, items: usize) -> String {
    let words: String = (0..items).map(|at| format!("  w{at}: x\n")).collect();
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, annotations: \
         {{nuon.co/ready-when: {rule:?}}}}}\ndata:\n{words}"
    )
}

/// Returns a value of the daemon's memory statistics, in bytes.
fn memory(pid: i32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        * 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_jobs_do_not_block_others() {
    let control = control_plane(Generation::Second).await;
    control.store().set_setting(
        "job_group_parallelism",
        json!({"build": "4", "deploy": "4"}),
    );
    let state = tempfile::tempdir().unwrap();
    let setup = Setup::new(state.path(), &control).env("NUON_RUNNER_DEPLOY_WAIT_TIMEOUT", "10s");
    let mut daemon = setup.start();
    let admin = daemon.admin().await;
    let done = Arc::new(AtomicBool::new(false));
    let probes = tokio::spawn({
        let (admin, done) = (admin.clone(), done.clone());
        async move {
            let mut slowest = Duration::ZERO;
            while !done.load(Ordering::SeqCst) {
                let begun = Instant::now();
                assert_eq!(get(&admin, "/livez").await.0, 200);
                slowest = slowest.max(begun.elapsed());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            slowest
        }
    });

    let inline = |text: String| {
        let source = json!({"source_type": "inline", "inline_manifest": text});
        NewJob::build(build_plan(
            testbed().repository(&unique("hostile")),
            "one",
            source,
            Value::Null,
        ))
    };
    let deploy = |operation: &str, text: String| {
        let (namespace, kubeconfig) = (unique("hostile"), testbed().kubeconfig());
        let text = format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}}}\n---\n{text}"
        );
        NewJob::deploy(
            operation,
            crate::support::plans::deploy(&namespace, &text, &kubeconfig),
        )
    };
    let bomb = {
        let mut text = String::from(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\na0: &a0 [x,x,x,x,x,x,x,x,x,x]\n",
        );
        for level in 1..9 {
            let items = vec![format!("*a{}", level - 1); 10].join(",");
            text.push_str(&format!("a{level}: &a{level} [{items}]\n"));
        }
        text
    };
    let hostile = [
        inline(wide(60_000)),
        inline(bomb),
        inline(format!("a: {}", "[".repeat(1_000_000))),
        deploy("create-apply-plan", wide(60_000)),
    ];
    let hostile: Vec<String> = hostile.into_iter().map(|job| control.offer(job)).collect();
    let deployed = [
        deploy(
            "create-apply-plan",
            annotated(
                "loops",
                "self.data.all (a, self.data.all (b, a != b || true))",
                20_000,
            ),
        ),
        deploy(
            "create-apply-plan",
            annotated(
                "doubling",
                "['x'].map(a, a + a).map(a, a + a).map(a, a + a).map(a, a + a) == []",
                3,
            ),
        ),
    ];
    let deployed: Vec<String> = deployed.into_iter().map(|job| control.offer(job)).collect();
    let innocent: Vec<String> = (0..3)
        .map(|at| {
            control.offer(inline(format!(
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c{at}}}\n"
            )))
        })
        .collect();
    for id in &innocent {
        daemon.expect_finished(&control, id).await;
    }
    for id in hostile.iter().chain(&deployed) {
        control.wait(id, WAIT_TIMEOUT).await.unwrap();
    }
    // Only an apply evaluates readiness rules.
    let apply = control.offer_apply(&deployed[0]).unwrap();
    for (id, told) in [
        (&apply, "too many steps"),
        (&deployed[1], "at most 2 times"),
    ] {
        let job = control.wait(id, WAIT_TIMEOUT).await.unwrap();
        assert_eq!(job.status, "failed", "{}", job.description);
        assert!(job.description.contains(told), "{}", job.description);
    }
    done.store(true, Ordering::SeqCst);
    let slowest = probes.await.unwrap();
    let peak = memory(daemon.pid(), "VmHWM:");
    let now = memory(daemon.pid(), "VmRSS:");
    println!(
        "slowest probe {slowest:?}, memory at its peak {} MiB, now {} MiB",
        peak >> 20,
        now >> 20
    );
    assert!(slowest < MAX_PROBE, "a probe took {slowest:?}");
    assert!(peak < MAX_MEMORY, "the daemon took {} MiB", peak >> 20);
    assert!(now < MAX_KEPT, "the daemon keeps {} MiB", now >> 20);
    daemon.shut_down(&control).await;
}
