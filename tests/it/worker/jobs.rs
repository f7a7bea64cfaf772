//! The worker with job kinds of the test: every possible end, outages, lost responses, restarts.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nuon_runner::base::stop::StopCause;
use nuon_runner::dev::{Fault, FaultKind, Generation, NewJob};
use nuon_runner::job::JobKind;
use nuon_runner::job::report::ResultReport;
use nuon_runner::worker::handler::StepFuture;
use nuon_runner::worker::{Context, FailureKind, Handler, Outcome, StepFailure, Steps};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::support::worker::{Running, WorkerFixture};

/// A job kind whose effect is controlled by the test.
pub struct TestKind {
    behaviour: Behaviour,
    /// Number of completed effects.
    effects: AtomicUsize,
    /// Number of cleanups.
    cleanups: AtomicUsize,
    /// The effect waits for a permit.
    pub gate: Semaphore,
    /// Gets a permit when the effect begins.
    begun: Semaphore,
    key: Option<&'static str>,
    max_concurrent: AtomicUsize,
    concurrent: AtomicUsize,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Behaviour {
    Succeed,
    NeedResult,
    Fail,
    Panic,
}

impl TestKind {
    pub fn new(behaviour: Behaviour, permits: usize) -> Arc<Self> {
        Self::with_key(behaviour, permits, None)
    }

    fn with_key(behaviour: Behaviour, permits: usize, key: Option<&'static str>) -> Arc<Self> {
        Arc::new(Self {
            behaviour,
            effects: AtomicUsize::new(0),
            cleanups: AtomicUsize::new(0),
            gate: Semaphore::new(permits),
            begun: Semaphore::new(0),
            key,
            max_concurrent: AtomicUsize::new(0),
            concurrent: AtomicUsize::new(0),
        })
    }
}

pub struct TestHandler(pub Arc<TestKind>);

impl Handler for TestHandler {
    fn name(&self) -> &'static str {
        "invented"
    }

    fn kinds(&self) -> &'static [JobKind] {
        &[JobKind::NoopBuild]
    }

    fn start(&self) -> Box<dyn Steps> {
        Box::new(TestSteps(self.0.clone()))
    }
}

struct TestSteps(Arc<TestKind>);

impl Steps for TestSteps {
    fn concurrency_key(&self) -> Option<String> {
        self.0.key.map(str::to_owned)
    }

    fn exec<'a>(&'a mut self, context: &'a Context) -> StepFuture<'a, Outcome> {
        Box::pin(async move {
            let concurrent = self.0.concurrent.fetch_add(1, Ordering::SeqCst) + 1;
            self.0
                .max_concurrent
                .fetch_max(concurrent, Ordering::SeqCst);
            context.directory()?;
            self.0.begun.add_permits(1);
            let permit = self.0.gate.acquire().await.unwrap();
            permit.forget();
            self.0.concurrent.fetch_sub(1, Ordering::SeqCst);
            self.0.effects.fetch_add(1, Ordering::SeqCst);
            match self.0.behaviour {
                Behaviour::Fail => {
                    return Err(StepFailure::new(
                        FailureKind::Render,
                        "the invented effect fails",
                    ));
                }
                Behaviour::Panic => panic!("an invented panic"),
                Behaviour::Succeed | Behaviour::NeedResult => {}
            }
            let result = ResultReport {
                success: true,
                ..ResultReport::default()
            };
            Ok(match self.0.behaviour {
                Behaviour::NeedResult => Outcome::Planned { result },
                _ => Outcome::Done {
                    result: Some(result),
                    outputs: json!({"made": 1}).as_object().unwrap().clone(),
                },
            })
        })
    }

    fn cleanup<'a>(&'a mut self, _: &'a Context) -> StepFuture<'a> {
        self.0.cleanups.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { Ok(()) })
    }
}

/// A kind whose effect completes at once.
pub fn quick() -> impl Handler {
    TestHandler(TestKind::new(Behaviour::Succeed, usize::MAX >> 4))
}

pub async fn start(fixture: &WorkerFixture, kind: &Arc<TestKind>) -> Running {
    fixture
        .start(vec![Arc::new(TestHandler(kind.clone()))])
        .await
}

pub fn job() -> NewJob {
    NewJob::new("noop-build", "build")
}

