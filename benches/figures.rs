//! Figures of the daemon, printed (`docs/figures.md`): what it costs idle, how soon it starts and
//! claims, how fast it works off a burst, what a job leaves behind, and how long deploys take.
//!
//!     cargo bench --bench figures -- daemon     about five minutes; benches/daemon
//!     cargo bench --bench figures -- deploys    needs the API server of tests/testbed/up
//!
//! `NUON_BINARY` names the binary; the default is the one of this build.
#![allow(
    missing_docs,
    dead_code,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "it prints, and uses a part of what the tests share"
)]

#[path = "../tests/it/support"]
mod support {
    pub mod cluster;
    pub mod contract;
    pub mod daemon;
    pub mod parts;
    pub mod plans;
    pub mod worker;
}

use std::time::{Duration, Instant};

use nuon_runner::dev::{ControlPlane, ControlPlaneOptions, Generation, NewJob};

use crate::support::daemon::{Daemon, Setup, TOKEN, WAIT_TIMEOUT};

fn median(mut values: Vec<Duration>) -> Duration {
    values.sort();
    values[values.len() / 2]
}

/// Resident memory in KiB.
fn resident_memory(daemon: &Daemon) -> u64 {
    memory(daemon, "VmRSS:")
}

/// A value of the process's status file, in KiB.
fn memory(daemon: &Daemon, line: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status
        .lines()
        .find_map(|text| text.strip_prefix(line))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// CPU time of all threads, from the scheduler's statistics.
fn cpu_time(daemon: &Daemon) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
    let nanoseconds = tasks.map(|task| {
        let text = std::fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap();
        text.split(' ').next().unwrap().parse::<u64>().unwrap()
    });
    Duration::from_nanos(nanoseconds.sum())
}

/// Offers noop jobs at once and waits for them. Returns jobs per minute from the first claim on.
async fn burst(control: &ControlPlane, jobs: usize) -> f64 {
    let ids: Vec<_> = (0..jobs)
        .map(|_| control.offer(NewJob::new("noop-build", "build")))
        .collect();
    let before = control.store().calls.len();
    for id in &ids {
        control.wait(id, WAIT_TIMEOUT).await.unwrap();
    }
    let store = control.store();
    let calls = &store.calls[before..];
    let first = calls
        .iter()
        .find(|call| call.path.ends_with("/executions"))
        .unwrap()
        .at;
    60.0 * f64::from(u32::try_from(jobs).unwrap())
        / (calls.last().unwrap().at - first).as_secs_f64()
}

async fn first_poll() -> Duration {
    let control = ControlPlane::start(ControlPlaneOptions::new(Generation::First, TOKEN))
        .await
        .unwrap();
    let state = tempfile::tempdir().unwrap();
    let start = Instant::now();
    let mut daemon = Setup::new(state.path(), &control).start();
    let took = loop {
        if control
            .store()
            .calls
            .iter()
            .any(|call| call.path.ends_with("/jobs"))
        {
            break start.elapsed();
        }
        tokio::time::sleep(Duration::from_micros(200)).await;
    };
    daemon.kill().await;
    took
}

