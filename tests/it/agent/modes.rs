//! `build` and `install` of one runner id on one machine, which share some groups of jobs.

use std::collections::BTreeSet;

use nuon_runner::dev::{Fault, FaultKind, Generation, NewJob};

use crate::support::daemon::{Daemon, Setup, WAIT_TIMEOUT, control_plane};

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
    let mut ids = Vec::new();
    // One of the two may start late, as its requests fail too, and find the jobs done.
    for _ in 0..10 {
        let groups = ["sync", "operations"].into_iter().cycle().take(12);
        let round: Vec<_> = groups
            .map(|group| control.offer(NewJob::new("noop-build", group)))
            .collect();
        for id in &round {
            control.wait(id, WAIT_TIMEOUT * 2).await;
        }
        ids.extend(round);
        if daemons.iter().all(|daemon| !begun(daemon).is_empty()) {
            break;
        }
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
