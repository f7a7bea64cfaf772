//! The worker with job kinds of the test: every possible end, outages, lost responses, restarts.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nuon_runner::base::stop::StopCause;
use nuon_runner::control::wire::ResultReport;
use nuon_runner::dev::{Fault, FaultKind, Generation, NewJob};
use nuon_runner::job::JobKind;
use nuon_runner::worker::handler::StepFuture;
use nuon_runner::worker::{Context, Failure, FailureKind, Handler, Outcome, Steps};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::bench::{Bench, Running};

/// A job kind whose effect is controlled by the test.
struct Invented {
    behaviour: Behaviour,
    /// Number of completed effects.
    effects: AtomicUsize,
    /// Number of cleanups.
    cleanups: AtomicUsize,
    /// The effect waits for a permit.
    gate: Semaphore,
    /// Gets a permit when the effect begins.
    begun: Semaphore,
    exclusive: Option<&'static str>,
    most_at_once: AtomicUsize,
    at_once: AtomicUsize,
}

#[derive(Clone, Copy, PartialEq)]
enum Behaviour {
    Succeed,
    NeedResult,
    Fail,
    Panic,
}

impl Invented {
    fn new(behaviour: Behaviour, permits: usize) -> Arc<Self> {
        Self::with_key(behaviour, permits, None)
    }

    fn with_key(
        behaviour: Behaviour,
        permits: usize,
        exclusive: Option<&'static str>,
    ) -> Arc<Self> {
        Arc::new(Self {
            behaviour,
            effects: AtomicUsize::new(0),
            cleanups: AtomicUsize::new(0),
            gate: Semaphore::new(permits),
            begun: Semaphore::new(0),
            exclusive,
            most_at_once: AtomicUsize::new(0),
            at_once: AtomicUsize::new(0),
        })
    }
}

struct Kind(Arc<Invented>);

impl Handler for Kind {
    fn name(&self) -> &'static str {
        "invented"
    }

    fn kinds(&self) -> &'static [JobKind] {
        &[JobKind::NoopBuild]
    }

    fn start(&self) -> Box<dyn Steps> {
        Box::new(Run(self.0.clone()))
    }
}

struct Run(Arc<Invented>);

impl Steps for Run {
    fn concurrency_key(&self) -> Option<String> {
        self.0.exclusive.map(str::to_owned)
    }

