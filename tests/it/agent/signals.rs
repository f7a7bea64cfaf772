//! SIGTERM once, twice and three times, at random moments; SIGHUP; and shutdown by the control
//! plane.

use std::path::Path;
use std::time::Duration;

use http::Method;
use nuon_runner::dev::server::build_plan;
use nuon_runner::dev::{ControlPlane, Fault, FaultKind, Generation, NewJob};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::support::daemon::{
    Daemon, Setup, WAIT_TIMEOUT, assert_contract, control_plane, eventually, eventually_async, get,
};

/// Number of random moments per test.
const ROUNDS: usize = 50;

fn is_final(status: &str) -> bool {
    ["finished", "failed", "timed-out", "cancelled"].contains(&status)
}

/// Status and description of every execution.
fn executions(control: &ControlPlane) -> Vec<(String, Option<String>)> {
    let store = control.store();
    let executions = store.jobs.values().flat_map(|job| &job.executions);
    executions
        .map(|execution| (execution.status.clone(), execution.description.clone()))
        .collect()
}

/// Status of every registered process.
fn process_statuses(control: &ControlPlane) -> Vec<String> {
    let store = control.store();
    store.processes.values().cloned().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_term_at_any_moment_shuts_down_cleanly() {
    let mut random = StdRng::seed_from_u64(11);
    for round in 0..ROUNDS {
        let control = control_plane(Generation::Second).await;
        let state = tempfile::tempdir().unwrap();
        for _ in 0..5 {
            control.offer(NewJob::new("noop-build", "build"));
        }
        let mut daemon = Setup::new(state.path(), &control).start();
        tokio::time::sleep(Duration::from_millis(random.random_range(0..300))).await;
        daemon.signal("-TERM");
        let code = daemon.wait_for_exit().await;
        // Before the signal handler is installed, the signal's default action applies.
        assert!(
            code == 0 || (code == -15 && control.store().calls.is_empty()),
            "round {round}: {code}\n{}",
            daemon.log()
        );
        for (status, _) in executions(&control) {
            assert_eq!(status, "finished", "round {round}");
        }
        assert_contract(&control);
    }
}

/// A registry that accepts connections and never responds.
async fn silent_registry() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    host
}

