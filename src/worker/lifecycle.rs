//! Runs one execution through its steps to its end.
//!
//! Cancel, deadline and shutdown use one mechanism: the job's stop token. Whatever stops the work,
//! the cleanup has a time limit of its own. Then one final status is reported, or none if the
//! control plane has already ended the execution or it is left open for the next process.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use serde::Serialize;
use serde_json::Value;
use tracing::Instrument as _;

use super::claim::Claimed;
use super::failure::{Failure, FailureKind};
use super::handler::{Context, Outcome, Steps};
use super::outbox::{Delivery, ReportSource};
use super::{Handler, Worker};
use crate::base::stop::StopCause;
use crate::control::LogShipper;
use crate::control::wire::{JobUpdate, OutputsReport, ResultReport, StatusUpdate};
use crate::job::{ExecutionStatus, Job, JobKind, JobStatus, Step};
use crate::journal::{JournalError, Report, ReportKind};

/// Time limit for the cleanup, independent of the job's timeout.
pub const CLEANUP_TIMEOUT: Duration = Duration::from_secs(30);

/// An execution during which the process crashed this often is not run again.
const MAX_CRASHES: u32 = 3;

/// Executions that were running during this many crashes run one at a time: the next crash shows
/// which one is at fault, and counts for that one only.
const SUSPECT_CRASHES: u32 = 2;

/// Concurrency key that the running suspect holds.
const SUSPECT_KEY: &str = "executions under way at crashes";

/// Maximum length of a status description in the control plane, in characters.
const MAX_DESCRIPTION_CHARS: usize = 2048;

/// How an attempt to run an execution ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Its end is recorded in the journal.
    Settled,
    /// Its end is recorded in the journal, and the process must stop.
    StopProcess,
    /// Left open for the next process.
    Suspended,
}

/// The input of an attempt to run an execution.
pub struct Start {
    /// The job to run.
    pub job: Job,
    /// The execution and its row in the journal.
    pub claimed: Claimed,
    /// How much of the job's time has already passed.
    pub spent: Duration,
    /// What the effect produced, if a previous process completed it.
    pub outcome: Option<Value>,
    /// True if a previous process began the execution.
    pub resumed: bool,
    /// How often the process crashed while it ran this execution.
    pub crashes: u32,
}

impl Worker {
    /// Runs an execution to its end and has its reports delivered.
    ///
    /// # Errors
    /// [`JournalError`] if the journal fails: nothing can be guaranteed without it.
    pub async fn run_execution(self: &Arc<Self>, start: Start) -> Result<Ended, JournalError> {
        let span = tracing::info_span!("execution", execution = %start.claimed.execution);
        self.run_in_span(start).instrument(span).await
    }

    async fn run_in_span(self: &Arc<Self>, start: Start) -> Result<Ended, JournalError> {
        let delivery = Arc::new(Delivery::default());
        // Reports that cannot be delivered yet are retried in the background, while the next jobs
        // run.
        self.background.spawn({
            let (worker, delivery) = (self.clone(), delivery.clone());
            let (job, claimed, resumed) = (start.job.clone(), start.claimed.clone(), start.resumed);
            async move {
                let sender = ReportSource {
                    claim: claimed.claim,
                    job: &job,
                    execution: &claimed.execution,
                    from_previous_process: resumed,
                };
                if let Err(error) = worker.deliver(sender, &delivery).await {
                    tracing::error!(job = %job.id, %error, "reports of a job cannot be delivered");
                    delivery.fail();
                }
            }
        });
        self.metrics.started(&start.job.group);
        let group = start.job.group.clone();
        let ended = Attempt {
            worker: self,
            delivery: &delivery,
            start,
            is_counted: AtomicBool::new(false),
        }
        .run()
        .await;
        self.metrics.stopped(&group);
        delivery.close();
        ended
    }
}

struct Attempt<'a> {
    worker: &'a Arc<Worker>,
    delivery: &'a Delivery,
    start: Start,
    /// True once a crash would count against this execution.
    is_counted: AtomicBool,
}

/// How the work ended.
enum Work {
    Done(Outcome),
    Failed(Step, Failure),
    Stopped(StopCause),
}