pub async fn wait_until_begun(fixture: &WorkerFixture, kind: &TestKind) {
    fixture
        .wait_until("the effect begins", |_| {
            kind.begun.try_acquire().ok().map(|permit| permit.forget())
        })
        .await;
}

/// Waits until the directories of all jobs are removed, which goes on after their last report.
async fn wait_until_no_job_directories(fixture: &WorkerFixture) {
    fixture
        .wait_until("no directories of jobs remain", |fixture| {
            let work = fixture.state.path().join("work");
            let left = std::fs::read_dir(work).map_or(0, |entries| entries.count());
            (left == 0).then_some(())
        })
        .await;
}

#[tokio::test]
async fn a_cancelled_job_is_reported_cancelled_and_still_cleans_up() {
    for generation in [Generation::First, Generation::Second] {
        let fixture = WorkerFixture::new(generation).await;
        let kind = TestKind::new(Behaviour::Succeed, 0);
        let _running = start(&fixture, &kind).await;
        let id = fixture.control.offer(job());
        wait_until_begun(&fixture, &kind).await;
        fixture.control.store().cancel(&id);
        fixture
            .wait_until("the job is cleaned up", |_| {
                (kind.cleanups.load(Ordering::SeqCst) == 1).then_some(())
            })
            .await;
        let history = fixture
            .wait_until("the cancel is reported", |fixture| {
                let history = fixture.control.store().jobs[&id].executions[0]
                    .history
                    .clone();
                (history.last().map(String::as_str) == Some("cancelled")).then_some(history)
            })
            .await;
        assert_eq!(history, ["initializing", "in-progress", "cancelled"]);
        assert_eq!(kind.effects.load(Ordering::SeqCst), 0);
        assert_eq!(
            fixture.control.store().jobs[&id].executions[0].results_offered,
            0
        );
        wait_until_no_job_directories(&fixture).await;
        crate::support::daemon::assert_contract(&fixture.control);
    }
}

#[tokio::test]
async fn a_job_past_its_deadline_is_reported_timed_out_and_still_cleans_up() {
    let fixture = WorkerFixture::new(Generation::First).await;
    let kind = TestKind::new(Behaviour::Succeed, 0);
    let _running = start(&fixture, &kind).await;
    let id = fixture.control.offer(NewJob {
        execution_timeout: Duration::from_secs(20),
        ..job()
    });
    wait_until_begun(&fixture, &kind).await;
    let job = fixture.wait_until_ended(&id).await;
    // The server's own timeout may come first; both report the same status.
    assert_eq!(job.executions[0].status, "timed-out");
    fixture
        .wait_until("the job is cleaned up", |_| {
            (kind.cleanups.load(Ordering::SeqCst) == 1).then_some(())
        })
        .await;
    wait_until_no_job_directories(&fixture).await;
}

