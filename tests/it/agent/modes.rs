//! `build` and `install` of one runner id on one machine, which share some groups of jobs.

use std::collections::BTreeSet;

use http::Method;
use nuon_runner::dev::{ControlPlane, Fault, FaultKind, Generation, NewJob};

use crate::support::daemon::{Daemon, Setup, WAIT_TIMEOUT, control_plane, eventually};

/// Returns the executions that a daemon has begun to run.
fn begun(daemon: &Daemon) -> BTreeSet<String> {
    let log = daemon.log();
    let records = log
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let steps = records.filter(|record| record["message"] == "fetch begins");
    let ids = steps.map(|record| record["execution"].as_str().unwrap().to_owned());
    ids.collect()
}

#[tokio::test]
async fn no_execution_is_driven_by_both_while_a_third_of_all_requests_fails() {
    let control = control_plane(Generation::Second).await;
    for (seed, kind) in [
        (1, FaultKind::Refuse(500, None)),
        (2, FaultKind::DropResponse),
        (3, FaultKind::Reset),
    ] {
        control.add_fault(Fault::some(10, seed, kind));
    }
    let state = tempfile::tempdir().unwrap();
    let start = |command| {
        let mut setup = Setup::new(&state.path().join(command), &control);
        setup.command = command;
        setup.start()
    };
    let daemons = [start("build"), start("install")];
    let groups = ["sync", "operations"].into_iter().cycle().take(12);
    let ids: Vec<_> = groups
        .map(|group| control.offer(NewJob::new("noop-build", group)))
        .collect();
    for id in &ids {
        control.wait(id, WAIT_TIMEOUT * 2).await;
    }
    control.clear_faults();
    let [build, install] = &daemons;
    let (of_build, of_install) = (begun(build), begun(install));
    assert!(!of_build.is_empty() && !of_install.is_empty());
    let both: Vec<_> = of_build.intersection(&of_install).collect();
    assert!(both.is_empty(), "{both:?}");
    for mut daemon in daemons {
        daemon.shut_down(&control).await;
    }
    let store = control.store();
    for id in ids {
        let job = &store.jobs[&id];
        assert_eq!(job.status, "finished", "{job:?}");
        let driven = job
            .executions
            .iter()
            .filter(|one| !one.history.is_empty())
            .count();
        assert_eq!(driven, 1, "{job:?}");
    }
}

/// Offers a job whose claim is answered by a lost response, and whose reads fail until they are
/// cleared. Returns the agent once it looks for its execution.
async fn with_a_lost_claim(state: &std::path::Path, control: &ControlPlane) -> (Daemon, String) {
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
    eventually("the response is lost and the job is read", || {
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