impl Attempt<'_> {
    async fn run(self) -> Result<Ended, JournalError> {
        let worker = self.worker;
        let settings = worker.settings.borrow().clone();
        let shipper = LogShipper::open(
            &worker.logs,
            &settings,
            &self.start.job,
            Some(&self.start.claimed.execution),
        );
        let stop = worker.cancel.child();
        let time = self
            .start
            .job
            .execution_timeout
            .saturating_sub(self.start.spent);
        let context = Context {
            job: self.start.job.clone(),
            execution: self.start.claimed.execution.clone(),
            log: shipper.log().clone(),
            stop: stop.clone(),
            control: worker.control.clone(),
            redactor: worker.redactor.clone(),
            clock: worker.clock.clone(),
            deadline: worker.clock.elapsed() + time,
            directory: std::sync::OnceLock::new(),
            state_dir: worker.state_dir.clone(),
        };
        let handler = worker.handler(&context.job.kind);
        let mut steps = handler.as_ref().map(|handler| handler.start());
        let refusal = if settings.sandbox_mode && context.job.kind != JobKind::ShutDown {
            Some(Failure::new(
                FailureKind::Unsupported,
                "sandbox mode is not supported yet",
            ))
        } else {
            None
        };
        let work = match (&mut steps, refusal) {
            (_, Some(failure)) => Work::Failed(Step::Fetch, failure),
            (None, None) => {
                let message = format!(
                    "this runner does not support jobs of type {}; it supports {}",
                    context.job.kind,
                    known_kinds(&worker.handlers)
                );
                Work::Failed(Step::Fetch, Failure::new(FailureKind::Unsupported, message))
            }
            (Some(steps), None) => tokio::select! {
                work = self.work(steps.as_mut(), &context) => work?,
                () = worker.monitor(&context.job, &stop) => Work::Stopped(stop.cause().unwrap_or(StopCause::Cancelled)),
                () = worker.clock.sleep(time) => {
                    stop.stop(StopCause::DeadlinePassed);
                    Work::Stopped(StopCause::DeadlinePassed)
                }
            },
        };
        let cleaned = self.clean_up(steps, context, &work).await?;
        let ended = self
            .report(work, cleaned, handler.as_deref(), shipper.log())
            .await;
        shipper.close().await;
        ended
    }

    /// Runs the five work steps. Each runs under the job's stop token, and a panic in it becomes a
    /// failure.
    async fn work(&self, steps: &mut dyn Steps, context: &Context) -> Result<Work, JournalError> {
        let stored = self.start.outcome.as_ref();
        let mut outcome = match stored.map(Outcome::from_journal).transpose() {
            Ok(outcome) => outcome,
            Err(error) => return Ok(Work::Failed(Step::Exec, unreadable_outcome(&error))),
        };
        let mut key_guard = None;
        // A completed effect stays completed, however often the process crashed since.
        if outcome.is_none() && self.start.crashes >= MAX_CRASHES {
            let why = format!(
                "the runner went down {MAX_CRASHES} times while it ran this job; the job is not tried again"
            );
            return Ok(Work::Failed(
                Step::Fetch,
                Failure::new(FailureKind::Internal, why),
            ));
        }
        let mut suspect_guard = None;
        if self.start.crashes >= SUSPECT_CRASHES {
            let on_wait = || {
                context
                    .log
                    .info("waiting for other jobs that were running when the runner went down")
            };
            suspect_guard.replace(
                self.worker
                    .concurrency_keys
                    .acquire(SUSPECT_KEY, on_wait)
                    .await,
            );
        }
        self.worker
            .journal
            .begin_attempt(self.start.claimed.claim)
            .await?;
        self.is_counted.store(true, Ordering::Relaxed);
        for step in Step::WORK {
            if outcome.is_some() && step != Step::Outputs {
                continue;
            }
            let begun = self.worker.clock.elapsed();
            self.begin(step).await?;
            let log = context.log.with_step(step);
            log.info(format!("{step} begins"));
            let call = async {
                match step {
                    Step::Fetch => steps.fetch(context).await,
                    Step::Initialize => steps.initialize(context).await,
                    Step::Validate => steps.validate(context).await,
                    Step::Exec => steps.exec(context).await.map(|done| outcome = Some(done)),
                    Step::Outputs | Step::Cleanup => Ok(()),
                }
            };
            let call = call.instrument(tracing::info_span!("step", %step));
            let done = match context
                .stop
                .run(AssertUnwindSafe(call).catch_unwind())
                .await
            {
                None => {
                    return Ok(Work::Stopped(
                        context.stop.cause().unwrap_or(StopCause::Shutdown),
                    ));
                }
                Some(Ok(done)) => done,
                Some(Err(_)) => Err(Failure::new(
                    FailureKind::Internal,
                    "the runner panicked in this job; this is a fault of the runner, please \
                     report it",
                )),
            };
            if let Err(failure) = done {
                return Ok(Work::Failed(step, failure));
            }
            match step {
                Step::Fetch => {
                    if let Some(key) = steps.concurrency_key() {
                        let on_wait =
                            || log.info("waiting for another deploy of this component to end");
                        match context
                            .stop
                            .run(self.worker.concurrency_keys.acquire(&key, on_wait))
                            .await
                        {
                            Some(guard) => key_guard = Some(guard),
                            None => {
                                return Ok(Work::Stopped(
                                    context.stop.cause().unwrap_or(StopCause::Shutdown),
                                ));
                            }
                        }
                    }
                }
                Step::Exec => self.effect_done(outcome.as_ref()).await?,
                Step::Outputs => self.outputs(outcome.as_ref()).await?,
                _ => {}
            }
            self.worker
                .metrics
                .step(step, self.worker.clock.elapsed().saturating_sub(begun));
            log.info(format!("{step} done"));
        }
        drop(key_guard);
        Ok(match outcome.unwrap_or_default() {
            Outcome::Failed { message, .. } => {
                Work::Failed(Step::Exec, Failure::new(FailureKind::Apply, message))
            }
            outcome => Work::Done(outcome),
        })
    }

    /// Records that a step begins, and queues its status if it comes after the last reported one.
    async fn begin(&self, step: Step) -> Result<(), JournalError> {
        let claim = self.start.claimed.claim;
        let reported = self
            .worker
            .journal
            .last_report(claim, ReportKind::Status)
            .await?;
        let reported = reported.and_then(|body| serde_json::from_str::<StatusUpdate>(&body).ok());
        let now = reported.map_or(ExecutionStatus::Pending, |update| update.status);
        let reports = now
            .transition_to(step.status())
            .map(|next| status(next, None))
            .into_iter()
            .collect();
        let last = self.worker.journal.begin_step(claim, step, reports).await?;
        self.delivery.wait_settled(last).await;
        Ok(())
    }

    /// Records the outcome of the effect and queues its result.
    async fn effect_done(&self, outcome: Option<&Outcome>) -> Result<(), JournalError> {
        let Some(outcome) = outcome else {
            return Ok(());
        };
        if matches!(outcome, Outcome::Planned { .. }) {
            self.delivery.need_result();
        }
        let reports = outcome
            .result()
            .into_iter()
            .map(|result| report(ReportKind::Result, result))
            .collect();
        let value = serde_json::to_value(outcome).unwrap_or_default();
        let last = self
            .worker
            .journal
            .record_outcome(self.start.claimed.claim, &value, reports)
            .await?;
        self.delivery.wait_settled(last).await;
        Ok(())
    }

    async fn outputs(&self, outcome: Option<&Outcome>) -> Result<(), JournalError> {
        let Some(outputs) = outcome.and_then(Outcome::outputs) else {
            return Ok(());
        };
        let outputs = report(ReportKind::Outputs, &OutputsReport { outputs });
        // A previous process may have queued the outputs before it crashed.
        let last = self
            .worker
            .journal
            .queue_once(self.start.claimed.claim, outputs)
            .await?;
        self.delivery.wait_settled(last).await;
        Ok(())
    }

    /// Cleans up within a time limit of its own. Returns false if the limit was exceeded.
    async fn clean_up(
        &self,
        steps: Option<Box<dyn Steps>>,
        context: Context,
        work: &Work,
    ) -> Result<bool, JournalError> {
        match work {
            Work::Done(_) => self.begin(Step::Cleanup).await?,
            // After a stop or a failure, no status but the final one is reported.
            _ => drop(
                self.worker
                    .journal
                    .begin_step(self.start.claimed.claim, Step::Cleanup, Vec::new())
                    .await?,
            ),
        }
        let log = context.log.with_step(Step::Cleanup);
        let late = log.clone();
        let cleaning = async {
            if let Some(mut steps) = steps {
                match AssertUnwindSafe(steps.cleanup(&context))
                    .catch_unwind()
                    .await
                {
                    Ok(Ok(())) => {}
                    Ok(Err(failure)) => log.warn(format!("cleanup: {}", failure.text())),
                    Err(_) => log.error(
                        "the runner panicked while cleaning up; this is a fault of the runner",
                    ),
                }
            }
            if let Some(directory) = context.directory.into_inner() {
                let removed = tokio::task::spawn_blocking(move || directory.remove()).await;
                if !matches!(removed, Ok(Ok(()))) {
                    log.warn(
                        "the job's directory could not be removed; the next start tries again",
                    );
                }
            }
        };
        let done = self
            .worker
            .clock
            .timeout(CLEANUP_TIMEOUT, cleaning)
            .await
            .is_ok();
        if !done {
            late.error(format!("the clean-up was not done in {CLEANUP_TIMEOUT:?}"));
        }
        Ok(done)
    }

    /// Reports the end: one final status, or none if the execution stays open.
    async fn report(
        &self,
        work: Work,
        cleaned: bool,
        handler: Option<&dyn Handler>,
        log: &crate::control::JobLog,
    ) -> Result<Ended, JournalError> {
        let job = &self.start.job;
        let claim = self.start.claimed.claim;
        let metrics = &self.worker.metrics;
        if !cleaned && matches!(work, Work::Stopped(StopCause::Shutdown)) {
            if self.is_counted.load(Ordering::Relaxed) {
                self.worker.journal.take_back_attempt(claim).await?;
            }
            return Ok(Ended::Suspended);
        }
        let mut ended = Ended::Settled;
        let (last_status, reports) = match work {
            Work::Done(outcome) => {
                let mut reports = vec![status(ExecutionStatus::Finished, None)];
                if let Outcome::StopProcess { finishes_job } = outcome {
                    if finishes_job {
                        let status = JobStatus::Finished;
                        reports.push(report(ReportKind::Job, &JobUpdate { status }));
                    }
                    if !self.start.resumed {
                        ended = Ended::StopProcess;
                    }
                }
                log.info("the job is finished");
                (ExecutionStatus::Finished, reports)
            }
            Work::Failed(step, failure) => {
                let text = self.worker.redactor.mask(&failure.text()).into_owned();
                log.with_step(step).error(&text);
                metrics.failed(job, failure.kind.as_str());
                let mut reports = Vec::new();
                // An effect that failed may have reported a result of its own.
                if self
                    .worker
                    .journal
                    .last_report(claim, ReportKind::Result)
                    .await?
                    .is_none()
                {
                    reports.push(failure_result(job, handler, step, &text));
                }
                reports.push(status(
                    ExecutionStatus::Failed,
                    Some(format!("{step}: {text}")),
                ));
                (ExecutionStatus::Failed, reports)
            }
            Work::Stopped(cause) => {
                let (ended_as, why) = match cause {
                    StopCause::Cancelled => (ExecutionStatus::Cancelled, "the job was cancelled"),
                    StopCause::DeadlinePassed => (ExecutionStatus::TimedOut, "the job timed out"),
                    StopCause::EndedByServer => (
                        ExecutionStatus::Failed,
                        "the control plane has ended the job",
                    ),
                    StopCause::Shutdown => (ExecutionStatus::Cancelled, "runner stopped"),
                };
                log.warn(why);
                let reports = match cause {
                    // The control plane has set the final status itself.
                    StopCause::EndedByServer => Vec::new(),
                    _ => vec![status(ended_as, Some(why.to_owned()))],
                };
                (ended_as, reports)
            }
        };
        metrics.ended(job, last_status.as_str());
        let last = self
            .worker
            .journal
            .end(claim, last_status.as_str(), reports)
            .await?;
        self.delivery.wait_settled(last).await;
        Ok(ended)
    }
}

