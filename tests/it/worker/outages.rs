//! A control plane that fails for a while: jobs are still taken, and a stop is still a stop.

use std::time::Duration;

use http::Method;
use nuon_runner::base::stop::StopCause;
use nuon_runner::dev::{Fault, FaultKind, Generation, NewJob};

use super::jobs::{Behaviour, TestKind, job, start, wait_until_begun};
use crate::support::worker::WorkerFixture;

fn posts(fixture: &WorkerFixture) -> usize {
    let store = fixture.control.store();
    let is_claim = |call: &&nuon_runner::dev::store::Call| {
        call.method == "POST" && call.path.ends_with("/executions")
    };
    store.calls.iter().filter(is_claim).count()
}

#[tokio::test]
async fn polls_that_fail_are_repeated_long_before_a_job_is_no_longer_available() {
    let fixture = WorkerFixture::new(Generation::First).await;
    fixture.control.add_fault(Fault {
        times: 3,
        ..Fault::once(Method::GET, "/jobs", FaultKind::Refuse(500, None))
    });
    let kind = TestKind::new(Behaviour::Succeed, 1);
    let _running = start(&fixture, &kind).await;
    let begun = fixture.clock.elapsed();
    let id = fixture.control.offer(job());
    wait_until_begun(&fixture, &kind).await;
    // At 1, 3 and 7 s, by the clock of the test, which runs on while requests are under way.
    let waited = fixture.clock.elapsed().saturating_sub(begun);
    assert!(waited < Duration::from_secs(20), "{waited:?}");
    assert_eq!(fixture.wait_until_ended(&id).await.status, "finished");
}

#[tokio::test]
async fn an_inherited_job_that_cannot_be_read_keeps_nothing_else_from_running() {
    let fixture = WorkerFixture::new(Generation::First).await;
    let kind = TestKind::new(Behaviour::Succeed, 0);
    let running = start(&fixture, &kind).await;
    let inherited = fixture.control.offer(job());
    wait_until_begun(&fixture, &kind).await;
    running.kill().await;

    let path = format!("/runner-jobs/{inherited}");
    let unreadable = Fault::always(Method::GET, &path, FaultKind::Refuse(500, None));
    fixture.control.add_fault(unreadable);
    kind.gate.add_permits(1);
    let running = start(&fixture, &kind).await;
    let other = fixture.control.offer(NewJob {
        group: "deploy".into(),
        ..job()
    });
    let ended = fixture.wait_until_ended(&other).await;
    assert_eq!(ended.status, "finished");

    // A drain ends the recovery, too, and the execution is left to the next process.
    running.drain.stop(StopCause::Shutdown);
    fixture
        .wait_until("the worker ends", |_| {
            running.task.is_finished().then_some(())
        })
        .await;
    fixture.control.clear_faults();
    kind.gate.add_permits(1);
    let _running = start(&fixture, &kind).await;
    let ended = fixture.wait_until_ended(&inherited).await;
    assert_eq!(
        (ended.status.as_str(), ended.executions.len()),
        ("finished", 1)
    );
}

#[tokio::test]
async fn an_inherited_execution_that_cannot_be_read_in_its_time_is_not_left_without_a_status() {
    let fixture = WorkerFixture::new(Generation::First).await;
    let stuck = TestKind::new(Behaviour::Succeed, 0);
    let running = start(&fixture, &stuck).await;
    let id = fixture.control.offer(NewJob {
        execution_timeout: Duration::from_secs(60),
        ..job()
    });
    wait_until_begun(&fixture, &stuck).await;
    running.kill().await;
    let execution = {
        let mut store = fixture.control.store();
        let job = store.jobs.get_mut(&id).unwrap();
        // The server's own timeout does not come first.
        job.new.execution_timeout = Duration::from_secs(36_000);
        job.executions[0].id.clone()
    };
    let unreadable = Fault::always(Method::GET, &execution, FaultKind::Refuse(500, None));
    fixture.control.add_fault(unreadable);
    let _running = start(&fixture, &stuck).await;
    fixture.advance(Duration::from_secs(150)).await;
    fixture.control.clear_faults();
    let ended = fixture.wait_until_ended(&id).await;
    assert_eq!(ended.executions[0].status, "timed-out");
}

#[tokio::test]
async fn no_claim_is_made_after_a_drain() {
    let fixture = WorkerFixture::new(Generation::First).await;
    let refused = FaultKind::Refuse(429, Some(10));
    fixture
        .control
        .add_fault(Fault::once(Method::POST, "/executions", refused));
    let kind = TestKind::new(Behaviour::Succeed, 1);
    let running = start(&fixture, &kind).await;
    let id = fixture.control.offer(job());
    fixture
        .wait_until("a claim is refused", |fixture| {
            (posts(fixture) == 1).then_some(())
        })
        .await;
    running.drain.stop(StopCause::Shutdown);
    fixture
        .wait_until("the worker ends", |_| {
            running.task.is_finished().then_some(())
        })
        .await;
    assert_eq!(posts(&fixture), 1);
    assert_eq!(fixture.control.store().jobs[&id].executions.len(), 0);
}
