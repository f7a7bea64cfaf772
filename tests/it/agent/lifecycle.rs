//! Lifecycle of jobs and of the process, with both generations of control plane.

use std::time::Duration;

use nuon_runner::dev::server::build_plan;
use nuon_runner::dev::{ControlPlaneOptions, Generation, NewJob};
use serde_json::json;

use crate::support::daemon::{
    Setup, WAIT_TIMEOUT, control_plane, control_plane_with, eventually, eventually_async, get,
};

#[tokio::test]
async fn a_noop_build_is_claimed_reported_and_finished_on_both_generations() {
    for generation in [Generation::First, Generation::Second] {
        let control = control_plane(generation).await;
        let state = tempfile::tempdir().unwrap();
        let mut daemon = Setup::new(state.path(), &control).start();
        let id = control.offer(NewJob::new("noop-build", "build"));
        let job = control.wait(&id, WAIT_TIMEOUT).await.unwrap();
        assert_eq!(job.status, "finished", "{generation:?}\n{}", daemon.log());
        let execution = &job.executions[0];
        assert_eq!(
            execution.history,
            ["initializing", "in-progress", "cleaning-up", "finished"]
        );
        assert_eq!(
            (execution.results_offered, execution.outputs_offered),
            (1, 1)
        );
        assert_eq!(execution.result.is_some(), generation == Generation::Second);
        daemon.shut_down(&control).await;
        let store = control.store();
        let lines = &store.logs[&job.log_stream];
        assert!(lines.iter().any(|line| line.text == "the job is finished"));
        assert_eq!(
            store.processes.len(),
            usize::from(generation == Generation::Second)
        );
    }
}