    fn exec<'a>(&'a mut self, context: &'a Context) -> StepFuture<'a, Outcome> {
        Box::pin(async move {
            let at_once = self.0.at_once.fetch_add(1, Ordering::SeqCst) + 1;
            self.0.most_at_once.fetch_max(at_once, Ordering::SeqCst);
            context.directory()?;
            self.0.begun.add_permits(1);
            let permit = self.0.gate.acquire().await.unwrap();
            permit.forget();
            self.0.at_once.fetch_sub(1, Ordering::SeqCst);
            self.0.effects.fetch_add(1, Ordering::SeqCst);
            match self.0.behaviour {
                Behaviour::Fail => {
                    return Err(Failure::new(
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
    Kind(Invented::new(Behaviour::Succeed, usize::MAX >> 4))
}

async fn start(bench: &Bench, invented: &Arc<Invented>) -> Running {
    bench.start(vec![Arc::new(Kind(invented.clone()))]).await
}

fn job() -> NewJob {
    NewJob::new("noop-build", "build")
}

async fn begun(bench: &Bench, invented: &Invented) {
    bench
        .until("the effect begins", |_| {
            invented
                .begun
                .try_acquire()
                .ok()
                .map(|permit| permit.forget())
        })
        .await;
}

fn nothing_is_left(bench: &Bench) {
    let work = bench.state.path().join("work");
    let left = std::fs::read_dir(work).map_or(0, |entries| entries.count());
    assert_eq!(left, 0, "directories of jobs are left");
}

#[tokio::test]
async fn a_cancelled_job_is_reported_cancelled_and_still_cleans_up() {
    for generation in [Generation::First, Generation::Second] {
        let bench = Bench::new(generation).await;
        let invented = Invented::new(Behaviour::Succeed, 0);
        let _running = start(&bench, &invented).await;
        let id = bench.control.offer(job());
        begun(&bench, &invented).await;
        bench.control.store().cancel(&id);
        bench
            .until("the job is cleaned up", |_| {
                (invented.cleanups.load(Ordering::SeqCst) == 1).then_some(())
            })
            .await;
        let history = bench
            .until("the cancel is reported", |bench| {
                let history = bench.control.store().jobs[&id].executions[0]
                    .history
                    .clone();
                (history.last().map(String::as_str) == Some("cancelled")).then_some(history)
            })
            .await;
        assert_eq!(history, ["initializing", "in-progress", "cancelled"]);
        assert_eq!(invented.effects.load(Ordering::SeqCst), 0);
        assert_eq!(
            bench.control.store().jobs[&id].executions[0].results_offered,
            0
        );
        nothing_is_left(&bench);
        crate::daemon::assert_contract(&bench.control);
    }
}

#[tokio::test]
async fn a_job_whose_time_is_over_is_reported_timed_out_and_still_cleans_up() {
    let bench = Bench::new(Generation::First).await;
    let invented = Invented::new(Behaviour::Succeed, 0);
    let _running = start(&bench, &invented).await;
    let id = bench.control.offer(NewJob {
        execution_timeout: Duration::from_secs(20),
        ..job()
    });
    begun(&bench, &invented).await;
    let job = bench.ended(&id).await;
    // The server's own timeout may come first; both report the same status.
    assert_eq!(job.executions[0].status, "timed-out");
    bench
        .until("the job is cleaned up", |_| {
            (invented.cleanups.load(Ordering::SeqCst) == 1).then_some(())
        })
        .await;
    nothing_is_left(&bench);
}

#[tokio::test]
async fn a_panic_fails_its_job_and_nothing_else() {
    let bench = Bench::new(Generation::Second).await;
    let invented = Invented::new(Behaviour::Panic, 9);
    let _running = start(&bench, &invented).await;
    for _ in 0..2 {
        let id = bench.control.offer(job());
        let job = bench.ended(&id).await;
        assert_eq!(
            job.executions[0].history,
            ["initializing", "in-progress", "failed"]
        );
        assert!(job.description.contains("panicked"), "{}", job.description);
    }
    assert_eq!(invented.cleanups.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_failure_is_told_with_its_step_handler_and_sentence() {
    let bench = Bench::new(Generation::Second).await;
    let invented = Invented::new(Behaviour::Fail, 9);
    let _running = start(&bench, &invented).await;
    let id = bench.control.offer(job());
    let job = bench.ended(&id).await;
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
        let bench = Bench::new(Generation::First).await;
        let invented = Invented::new(behaviour, 9);
        let _running = start(&bench, &invented).await;
        bench.control.add_fault(Fault::once(
            http::Method::POST,
            "/result",
            FaultKind::Refuse(422, None),
        ));
        let id = bench.control.offer(job());
        assert_eq!(bench.ended(&id).await.executions[0].status, expected);
    }
}

#[tokio::test]
async fn two_executions_with_one_key_never_run_at_once_and_the_second_says_that_it_waits() {
    let bench = Bench::new(Generation::First).await;
    bench
        .control
        .store()
        .set_setting("job_group_parallelism", json!({"build": "4"}));
    let invented = Invented::with_key(Behaviour::Succeed, 0, Some("install/component"));
    let _running = start(&bench, &invented).await;
    let ids: Vec<_> = (0..3).map(|_| bench.control.offer(job())).collect();
    begun(&bench, &invented).await;
    bench.pass(Duration::from_secs(5)).await;
    invented.gate.add_permits(3);
    for id in &ids {
        assert_eq!(bench.ended(id).await.executions[0].status, "finished");
    }
    assert_eq!(invented.most_at_once.load(Ordering::SeqCst), 1);
    bench
        .until("a waiting job says so", |bench| {
            let store = bench.control.store();
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
    let bench = Bench::new(Generation::First).await;
    let invented = Invented::new(Behaviour::Succeed, 0);
    let running = start(&bench, &invented).await;
    let id = bench.control.offer(NewJob {
        execution_timeout: Duration::from_secs(7200),
        ..job()
    });
    begun(&bench, &invented).await;
    bench.control.set_down(true);
    invented.gate.add_permits(1);
    bench.pass(Duration::from_secs(3600)).await;
    assert_eq!(invented.effects.load(Ordering::SeqCst), 1);
    let backlog = running.journal.backlog().await.unwrap();
    assert_eq!(
        backlog.depth, 4,
        "result, outputs, cleaning-up and finished wait in the journal"
    );
    // Undoes the server's reaction to missing heartbeats: the first generation fails the execution,
    // which the next test covers.
    bench.control.store().jobs.get_mut(&id).unwrap().executions[0].status = "in-progress".into();
    bench.control.set_down(false);
    let execution = bench
        .until("everything has arrived", |bench| {
            let execution = bench.control.store().jobs[&id].executions[0].clone();
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
    let store = bench.control.store();
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
    let bench = Bench::new(Generation::First).await;
    let invented = Invented::new(Behaviour::Succeed, 0);
    let _running = start(&bench, &invented).await;
    let id = bench.control.offer(job());
    begun(&bench, &invented).await;
    bench.control.set_down(true);
    invented.gate.add_permits(1);
    // In this time, the server fails or times out the execution because heartbeats are missing.
    bench.pass(Duration::from_secs(3600)).await;
    let ended_as = bench.control.store().jobs[&id].executions[0].status.clone();
    assert!(
        ["failed", "timed-out"].contains(&ended_as.as_str()),
        "{ended_as}"
    );
    bench.control.set_down(false);
    let execution = bench
        .until("result and outputs have arrived", |bench| {
            let execution = bench.control.store().jobs[&id].executions[0].clone();
            (execution.outputs_offered == 1 && execution.results_offered == 1).then_some(execution)
        })
        .await;
    bench.pass(Duration::from_secs(120)).await;
    assert_eq!(
        bench.control.store().jobs[&id].executions[0].status,
        ended_as
    );
    assert_eq!(execution.history, ["initializing", "in-progress"]);
}

#[tokio::test]
async fn answers_that_are_lost_on_a_fifth_of_all_requests_double_nothing() {
    let bench = Bench::new(Generation::Second).await;
    bench
        .control
        .store()
        .set_setting("job_group_parallelism", json!({"build": "16"}));
    let invented = Invented::new(Behaviour::Succeed, 1000);
    let _running = start(&bench, &invented).await;
    bench
        .control
        .add_fault(Fault::some(20, 7, FaultKind::DropResponse));
    let ids: Vec<_> = (0..200).map(|_| bench.control.offer(job())).collect();
    for id in &ids {
        bench
            .until("the job is finished", |bench| {
                let mut store = bench.control.store();
                let job = store.jobs.get_mut(id).unwrap();
                if job.status == "timed-out" && job.executions.is_empty() {
                    // No worker was free in time, which is not what is tested.
                    job.status = "available".into();
                    job.created_at = bench.clock.now();
                }
                (job.executions
                    .last()
                    .is_some_and(|execution| execution.status == "finished"))
                .then_some(())
            })
            .await;
    }
    let store = bench.control.store();
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
        invented.effects.load(Ordering::SeqCst),
        200,
        "no effect was done twice"
    );
    let lost = store
        .calls
        .iter()
        .filter(|call| call.committed && call.status == 0)
        .count();
    assert!(lost > 200, "only {lost} answers were lost");
}

#[tokio::test]
async fn a_restarted_worker_drives_on_under_the_same_execution() {
    let bench = Bench::new(Generation::First).await;
    let stuck = Invented::new(Behaviour::Succeed, 0);
    let first = start(&bench, &stuck).await;
    let id = bench.control.offer(NewJob {
        execution_timeout: Duration::from_secs(3600),
        ..job()
    });
    begun(&bench, &stuck).await;
    first.kill().await;
    let free = Invented::new(Behaviour::Succeed, 1);
    let _second = start(&bench, &free).await;
    let job = bench.ended(&id).await;
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
async fn an_execution_that_the_server_has_ended_is_forgotten_after_a_restart() {
    let bench = Bench::new(Generation::First).await;
    let stuck = Invented::new(Behaviour::Succeed, 0);
    let first = start(&bench, &stuck).await;
    let id = bench.control.offer(job());
    begun(&bench, &stuck).await;
    first.kill().await;
    bench.control.store().cancel(&id);
    let free = Invented::new(Behaviour::Succeed, 9);
    let second = start(&bench, &free).await;
    let next = bench.control.offer(job());
    bench.ended(&next).await;
    assert_eq!(
        free.effects.load(Ordering::SeqCst),
        1,
        "only the next job was done"
    );
    assert!(second.journal.open_claims().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_job_that_brought_the_process_down_three_times_is_failed() {
    let bench = Bench::new(Generation::Second).await;
    let stuck = Invented::new(Behaviour::Succeed, 0);
    let id = bench.control.offer(NewJob {
        execution_timeout: Duration::from_secs(3600),
        ..job()
    });
    for _ in 0..3 {
        let running = start(&bench, &stuck).await;
        begun(&bench, &stuck).await;
        running.kill().await;
    }
    let _running = start(&bench, &stuck).await;
    let job = bench.ended(&id).await;
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
    let bench = Bench::new(Generation::Second).await;
    bench
        .control
        .store()
        .set_setting("job_group_parallelism", json!({"build": "2"}));
    let stuck = Invented::new(Behaviour::Succeed, 0);
    let long = || NewJob {
        execution_timeout: Duration::from_secs(36_000),
        ..job()
    };
    let (first, second) = (bench.control.offer(long()), bench.control.offer(long()));
    for _ in 0..2 {
        let running = start(&bench, &stuck).await;
        begun(&bench, &stuck).await;
        begun(&bench, &stuck).await;
        running.kill().await;
    }
    // From now on, one of them runs at a time. The process crashes again.
    let running = start(&bench, &stuck).await;
    begun(&bench, &stuck).await;
    bench.pass(Duration::from_secs(20)).await;
    assert_eq!(
        stuck.begun.available_permits(),
        0,
        "suspects are driven one after the other"
    );
    running.kill().await;
    let free = Invented::new(Behaviour::Succeed, 9);
    let _running = start(&bench, &free).await;
    let ended = [bench.ended(&first).await, bench.ended(&second).await];
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
async fn a_claim_whose_answer_was_lost_before_a_kill_is_found_and_driven_on() {
    let bench = Bench::new(Generation::First).await;
    let invented = Invented::new(Behaviour::Succeed, 9);
    bench.control.add_fault(Fault::once(
        http::Method::POST,
        "/executions",
        FaultKind::DropResponse,
    ));
    let first = start(&bench, &invented).await;
    let id = bench.control.offer(NewJob {
        execution_timeout: Duration::from_secs(3600),
        ..job()
    });
    bench
        .until("the execution exists", |bench| {
            (!bench.control.store().jobs[&id].executions.is_empty()).then_some(())
        })
        .await;
    first.kill().await;
    let _second = start(&bench, &invented).await;
    let job = bench.ended(&id).await;
    assert_eq!(
        (job.executions.len(), job.executions[0].status.as_str()),
        (1, "finished")
    );
}

#[tokio::test]
async fn a_drain_lets_jobs_finish_and_a_cancel_reports_them_cancelled() {
    let bench = Bench::new(Generation::First).await;
    let invented = Invented::new(Behaviour::Succeed, 0);
    let mut running = start(&bench, &invented).await;
    let first = bench.control.offer(job());
    begun(&bench, &invented).await;
    running.drain.stop(StopCause::Shutdown);
    let second = bench.control.offer(job());
    bench.pass(Duration::from_secs(10)).await;
    assert!(!running.task.is_finished(), "the job under way goes on");
    running.cancel.stop(StopCause::Shutdown);
    let drained = (&mut running.task).await.unwrap();
    assert_eq!(drained.suspended, 0);
    let store = bench.control.store();
    let execution = &store.jobs[&first].executions[0];
    assert_eq!(execution.status, "cancelled");
    assert_eq!(execution.description.as_deref(), Some("runner stopped"));
    assert!(
        store.jobs[&second].executions.is_empty(),
        "no claim after the drain began"
    );
}