#[tokio::test]
async fn a_panic_fails_its_job_and_nothing_else() {
    let fixture = WorkerFixture::new(Generation::Second).await;
    let kind = TestKind::new(Behaviour::Panic, 9);
    let _running = start(&fixture, &kind).await;
    for _ in 0..2 {
        let id = fixture.control.offer(job());
        let job = fixture.wait_until_ended(&id).await;
        assert_eq!(
            job.executions[0].history,
            ["initializing", "in-progress", "failed"]
        );
        assert!(job.description.contains("panicked"), "{}", job.description);
    }
    assert_eq!(kind.cleanups.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_failure_is_reported_with_its_step_handler_and_message() {
    let fixture = WorkerFixture::new(Generation::Second).await;
    let kind = TestKind::new(Behaviour::Fail, 9);
    let _running = start(&fixture, &kind).await;
    let id = fixture.control.offer(job());
    let job = fixture.wait_until_ended(&id).await;
    assert_eq!(job.description, "exec: the invented effect fails");
    let metadata = &job.executions[0].result.as_ref().unwrap()["error_metadata"];
    let expected = json!({"handler": "invented", "job_type": "noop-build", "step": "exec", "message": "the invented effect fails"});
    assert_eq!(*metadata, expected);
}

#[tokio::test]
async fn a_plan_whose_result_is_refused_is_failed_and_another_job_is_not() {
    for (behaviour, expected) in [
        (Behaviour::NeedResult, "failed"),
        (Behaviour::Succeed, "finished"),
    ] {
        let fixture = WorkerFixture::new(Generation::First).await;
        let kind = TestKind::new(behaviour, 9);
        let _running = start(&fixture, &kind).await;
        fixture.control.add_fault(Fault::once(
            http::Method::POST,
            "/result",
            FaultKind::Refuse(422, None),
        ));
        let id = fixture.control.offer(job());
        assert_eq!(
            fixture.wait_until_ended(&id).await.executions[0].status,
            expected
        );
    }
}

#[tokio::test]
async fn two_executions_with_one_key_never_run_at_once_and_the_second_reports_that_it_waits() {
    let fixture = WorkerFixture::new(Generation::First).await;
    fixture
        .control
        .store()
        .set_setting("job_group_parallelism", json!({"build": "4"}));
    let kind = TestKind::with_key(Behaviour::Succeed, 0, Some("install/component"));
    let _running = start(&fixture, &kind).await;
    let ids: Vec<_> = (0..3).map(|_| fixture.control.offer(job())).collect();
    wait_until_begun(&fixture, &kind).await;
    fixture.advance(Duration::from_secs(5)).await;
    kind.gate.add_permits(3);
    for id in &ids {
        assert_eq!(
            fixture.wait_until_ended(id).await.executions[0].status,
            "finished"
        );
    }
    assert_eq!(kind.max_concurrent.load(Ordering::SeqCst), 1);
    fixture
        .wait_until("a waiting job is reported as waiting", |fixture| {
            let store = fixture.control.store();
            store
                .logs
                .values()
                .flatten()
                .any(|line| line.text.contains("waiting for another deploy"))
                .then_some(())
        })
        .await;
}

#[tokio::test]
async fn an_hour_without_control_plane_loses_nothing() {
    let fixture = WorkerFixture::new(Generation::First).await;
    let kind = TestKind::new(Behaviour::Succeed, 0);
    let running = start(&fixture, &kind).await;
    let id = fixture.control.offer(NewJob {
        execution_timeout: Duration::from_secs(7200),
        ..job()
    });
    wait_until_begun(&fixture, &kind).await;
    fixture.control.set_down(true);
    kind.gate.add_permits(1);
    fixture.advance(Duration::from_secs(3600)).await;
    assert_eq!(kind.effects.load(Ordering::SeqCst), 1);
    let backlog = running.journal.backlog().await.unwrap();
    assert_eq!(
        backlog.depth, 4,
        "result, outputs, cleaning-up and finished wait in the journal"
    );
    // Undoes the server's reaction to missing heartbeats: the first generation fails the execution,
    // which the next test covers.
    fixture
        .control
        .store()
        .jobs
        .get_mut(&id)
        .unwrap()
        .executions[0]
        .status = "in-progress".into();
    fixture.control.set_down(false);
    let execution = fixture
        .wait_until("everything has arrived", |fixture| {
            let execution = fixture.control.store().jobs[&id].executions[0].clone();
            (execution.status == "finished").then_some(execution)
        })
        .await;
    assert_eq!(
        execution.history,
        ["initializing", "in-progress", "cleaning-up", "finished"]
    );
    assert_eq!(
        (execution.results_offered, execution.outputs_offered),
        (1, 1)
    );
    let store = fixture.control.store();
    let order: Vec<_> = store
        .calls
        .iter()
        .filter(|call| call.committed && call.method != "GET" && call.path.contains(&execution.id))
        .map(|call| call.path.rsplit('/').next().unwrap().to_owned())
        .collect();
    assert_eq!(
        order[2..4],
        ["result", "outputs"],
        "in the order in which they were queued"
    );
}

#[tokio::test]
async fn after_an_outage_a_status_never_overwrites_an_end_that_the_server_has_set() {
    let fixture = WorkerFixture::new(Generation::First).await;
    let kind = TestKind::new(Behaviour::Succeed, 0);
    let _running = start(&fixture, &kind).await;
    let id = fixture.control.offer(job());
    wait_until_begun(&fixture, &kind).await;
    fixture.control.set_down(true);
    kind.gate.add_permits(1);
    // In this time, the server fails or times out the execution because heartbeats are missing.
    fixture.advance(Duration::from_secs(3600)).await;
    let ended_as = fixture.control.store().jobs[&id].executions[0]
        .status
        .clone();
    assert!(
        ["failed", "timed-out"].contains(&ended_as.as_str()),
        "{ended_as}"
    );
    fixture.control.set_down(false);
    let execution = fixture
        .wait_until("result and outputs have arrived", |fixture| {
            let execution = fixture.control.store().jobs[&id].executions[0].clone();
            (execution.outputs_offered == 1 && execution.results_offered == 1).then_some(execution)
        })
        .await;
    fixture.advance(Duration::from_secs(120)).await;
    assert_eq!(
        fixture.control.store().jobs[&id].executions[0].status,
        ended_as
    );
    assert_eq!(execution.history, ["initializing", "in-progress"]);
}

#[tokio::test]
async fn losing_a_fifth_of_all_responses_duplicates_nothing() {
    let fixture = WorkerFixture::new(Generation::Second).await;
    fixture
        .control
        .store()
        .set_setting("job_group_parallelism", json!({"build": "16"}));
    let kind = TestKind::new(Behaviour::Succeed, 1000);
    let _running = start(&fixture, &kind).await;
    fixture
        .control
        .add_fault(Fault::some(20, 7, FaultKind::DropResponse));
    let ids: Vec<_> = (0..200).map(|_| fixture.control.offer(job())).collect();
    for id in &ids {
        fixture
            .wait_until("the job is finished", |fixture| {
                let mut store = fixture.control.store();
                let job = store.jobs.get_mut(id).unwrap();
                if job.status == "timed-out" && job.executions.is_empty() {
                    // No worker was free in time, which is not what is tested.
                    job.status = "available".into();
                    job.created_at = fixture.clock.now();
                }
                (job.executions
                    .last()
                    .is_some_and(|execution| execution.status == "finished"))
                .then_some(())
            })
            .await;
    }
    let store = fixture.control.store();
    for id in &ids {
        let job = &store.jobs[id];
        assert_eq!(job.executions.len(), 1, "one execution of {id}");
        let execution = &job.executions[0];
        let mut history = execution.history.clone();
        history.dedup();
        assert_eq!(
            history,
            ["initializing", "in-progress", "cleaning-up", "finished"]
        );
        assert!(execution.result.is_some() && execution.outputs.is_some());
    }
    assert_eq!(
        kind.effects.load(Ordering::SeqCst),
        200,
        "no effect is repeated"
    );
    let lost = store
        .calls
        .iter()
        .filter(|call| call.committed && call.status == 0)
        .count();
    assert!(lost > 200, "only {lost} answers were lost");
}

#[tokio::test]
async fn a_restarted_worker_resumes_the_same_execution() {
    let fixture = WorkerFixture::new(Generation::First).await;
    let stuck = TestKind::new(Behaviour::Succeed, 0);
    let first = start(&fixture, &stuck).await;
    let id = fixture.control.offer(NewJob {
        execution_timeout: Duration::from_secs(3600),
        ..job()
    });
    wait_until_begun(&fixture, &stuck).await;
    first.kill().await;
    let free = TestKind::new(Behaviour::Succeed, 1);
    let _second = start(&fixture, &free).await;
    let job = fixture.wait_until_ended(&id).await;
    assert_eq!(job.executions.len(), 1);
    assert_eq!(
        job.executions[0].history,
        ["initializing", "in-progress", "cleaning-up", "finished"]
    );
    assert_eq!(
        (
            stuck.effects.load(Ordering::SeqCst),
            free.effects.load(Ordering::SeqCst)
        ),
        (0, 1)
    );
}

#[tokio::test]
async fn an_execution_that_the_server_has_ended_is_dropped_after_a_restart() {
    let fixture = WorkerFixture::new(Generation::First).await;
    let stuck = TestKind::new(Behaviour::Succeed, 0);
    let first = start(&fixture, &stuck).await;
    let id = fixture.control.offer(job());
    wait_until_begun(&fixture, &stuck).await;
    first.kill().await;
    fixture.control.store().cancel(&id);
    let free = TestKind::new(Behaviour::Succeed, 9);
    let second = start(&fixture, &free).await;
    let next = fixture.control.offer(job());
    fixture.wait_until_ended(&next).await;
    assert_eq!(
        free.effects.load(Ordering::SeqCst),
        1,
        "only the next job ran"
    );
    assert!(second.journal.open_claims().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_job_that_crashed_the_process_three_times_is_failed() {
    let fixture = WorkerFixture::new(Generation::Second).await;
    let stuck = TestKind::new(Behaviour::Succeed, 0);
    let id = fixture.control.offer(NewJob {
        execution_timeout: Duration::from_secs(3600),
        ..job()
    });
    for _ in 0..3 {
        let running = start(&fixture, &stuck).await;
        wait_until_begun(&fixture, &stuck).await;
        running.kill().await;
    }
    let _running = start(&fixture, &stuck).await;
    let job = fixture.wait_until_ended(&id).await;
    assert!(
        job.description.contains("went down 3 times"),
        "{}",
        job.description
    );
    assert_eq!(job.executions.len(), 1);
}

/// Two jobs run at each crash, and one of them is the cause: only that one fails, and the other one
/// completes.
#[tokio::test]
async fn crashes_are_counted_for_the_job_that_caused_them() {
    let fixture = WorkerFixture::new(Generation::Second).await;
    fixture
        .control
        .store()
        .set_setting("job_group_parallelism", json!({"build": "2"}));
    let stuck = TestKind::new(Behaviour::Succeed, 0);
    let long = || NewJob {
        execution_timeout: Duration::from_secs(36_000),
        ..job()
    };
    let (first, second) = (fixture.control.offer(long()), fixture.control.offer(long()));
    for _ in 0..2 {
        let running = start(&fixture, &stuck).await;
        wait_until_begun(&fixture, &stuck).await;
        wait_until_begun(&fixture, &stuck).await;
        running.kill().await;
    }
    // From now on, one of them runs at a time. The process crashes again.
    let running = start(&fixture, &stuck).await;
    wait_until_begun(&fixture, &stuck).await;
    fixture.advance(Duration::from_secs(20)).await;
    assert_eq!(
        stuck.begun.available_permits(),
        0,
        "suspects run one at a time"
    );
    running.kill().await;
    let free = TestKind::new(Behaviour::Succeed, 9);
    let _running = start(&fixture, &free).await;
    let ended = [
        fixture.wait_until_ended(&first).await,
        fixture.wait_until_ended(&second).await,
    ];
    let guilty: Vec<_> = ended
        .iter()
        .filter(|job| job.description.contains("went down 3 times"))
        .collect();
    assert_eq!(
        guilty.len(),
        1,
        "{} and {}",
        ended[0].description,
        ended[1].description
    );
    assert_eq!(
        ended.iter().filter(|job| job.status == "finished").count(),
        1
    );
}

#[tokio::test]
async fn a_claim_whose_response_was_lost_before_a_kill_is_found_and_resumed() {
    let fixture = WorkerFixture::new(Generation::First).await;
    let kind = TestKind::new(Behaviour::Succeed, 9);
    fixture.control.add_fault(Fault::once(
        http::Method::POST,
        "/executions",
        FaultKind::DropResponse,
    ));
    let first = start(&fixture, &kind).await;
    let id = fixture.control.offer(NewJob {
        execution_timeout: Duration::from_secs(3600),
        ..job()
    });
    fixture
        .wait_until("the execution exists", |fixture| {
            (!fixture.control.store().jobs[&id].executions.is_empty()).then_some(())
        })
        .await;
    first.kill().await;
    let _second = start(&fixture, &kind).await;
    let job = fixture.wait_until_ended(&id).await;
    assert_eq!(
        (job.executions.len(), job.executions[0].status.as_str()),
        (1, "finished")
    );
}

#[tokio::test]
async fn a_drain_lets_jobs_finish_and_a_cancel_reports_them_cancelled() {
    let fixture = WorkerFixture::new(Generation::First).await;
    let kind = TestKind::new(Behaviour::Succeed, 0);
    let mut running = start(&fixture, &kind).await;
    let first = fixture.control.offer(job());
    wait_until_begun(&fixture, &kind).await;
    running.drain.stop(StopCause::Shutdown);
    let second = fixture.control.offer(job());
    fixture.advance(Duration::from_secs(10)).await;
    assert!(!running.task.is_finished(), "the running job continues");
    running.cancel.stop(StopCause::Shutdown);
    let drained = (&mut running.task).await.unwrap();
    assert_eq!(drained.suspended, 0);
    let store = fixture.control.store();
    let execution = &store.jobs[&first].executions[0];
    assert_eq!(execution.status, "cancelled");
    assert_eq!(execution.description.as_deref(), Some("runner stopped"));
    assert!(
        store.jobs[&second].executions.is_empty(),
        "no claim after the drain began"
    );
}