#[tokio::test]
async fn a_long_poll_returns_a_job_at_once() {
    let control = control_plane_with(ControlPlaneOptions {
        long_poll: true,
        ..ControlPlaneOptions::new(Generation::Second, crate::support::daemon::TOKEN)
    })
    .await;
    let state = tempfile::tempdir().unwrap();
    let mut daemon = Setup::new(state.path(), &control).start();
    eventually("six long polls are open", || {
        let admin = daemon.log().contains("the runner is ready for jobs");
        admin.then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let id = control.offer(NewJob::new("noop-build", "build"));
    let job = control.wait(&id, WAIT_TIMEOUT).await.unwrap();
    assert_eq!(job.status, "finished");
    let polls = control
        .store()
        .calls
        .iter()
        .filter(|call| call.path.ends_with("/jobs"))
        .count();
    assert_eq!(polls, 0, "only long polls are sent");
    daemon.shut_down(&control).await;
}

#[tokio::test]
async fn an_unknown_kind_fails_with_its_name_and_the_known_kinds() {
    let control = control_plane(Generation::Second).await;
    let state = tempfile::tempdir().unwrap();
    let mut daemon = Setup::new(state.path(), &control).start();
    let id = control.offer(NewJob::new("terraform-deploy", "deploy"));
    let job = control.wait(&id, WAIT_TIMEOUT).await.unwrap();
    assert_eq!(job.status, "failed");
    assert!(
        job.description.contains("terraform-deploy") && job.description.contains("noop"),
        "{}",
        job.description
    );
    let result = job.executions[0].result.as_ref().unwrap();
    assert_eq!(result["success"], false);
    daemon.shut_down(&control).await;
}

#[tokio::test]
async fn a_second_process_on_the_state_directory_is_refused_and_names_the_holder() {
    let control = control_plane(Generation::First).await;
    let state = tempfile::tempdir().unwrap();
    let setup = Setup::new(state.path(), &control);
    let first = setup.start();
    first.admin().await;
    let mut second = setup.start();
    assert_eq!(second.wait_for_exit().await, 1);
    assert!(
        second.log().contains(&format!("process {}", first.pid())),
        "{}",
        second.log()
    );
}

#[tokio::test]
async fn the_admin_server_reports_liveness_and_readiness() {
    let control = control_plane(Generation::First).await;
    control.set_down(true);
    let state = tempfile::tempdir().unwrap();
    let mut daemon = Setup::new(state.path(), &control).start();
    let admin = daemon.admin().await;
    let get = async |path: &str| get(&admin, path).await;
    let until = async |wanted: u16| {
        eventually_async(&format!("/readyz answers {wanted}"), async || {
            let (status, text) = get("/readyz").await;
            (status == wanted).then_some(text)
        })
        .await
    };
    assert_eq!(get("/livez").await, (200, "ok\n".into()));
    let (code, reason) = get("/readyz").await;
    let told = "the control plane has not given settings and jobs yet";
    assert!(code == 503 && reason.starts_with(told), "{reason}");
    control.set_down(false);
    until(200).await;
    control.set_down(true);
    let reason = until(503).await;
    let told = "no poll for jobs was answered lately: the control plane did not answer jobs";
    assert!(reason.starts_with(told), "{reason}");
    assert_eq!(
        get("/livez").await.0,
        200,
        "an outage is no reason to be restarted"
    );
    let (status, metrics) = get("/metrics").await;
    assert_eq!(status, 200);
    for name in ["build_info", "polls", "heart_beat", "outbox"] {
        assert!(metrics.contains(name), "no {name} in\n{metrics}");
    }
    assert_eq!(daemon.terminate().await, 0);
}

#[tokio::test]
async fn in_sandbox_mode_every_job_is_refused_before_any_effect() {
    let control = control_plane(Generation::Second).await;
    control
        .store()
        .set_setting("sandbox_mode", serde_json::json!(true));
    let state = tempfile::tempdir().unwrap();
    let mut daemon = Setup::new(state.path(), &control).start();
    let id = control.offer(NewJob::new("noop-build", "build"));
    let job = control.wait(&id, WAIT_TIMEOUT).await.unwrap();
    assert_eq!(job.status, "failed");
    assert!(
        job.description
            .contains("sandbox mode is not supported yet"),
        "{}",
        job.description
    );
    daemon.shut_down(&control).await;
}

#[tokio::test]
async fn a_reset_control_plane_may_assign_the_same_ids_again() {
    let state = tempfile::tempdir().unwrap();
    let mut ids = Vec::new();
    for _ in 0..2 {
        let control = control_plane(Generation::Second).await;
        let mut daemon = Setup::new(state.path(), &control).start();
        // Waits for the registration, which takes an ID too.
        eventually("the runner is ready for jobs", || {
            daemon
                .log()
                .contains("the runner is ready for jobs")
                .then_some(())
        })
        .await;
        let id = control.offer(NewJob::new("noop-build", "build"));
        let job = control.wait(&id, WAIT_TIMEOUT).await.unwrap();
        assert_eq!(job.status, "finished", "{}", daemon.log());
        ids.push(job.executions[0].id.clone());
        assert_eq!(daemon.terminate().await, 0);
    }
    assert_eq!(ids[0], ids[1], "the IDs differ, so reuse was not tested");
}

/// The server cancels an execution if the runner reports a start time long after the execution was
/// created.
#[tokio::test]
async fn a_resumed_execution_keeps_the_start_time_of_the_earlier_process() {
    for generation in [Generation::First, Generation::Second] {
        let control = control_plane(generation).await;
        let state = tempfile::tempdir().unwrap();
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let git = json!({"url": format!("http://{}/app.git", silent.local_addr().unwrap()), "ref": "main", "path": ""});
        let answer_nothing = tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((stream, _)) = silent.accept().await {
                held.push(stream);
            }
        });
        let source = json!({"source_type": "kustomize", "kustomize_path": ".", "kustomize_config": {"patches": []}});
        let registry = json!({"RegistryType": "public_oci", "Repository": "127.0.0.1:9/never"});
        let setup = Setup::new(state.path(), &control);
        let mut first = setup.start();
        let id = control.offer(NewJob::build(build_plan(registry, "t", source, git)));
        eventually("git waits for an answer", || {
            first.log().contains("fetching http://").then_some(())
        })
        .await;
        // The first heartbeat of a process may be sent before it knows its registration.
        let is_registered =
            |process: &Option<String>| process.is_some() == (generation == Generation::Second);
        let before = eventually("a heartbeat of the first process", || {
            let beats = control.store().heartbeats.clone();
            beats
                .into_iter()
                .rfind(|beat| is_registered(&beat.process_id))
        })
        .await;
        first.kill().await;
        let beats = control.store().heartbeats.len();
        // Start times are compared in nanoseconds, and must differ by more than a heartbeat's
        // latency.
        tokio::time::sleep(Duration::from_secs(2)).await;

        let mut second = setup.start();
        eventually("the second process resumes the job", || {
            second.log().contains("fetching http://").then_some(())
        })
        .await;
        let during = eventually("a heartbeat of the second process", || {
            let later = control.store().heartbeats.get(beats..)?.to_vec();
            later
                .into_iter()
                .rfind(|beat| is_registered(&beat.process_id))
        })
        .await;
        let apart = during
            .started_at
            .duration_since(before.started_at)
            .unsigned_abs();
        assert!(
            apart < Duration::from_secs(1),
            "{generation:?}: {before:?} and {during:?}"
        );
        assert_eq!(during.process_id, before.process_id);
        assert_eq!(
            control.store().processes.len(),
            usize::from(generation == Generation::Second)
        );

        answer_nothing.abort();
        let job = control.wait(&id, WAIT_TIMEOUT).await.unwrap();
        assert_eq!(
            (job.status.as_str(), job.executions.len()),
            ("failed", 1),
            "{}",
            second.log()
        );
        eventually("the second process reports its own start time", || {
            let beat = control.store().heartbeats.last().cloned()?;
            (beat
                .started_at
                .duration_since(before.started_at)
                .unsigned_abs()
                > Duration::from_secs(1))
            .then_some(())
        })
        .await;
        second.shut_down(&control).await;
    }
}