async fn wait_until_created(control: &ControlPlane) -> Duration {
    let start = Instant::now();
    let id = control.offer(NewJob::new("noop-build", "build"));
    let took = loop {
        if !control.store().jobs[&id].executions.is_empty() {
            break start.elapsed();
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    control.wait(&id, WAIT_TIMEOUT).await.unwrap();
    took
}

/// Prints what the daemon costs, idle and at work.
async fn daemon() {
    let mut starts = Vec::new();
    for _ in 0..20 {
        starts.push(first_poll().await);
    }
    println!("first poll after start, median of 20: {:?}", median(starts));

    let control = ControlPlane::start(ControlPlaneOptions::new(Generation::First, TOKEN))
        .await
        .unwrap();
    let state = tempfile::tempdir().unwrap();
    let mut daemon = Setup::new(state.path(), &control)
        .env("LOG_LEVEL", "info")
        .start();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (calls, used) = (control.store().calls.len(), cpu_time(&daemon));
    tokio::time::sleep(Duration::from_secs(60)).await;
    let (calls, used) = (
        control.store().calls.len() - calls,
        cpu_time(&daemon) - used,
    );
    println!(
        "idle for a minute: {calls} requests, {:.3} s of CPU, {} KiB resident",
        used.as_secs_f64(),
        resident_memory(&daemon)
    );

    let mut created = Vec::new();
    for at in 0..100 {
        // Spread over two periods of the idle poll, which restarts after each job.
        tokio::time::sleep(Duration::from_millis(300 + (at * 1237) % 2000)).await;
        created.push(wait_until_created(&control).await);
    }
    println!(
        "available to execution created, median of 100: {:?}",
        median(created)
    );

    println!(
        "burst of 200 noop jobs: {:.0} a minute",
        burst(&control, 200).await
    );
    for done in [400, 600, 800, 1000] {
        burst(&control, 200).await;
        control.store().calls.clear();
        tokio::time::sleep(Duration::from_secs(2)).await;
        println!(
            "after {} noop jobs: {} KiB resident",
            done + 100,
            resident_memory(&daemon)
        );
    }
    assert_eq!(daemon.terminate().await, 0);
}

/// Time from the creation of a job's execution to its last status, as seen by the control plane.
async fn job_time(control: &ControlPlane, id: &str) -> Duration {
    let job = control.wait(id, WAIT_TIMEOUT).await.unwrap();
    assert_eq!(job.status, "finished", "{}", job.description);
    let store = control.store();
    let execution = format!("/executions/{}", job.executions[0].id);
    let created = store
        .calls
        .iter()
        .rfind(|call| call.path.ends_with("/executions") && call.method == "POST")
        .unwrap()
        .at;
    store
        .calls
        .iter()
        .rfind(|call| call.path.contains(&execution))
        .unwrap()
        .at
        - created
}

/// Half ConfigMaps, half Deployments without replicas, each with this many bytes of padding.
fn manifest(objects: usize, padding: usize) -> String {
    let line = format!("    {}\n", "x".repeat(76));
    let text = line.repeat(padding / line.len());
    let pad = if padding > 0 {
        format!("data:\n  padding: |\n{text}")
    } else {
        "data: {a: b}\n".into()
    };
    let map = |at: usize| {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c{at}}}\n{pad}---\n")
    };
    (0..objects / 2)
        .map(|at| map(at) + &crate::support::cluster::deployment(&format!("d{at}"), 0))
        .collect()
}

/// Times of the plan and apply jobs of 100 objects, and peak memory of a 10 MB deploy.
async fn deploys() {
    let control = crate::support::daemon::control_plane(Generation::Second).await;
    let state = tempfile::tempdir().unwrap();
    let mut daemon = Setup::new(state.path(), &control)
        .env("LOG_LEVEL", "info")
        .start();
    for (objects, padding, rounds) in [(100, 0, 5), (40, 500_000, 1)] {
        let (mut plans, mut applies) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let fixture = crate::support::cluster::ClusterFixture::new().await;
            let plan = crate::support::plans::deploy(
                &fixture.namespace,
                &manifest(objects, padding),
                &crate::support::parts::testbed().kubeconfig(),
            );
            let planned = control.offer(NewJob::deploy("create-apply-plan", plan));
            plans.push(job_time(&control, &planned).await);
            let applied = control.offer_apply(&planned).unwrap();
            applies.push(job_time(&control, &applied).await);
        }
        println!(
            "{objects} objects, {padding} bytes of padding: plan job {:?}, apply job {:?} \
             (medians of {rounds}), peak {} KiB",
            median(plans),
            median(applies),
            memory(&daemon, "VmHWM:")
        );
    }
    assert_eq!(daemon.terminate().await, 0);
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    // `cargo bench` and `cargo test --benches` add flags of the standard harness.
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    for name in wanted {
        match name.as_str() {
            "daemon" => daemon().await,
            "deploys" => deploys().await,
            other => panic!("{other} is none of daemon and deploys"),
        }
    }
}
