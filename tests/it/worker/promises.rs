//! Promises that a fault must not break unseen: whose an execution is, what a drain ends, and that
//! logs are masked. Each of these tests fails if the line that keeps the promise is taken out.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Method;
use nuon_runner::base::stop::StopCause;
use nuon_runner::dev::{Fault, FaultKind, Generation, NewJob};
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
    let claims = |fixture: &WorkerFixture| {
        let store = fixture.control.store();
        let calls = store
            .calls
            .iter()
            .filter(|call| call.path.ends_with("/executions"));
        calls.map(|call| call.status).collect::<Vec<_>>()
    };
    // The one of this test, the lost one, and another try.
    let another = |fixture: &WorkerFixture| (claims(fixture).len() > 2).then_some(());
    fixture
        .wait_until("the claim is tried again", another)
        .await;
    assert_eq!(claims(&fixture).get(..2), Some(&[201, 0][..]));
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

/// A 409 to the first try of a report says that it is not possible yet, and not that it is refused.
#[tokio::test]
async fn a_report_that_is_not_possible_yet_is_sent_again() {
    for route in ["/result", "/outputs"] {
        let fixture = WorkerFixture::new(Generation::Second).await;
        let conflict = FaultKind::Refuse(409, None);
        fixture
            .control
            .add_fault(Fault::once(Method::POST, route, conflict));
        let kind = TestKind::new(Behaviour::Succeed, 1);
        let id = fixture.control.offer(job());
        let _running = start(&fixture, &kind).await;
        let job = fixture.wait_until_ended(&id).await;
        let execution = &job.executions[0];
        assert_eq!(execution.status, "finished", "{route}");
        let arrived = (execution.result.is_some(), execution.outputs.is_some());
        assert_eq!(arrived, (true, true), "{route}");
    }
}

/// The process ends between an effect and the record of its result: the outcome is recorded with the
/// result or not at all, so that the next process does not go on without the result.
#[tokio::test]
async fn an_outcome_is_never_recorded_without_its_result() {
    let fixture = WorkerFixture::new(Generation::Second).await;
    let kind = TestKind::new(Behaviour::Succeed, 0);
    let running = start(&fixture, &kind).await;
    let id = fixture.control.offer(NewJob {
        execution_timeout: Duration::from_secs(3600),
        ..job()
    });
    wait_until_begun(&fixture, &kind).await;
    let options =
        sqlx::sqlite::SqliteConnectOptions::new().filename(fixture.state.path().join("journal.db"));
    let journal = sqlx::SqlitePool::connect_with(options).await.unwrap();
    let no_results = "CREATE TRIGGER no_results BEFORE INSERT ON report WHEN NEW.kind = 'result' \
                      BEGIN SELECT RAISE(ABORT, 'no room'); END";
    sqlx::query(no_results).execute(&journal).await.unwrap();
    kind.gate.add_permits(2);
    fixture
        .wait_until("the worker ends", |_| {
            running.task.is_finished().then_some(())
        })
        .await;
    running.kill().await;
    let drop = "DROP TRIGGER no_results";
    sqlx::query(drop).execute(&journal).await.unwrap();
    journal.close().await;
    let _running = start(&fixture, &kind).await;
    let job = fixture.wait_until_ended(&id).await;
    assert_eq!(job.executions.len(), 1);
    let execution = &job.executions[0];
    assert_eq!(execution.status, "finished");
    assert!(execution.result.is_some());
}

/// A kind that records the time that is left for its effect, which does not end.
struct TimeLeft(Arc<Mutex<Vec<Duration>>>);

impl Handler for TimeLeft {
    fn name(&self) -> &'static str {
        "time left"
    }

    fn kinds(&self) -> &'static [JobKind] {
        &[JobKind::NoopBuild]
    }

    fn start(&self) -> Box<dyn Steps> {
        Box::new(Self(self.0.clone()))
    }
}

impl Steps for TimeLeft {
    fn exec<'a>(&'a mut self, context: &'a Context) -> StepFuture<'a, Outcome> {
        let left = context.deadline.saturating_sub(context.clock.elapsed());
        self.0.lock().unwrap().push(left);
        Box::pin(std::future::pending())
    }
}

/// The time of an execution counts from its claim, whichever process runs it.
#[tokio::test]
async fn a_restart_gives_an_execution_no_new_time() {
    let fixture = WorkerFixture::new(Generation::First).await;
    let times = Arc::<Mutex<Vec<Duration>>>::default();
    fixture.control.offer(NewJob {
        execution_timeout: Duration::from_secs(3600),
        ..job()
    });
    let waited = Duration::from_secs(30);
    for count in 1..=2 {
        let running = fixture.start(vec![Arc::new(TimeLeft(times.clone()))]).await;
        fixture
            .wait_until("the effect begins", |_| {
                (times.lock().unwrap().len() == count).then_some(())
            })
            .await;
        fixture.advance(waited).await;
        running.kill().await;
    }
    let times = times.lock().unwrap();
    assert!(times[1] + waited <= times[0], "{times:?}");
}

/// A kind whose effect does not end, and whose cleanup takes 10 s.
struct SlowCleanup(Arc<AtomicBool>);

impl Handler for SlowCleanup {
    fn name(&self) -> &'static str {
        "slow cleanup"
    }

    fn kinds(&self) -> &'static [JobKind] {
        &[JobKind::NoopBuild]
    }

    fn start(&self) -> Box<dyn Steps> {
        Box::new(Self(self.0.clone()))
    }
}

impl Steps for SlowCleanup {
    fn exec<'a>(&'a mut self, _: &'a Context) -> StepFuture<'a, Outcome> {
        Box::pin(std::future::pending())
    }

    fn cleanup<'a>(&'a mut self, context: &'a Context) -> StepFuture<'a> {
        Box::pin(async move {
            context.clock.sleep(Duration::from_secs(10)).await;
            self.0.store(true, Ordering::SeqCst);
            Ok(())
        })
    }
}

#[tokio::test]
async fn a_cleanup_has_its_own_time_after_the_deadline() {
    let fixture = WorkerFixture::new(Generation::First).await;
    let is_clean = Arc::new(AtomicBool::new(false));
    let _running = fixture
        .start(vec![Arc::new(SlowCleanup(is_clean.clone()))])
        .await;
    let id = fixture.control.offer(NewJob {
        execution_timeout: Duration::from_secs(20),
        ..job()
    });
    let is_claimed = |fixture: &WorkerFixture| {
        let mut store = fixture.control.store();
        let job = store.jobs.get_mut(&id)?;
        // The server's own timeout does not come first.
        let is_claimed = !job.executions.is_empty();
        is_claimed.then(|| job.new.execution_timeout = Duration::from_secs(36_000))
    };
    fixture.wait_until("the job is claimed", is_claimed).await;
    let job = fixture.wait_until_ended(&id).await;
    assert_eq!(job.executions[0].status, "timed-out");
    assert!(is_clean.load(Ordering::SeqCst));
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