fn stuck_build(host: &str) -> NewJob {
    let registry = json!({"RegistryType": "public_oci", "Repository": format!("{host}/app")});
    let source = json!({"source_type": "inline", "inline_manifest": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"});
    NewJob::build(build_plan(registry, "tag", source, Value::Null))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_term_stops_jobs_and_reports_them_cancelled() {
    let host = silent_registry().await;
    let mut random = StdRng::seed_from_u64(12);
    for round in 0..10 {
        let control = control_plane(Generation::Second).await;
        let state = tempfile::tempdir().unwrap();
        let id = control.offer(stuck_build(&host));
        let mut daemon = Setup::new(state.path(), &control).start();
        eventually("the push begins", || {
            let store = control.store();
            let history = &store.jobs[&id].executions.first()?.history;
            history.contains(&"in-progress".to_owned()).then_some(())
        })
        .await;
        daemon.signal("-TERM");
        tokio::time::sleep(Duration::from_millis(random.random_range(50..200))).await;
        assert!(daemon.is_running(), "the job is waited for");
        daemon.signal("-TERM");
        assert_eq!(
            daemon.wait_for_exit().await,
            0,
            "round {round}\n{}",
            daemon.log()
        );
        assert_eq!(
            executions(&control),
            [("cancelled".to_owned(), Some("runner stopped".to_owned()))]
        );
        assert_eq!(process_statuses(&control), ["shut-down"]);
        assert_eq!(
            std::fs::read_dir(state.path().join("work")).map_or(0, |entries| entries.count()),
            0
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_third_term_ends_at_once_and_leaves_the_execution_to_the_next_process() {
    let host = silent_registry().await;
    let control = control_plane(Generation::Second).await;
    let state = tempfile::tempdir().unwrap();
    let id = control.offer(stuck_build(&host));
    let setup = Setup::new(state.path(), &control);
    let mut daemon = setup.start();
    eventually("the push begins", || {
        let store = control.store();
        store.jobs[&id]
            .executions
            .first()?
            .history
            .contains(&"in-progress".to_owned())
            .then_some(())
    })
    .await;
    // The final status cannot be delivered, so the stop after the second signal takes long.
    control.add_fault(nuon_runner::dev::Fault::always(
        http::Method::PATCH,
        "",
        nuon_runner::dev::FaultKind::Slow(Duration::from_secs(3)),
    ));
    for _ in 0..3 {
        daemon.signal("-TERM");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert_eq!(daemon.wait_for_exit().await, 75, "{}", daemon.log());
    control.clear_faults();
    // The status arrives at most once, whether or not it arrived before the end.
    let history = control.store().jobs[&id].executions[0].history.clone();
    let cancelled = history
        .iter()
        .filter(|status| *status == "cancelled")
        .count();
    assert!(cancelled <= 1, "{history:?}");
    if cancelled == 0 {
        assert!(!is_final(&control.store().jobs[&id].executions[0].status));
    }
    let mut next = setup.start();
    next.admin().await;
    next.signal("-TERM");
    next.signal("-TERM");
    next.wait_for_exit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn undelivered_reports_do_not_change_the_exit_code_and_arrive_after_the_restart() {
    // A server of the second generation fails jobs while no process is registered, as between two.
    let control = control_plane(Generation::First).await;
    let state = tempfile::tempdir().unwrap();
    let setup = Setup::new(state.path(), &control);
    let mut daemon = setup.start();
    control.add_fault(nuon_runner::dev::Fault::always(
        http::Method::POST,
        "/result",
        nuon_runner::dev::FaultKind::Refuse(503, None),
    ));
    let id = control.offer(NewJob::new("noop-build", "build"));
    eventually("the result is refused", || {
        control
            .store()
            .calls
            .iter()
            .any(|call| call.path.ends_with("/result"))
            .then_some(())
    })
    .await;
    assert_eq!(daemon.terminate().await, 0);
    control.clear_faults();
    let mut next = setup.start();
    let job = control.wait(&id, WAIT_TIMEOUT).await.unwrap();
    assert_eq!(job.status, "finished", "{}", next.log());
    assert_eq!(
        job.executions[0].history,
        ["initializing", "in-progress", "cleaning-up", "finished"]
    );
    assert_eq!(
        (
            job.executions[0].results_offered,
            job.executions[0].outputs_offered
        ),
        (1, 1)
    );
    next.shut_down(&control).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_are_never_late_under_full_load() {
    let control = control_plane(Generation::Second).await;
    let state = tempfile::tempdir().unwrap();
    let mut daemon = Setup::new(state.path(), &control).start();
    let burners: Vec<_> = (0..2)
        .map(|_| {
            tokio::process::Command::new("sh")
                .args(["-c", "while :; do :; done"])
                .kill_on_drop(true)
                .spawn()
                .unwrap()
        })
        .collect();
    let end = std::time::Instant::now() + Duration::from_secs(26);
    while std::time::Instant::now() < end {
        control.offer(NewJob::new("noop-build", "build"));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    drop(burners);
    let beats: Vec<Duration> = control
        .store()
        .heartbeats
        .iter()
        .map(|beat| beat.at)
        .collect();
    assert!(beats.len() >= 5, "{beats:?}");
    for pair in beats.windows(2) {
        let gap = pair[1] - pair[0];
        assert!(
            gap < Duration::from_secs(7),
            "a heartbeat came after {gap:?}"
        );
    }
    assert_eq!(daemon.terminate().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minute_without_control_plane_loses_nothing() {
    let control = control_plane(Generation::First).await;
    let state = tempfile::tempdir().unwrap();
    let mut daemon = Setup::new(state.path(), &control).start();
    control.add_fault(nuon_runner::dev::Fault {
        times: 1,
        ..nuon_runner::dev::Fault::always(
            http::Method::POST,
            "/result",
            nuon_runner::dev::FaultKind::Slow(Duration::from_secs(2)),
        )
    });
    let id = control.offer(NewJob::new("noop-build", "build"));
    eventually("the job is running", || {
        control.store().jobs[&id].executions.first().map(drop)
    })
    .await;
    control.set_down(true);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let beats = control.store().heartbeats.len();
    control.set_down(false);
    eventually("heartbeats arrive again", || {
        (control.store().heartbeats.len() > beats).then_some(())
    })
    .await;
    // The server failed the execution of a runner that was silent for so long. This restores the
    // status.
    {
        let mut store = control.store();
        let job = store.jobs.get_mut(&id).unwrap();
        job.status = "in-progress".into();
        job.executions[0].status = job.executions[0]
            .history
            .last()
            .cloned()
            .unwrap_or("pending".into());
    }
    let execution = eventually("all reports arrive", || {
        let execution = control.store().jobs[&id].executions[0].clone();
        (execution.history.last().map(String::as_str) == Some("finished")).then_some(execution)
    })
    .await;
    assert_eq!(
        execution.history,
        ["initializing", "in-progress", "cleaning-up", "finished"]
    );
    assert_eq!(execution.outputs_offered, 1);
    assert_eq!(daemon.terminate().await, 0);
}

#[tokio::test]
async fn hup_reads_the_settings_again() {
    let control = control_plane(Generation::First).await;
    let state = tempfile::tempdir().unwrap();
    let mut daemon = Setup::new(state.path(), &control).start();
    eventually("the first heartbeat", || {
        (!control.store().heartbeats.is_empty()).then_some(())
    })
    .await;
    control
        .store()
        .set_setting("heart_beat_timeout", json!(100_000_000));
    let before = control.store().heartbeats.len();
    daemon.signal("-HUP");
    let start = std::time::Instant::now();
    eventually("ten heartbeats", || {
        (control.store().heartbeats.len() >= before + 10).then_some(())
    })
    .await;
    assert!(
        start.elapsed() < Duration::from_secs(40),
        "at the old period it would take 50 s"
    );
    daemon.shut_down(&control).await;
}

#[tokio::test]
async fn hup_tries_again_at_once_while_the_control_plane_has_not_answered_yet() {
    let control = control_plane(Generation::Second).await;
    let down = FaultKind::Refuse(503, Some(600));
    control.add_fault(Fault::always(Method::GET, "/settings", down));
    let state = tempfile::tempdir().unwrap();
    let mut daemon = Setup::new(state.path(), &control).start();
    let admin = daemon.admin().await;
    eventually_async("it says why it is not ready", async || {
        let (code, body) = get(&admin, "/readyz").await;
        let is_told = body.starts_with("the control plane has not given settings and jobs yet: ")
            && body.contains("503");
        (code == 503 && is_told).then_some(())
    })
    .await;
    eventually("it waits", || {
        daemon
            .log()
            .contains("cannot read the settings")
            .then_some(())
    })
    .await;
    control.clear_faults();
    daemon.signal("-HUP");
    eventually_async("it is ready", async || {
        (get(&admin, "/readyz").await.0 == 200).then_some(())
    })
    .await;
    daemon.shut_down(&control).await;
}

#[tokio::test]
async fn readyz_says_that_the_runner_drains() {
    let control = control_plane(Generation::Second).await;
    let state = tempfile::tempdir().unwrap();
    let mut daemon = Setup::new(state.path(), &control).start();
    let admin = daemon.admin().await;
    eventually_async("it is ready", async || {
        (get(&admin, "/readyz").await.0 == 200).then_some(())
    })
    .await;
    let slow = FaultKind::Slow(Duration::from_secs(5));
    control.add_fault(Fault::once(Method::POST, "/result", slow));
    let id = control.offer(NewJob::new("noop-build", "build"));
    eventually("the job is in progress", || {
        let store = control.store();
        let execution = store.jobs[&id].executions.first()?;
        (execution.status == "in-progress").then_some(())
    })
    .await;
    daemon.signal("-TERM");
    eventually_async("it says that it drains", async || {
        let (code, body) = get(&admin, "/readyz").await;
        (code == 503 && body == "draining; running jobs: 1\n").then_some(())
    })
    .await;
    assert_eq!(daemon.wait_for_exit().await, 0, "{}", daemon.log());
    assert_eq!(control.store().jobs[&id].status, "finished");
}

#[tokio::test]
async fn the_control_plane_can_request_a_clean_shutdown() {
    let control = control_plane(Generation::Second).await;
    let state = tempfile::tempdir().unwrap();
    let mut daemon = Setup::new(state.path(), &control).start();
    let process = eventually("the process registers", || {
        control.store().processes.keys().next().cloned()
    })
    .await;
    control
        .store()
        .shutdowns
        .insert(process.clone(), vec![("wish".into(), "requested".into())]);
    assert_eq!(daemon.wait_for_exit().await, 0, "{}", daemon.log());
    let store = control.store();
    assert_eq!(
        store.shutdowns[&process],
        [("wish".to_owned(), "completed".to_owned())]
    );
    drop(store);
    assert_contract(&control);
}

/// Offers a job whose claim is answered by a lost response, and whose reads fail until they are
/// cleared. Returns the agent once it looks for the
/// execution, and the job.
async fn with_a_lost_claim(state: &Path, control: &ControlPlane) -> (Daemon, String) {
    control.add_fault(Fault::once(
        Method::POST,
        "/executions",
        FaultKind::DropResponse,
    ));
    let id = control.offer(NewJob::new("noop-build", "build"));
    let reads = Fault {
        after: 1,
        ..Fault::always(
            Method::GET,
            &format!("/runner-jobs/{id}"),
            FaultKind::Refuse(500, Some(30)),
        )
    };
    control.add_fault(reads);
    let daemon = Setup::new(state, control).start();
    eventually("the response to the claim is lost", || {
        let log = daemon.log();
        log.contains("the response to a claim was lost")
            .then_some(())
    })
    .await;
    (daemon, id)
}

#[tokio::test]
async fn a_claim_whose_response_was_lost_is_settled_before_the_process_ends() {
    let control = control_plane(Generation::Second).await;
    let state = tempfile::tempdir().unwrap();
    let (mut daemon, id) = with_a_lost_claim(state.path(), &control).await;
    control.clear_faults();
    daemon.shut_down(&control).await;
    assert_eq!(
        control.store().jobs[&id].status,
        "finished",
        "{}",
        daemon.log()
    );
}

#[tokio::test]
async fn a_claim_that_cannot_be_settled_is_left_to_the_next_process() {
    let control = control_plane(Generation::Second).await;
    let state = tempfile::tempdir().unwrap();
    let (mut daemon, id) = with_a_lost_claim(state.path(), &control).await;
    assert_eq!(daemon.terminate().await, 75, "{}", daemon.log());
    control.clear_faults();
    let mut next = Setup::new(state.path(), &control).start();
    next.expect_finished(&control, &id).await;
    next.shut_down(&control).await;
}