/// The effect is done, but nobody can tell what it produced: it must not run again.
fn unreadable_outcome(error: &serde_json::Error) -> Failure {
    let message = format!(
        "the job's effect is done, but this version cannot read what an earlier one has recorded \
         of it ({error}); the job is not run again, start a new one"
    );
    Failure::new(FailureKind::Internal, message)
}

fn failure_result(job: &Job, handler: Option<&dyn Handler>, step: Step, message: &str) -> Report {
    let handler = handler.map_or("none", Handler::name);
    let members = [
        ("handler", handler),
        ("job_type", job.kind.as_str()),
        ("step", step.as_str()),
        ("message", message),
    ];
    let error_metadata: BTreeMap<_, _> = members
        .into_iter()
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect();
    let result = ResultReport {
        error_code: Some(0),
        error_metadata: Some(error_metadata),
        ..ResultReport::default()
    };
    report(ReportKind::Result, &result)
}

fn status(status: ExecutionStatus, description: Option<String>) -> Report {
    let status_description =
        description.map(|text| text.chars().take(MAX_DESCRIPTION_CHARS).collect());
    report(
        ReportKind::Status,
        &StatusUpdate {
            status,
            status_description,
        },
    )
}

fn report(kind: ReportKind, body: &impl Serialize) -> Report {
    // Reports are plain data, so serialization cannot fail.
    Report {
        kind,
        body: serde_json::to_string(body).unwrap_or_default(),
    }
}

fn known_kinds(handlers: &[Arc<dyn Handler>]) -> String {
    let kinds: Vec<_> = handlers
        .iter()
        .flat_map(|handler| handler.kinds())
        .map(JobKind::as_str)
        .collect();
    kinds.join(", ")
}
