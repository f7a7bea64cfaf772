//! Promises that a fault must not break unseen: whose an execution is, what a drain ends, and that
//! logs are masked. Each of these tests fails if the line that keeps the promise is taken out.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use nuon_runner::base::stop::StopCause;
use nuon_runner::dev::{Fault, FaultKind, Generation};
use nuon_runner::job::JobKind;
use nuon_runner::worker::handler::StepFuture;
use nuon_runner::worker::{Context, Handler, Outcome, Steps};

use super::jobs::{Behaviour, TestKind, job, start, wait_until_begun};
use crate::support::worker::WorkerFixture;

#[tokio::test]
async fn an_execution_that_was_there_before_the_claim_is_never_adopted() {
    let fixture = WorkerFixture::new(Generation::First).await;
    let id = fixture.control.offer(job());
    // An execution of the same client version that is still open, of a job that is available again.
    let earlier = fixture
        .client()
        .create_execution(&id.parse().unwrap(), "earlier")
        .await
        .unwrap();
    if let Some(job) = fixture.control.store().jobs.get_mut(&id) {
        job.status = "available".into();
    }
    // The claim does not arrive, and nobody can tell the runner so.
    fixture
        .control
        .add_fault(Fault::once(Method::POST, "/executions", FaultKind::Reset));
    let kind = TestKind::new(Behaviour::Succeed, 1);
    let _running = start(&fixture, &kind).await;
    fixture.advance(Duration::from_secs(20)).await;
    let claims = |fixture: &WorkerFixture| {
        let store = fixture.control.store();
        let calls = store
            .calls
            .iter()
            .filter(|call| call.path.ends_with("/executions"));
        calls.map(|call| call.status).collect::<Vec<_>>()
    };
    // The one of this test, the lost one, and another try.
    assert_eq!(claims(&fixture).get(..2), Some(&[201, 0][..]));
    assert!(claims(&fixture).len() > 2);
    let store = fixture.control.store();
    let earlier = store.jobs[&id]
        .executions
        .iter()
        .find(|one| one.id == earlier.id.as_str())
        .unwrap();
    assert!(
        !earlier
            .history
            .iter()
            .any(|status| status == "initializing"),
        "{:?}",
        earlier.history
    );
}

#[tokio::test]
async fn an_execution_of_another_process_of_the_same_version_is_never_adopted() {
    let fixture = WorkerFixture::new(Generation::First).await;
    let id = fixture.control.offer(job());
    // Our claim is lost, and while nobody can tell the runner so, another process makes one.
    fixture
        .control
        .add_fault(Fault::once(Method::POST, "/executions", FaultKind::Reset));
    let kind = TestKind::new(Behaviour::Succeed, 1);
    let _running = start(&fixture, &kind).await;
    let is_lost = |fixture: &WorkerFixture| {
        let store = fixture.control.store();
        let mut calls = store.calls.iter();
        calls
            .any(|call| call.path.ends_with("/executions"))
            .then_some(())
    };
    fixture.wait_until("the claim is lost", is_lost).await;
    let (id_of_job, other) = (id.parse().unwrap(), fixture.client());
    other.create_execution(&id_of_job, "other").await.unwrap();
    fixture.advance(Duration::from_secs(20)).await;
    let store = fixture.control.store();
    let history = &store.jobs[&id].executions[0].history;
    assert_eq!(store.jobs[&id].executions.len(), 1);
    assert!(history.is_empty(), "{history:?}");
}

#[tokio::test]
async fn jobs_that_were_seen_are_not_claimed_after_a_drain() {
    let fixture = WorkerFixture::new(Generation::First).await;
    let kind = TestKind::new(Behaviour::Succeed, 0);
    let running = start(&fixture, &kind).await;
    let ids: Vec<String> = (0..4).map(|_| fixture.control.offer(job())).collect();
    wait_until_begun(&fixture, &kind).await;
    let claimed = |fixture: &WorkerFixture| {
        let store = fixture.control.store();
        ids.iter()
            .filter(|id| !store.jobs[*id].executions.is_empty())
            .count()
    };
    let polls = |fixture: &WorkerFixture| {
        let store = fixture.control.store();
        store
            .calls
            .iter()
            .filter(|call| call.path.ends_with("/jobs"))
            .count()
    };
    // The others have been seen by a poll.
    let before = polls(&fixture);
    fixture
        .wait_until("another poll is answered", |fixture| {
            (polls(fixture) > before + 1).then_some(())
        })
        .await;
    let begun = claimed(&fixture);
    assert!(begun < ids.len());
    running.drain.stop(StopCause::Shutdown);
    kind.gate.add_permits(ids.len());
    fixture
        .wait_until("the worker ends", |_| {
            running.task.is_finished().then_some(())
        })
        .await;
    assert_eq!(claimed(&fixture), begun);
}

/// The first try of a result fails and is not stored, and the second one is refused: the refusal is
/// about the result, and not about a second one.
#[tokio::test]
async fn a_refused_result_is_not_taken_for_one_that_has_arrived() {
    for (first, is_stored) in [
        (FaultKind::Refuse(500, None), false),
        (FaultKind::DropResponse, true),
    ] {
        let fixture = WorkerFixture::new(Generation::Second).await;
        let faults = [first.clone(), FaultKind::Refuse(400, None)];
        for fault in faults.into_iter().take(if is_stored { 1 } else { 2 }) {
            let fault = Fault::once(Method::POST, "/result", fault);
            fixture.control.add_fault(fault);
        }
        let kind = TestKind::new(Behaviour::NeedResult, 9);
        let id = fixture.control.offer(job());
        let _running = start(&fixture, &kind).await;
        let job = fixture.wait_until_ended(&id).await;
        let execution = &job.executions[0];
        assert_eq!(execution.result.is_some(), is_stored, "{first:?}");
        let expected = if is_stored { "finished" } else { "failed" };
        assert_eq!(execution.status, expected, "{first:?}");
    }
}

/// A kind that learns a secret and logs it.
struct Careless;

const SECRET: &str = "correct-horse-battery-staple";

impl Handler for Careless {
    fn name(&self) -> &'static str {
        "careless"
    }

    fn kinds(&self) -> &'static [JobKind] {
        &[JobKind::NoopBuild]
    }

    fn start(&self) -> Box<dyn Steps> {
        Box::new(Self)
    }
}

impl Steps for Careless {
    fn exec<'a>(&'a mut self, context: &'a Context) -> StepFuture<'a, Outcome> {
        Box::pin(async move {
            let _guard = context.redactor.learn(SECRET);
            context.log.info(format!("the password is {SECRET}"));
            Ok(Outcome::default())
        })
    }
}

#[tokio::test]
async fn a_secret_in_a_job_s_log_is_masked_before_it_is_shipped() {
    let fixture = WorkerFixture::new(Generation::First).await;
    let _running = fixture.start(vec![Arc::new(Careless)]).await;
    let id = fixture.control.offer(job());
    fixture.wait_until_ended(&id).await;
    let text = fixture
        .wait_until("the log is shipped", |fixture| {
            let store = fixture.control.store();
            let lines = store.logs.values().flatten();
            let text: String = lines.map(|line| format!("{}\n", line.text)).collect();
            text.contains("the password is").then_some(text)
        })
        .await;
    assert!(!text.contains(SECRET), "{text}");
}
