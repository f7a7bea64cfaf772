//! Runs one execution through its steps to its end.
//!
//! Cancel, deadline and shutdown use one mechanism: the job's stop token. Whatever stops the work,
//! the cleanup has a time limit of its own. Then one final status is reported, or none if the
//! control plane has already ended the execution or it is left open for the next process.

mod end;
mod steps;

use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument as _;

use super::Worker;
use super::claim::Claimed;
use super::failure::{FailureKind, StepFailure};
use super::handler::{Context, Handler, Outcome};
use super::outbox::{Delivery, ReportSource};
use crate::base::stop::StopCause;
use crate::control::wire::Settings;
use crate::control::{JobLog, LogShipper};
use crate::job::{Job, JobKind, Report, Step};
use crate::journal::{Event, JournalError};

/// Time limit for the cleanup, independent of the job's timeout.
pub const CLEANUP_TIMEOUT: Duration = Duration::from_secs(30);

/// How an attempt to run an execution ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptEnd {
    /// Its end is recorded in the journal.
    Recorded,
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
    /// True if a previous process began the execution.
    pub resumed: bool,
}

impl Worker {
    /// Runs an execution to its end and has its reports delivered.
    ///
    /// # Errors
    /// [`JournalError`] if the journal fails: nothing can be guaranteed without it.
    pub async fn run_execution(self: &Arc<Self>, start: Start) -> Result<AttemptEnd, JournalError> {
        let span = tracing::info_span!("execution", execution = %start.claimed.execution);
        self.run_in_span(start).instrument(span).await
    }

    async fn run_in_span(self: &Arc<Self>, start: Start) -> Result<AttemptEnd, JournalError> {
        let delivery = Arc::new(Delivery::default());
        // Reports that cannot be delivered yet are retried in the background, while the next jobs
        // run.
        self.background.spawn({
            let (worker, delivery) = (self.clone(), delivery.clone());
            let (job, claim) = (start.job.clone(), start.claimed.claim);
            let (execution, resumed) = (start.claimed.execution.clone(), start.resumed);
            async move {
                let sender = ReportSource {
                    claim,
                    job: &job,
                    execution: &execution,
                    from_previous_process: resumed,
                };
                if let Err(error) = worker.deliver(sender, &delivery).await {
                    tracing::error!(job = %job.id, %error, "reports of a job cannot be delivered");
                    delivery.fail();
                }
            }
        });
        self.services.metrics.started(&start.job.group);
        let group = start.job.group.clone();
        let ended = Attempt {
            worker: self,
            delivery: &delivery,
            start,
            is_counted: false,
        }
        .run()
        .await;
        self.services.metrics.stopped(&group);
        delivery.close();
        ended
    }
}

struct Attempt<'a> {
    worker: &'a Arc<Worker>,
    delivery: &'a Delivery,
    start: Start,
    /// True once a crash would count against this execution.
    is_counted: bool,
}

/// How the work ended.
enum Work {
    Done(Outcome),
    Failed(Step, StepFailure),
    Stopped(StopCause),
}

impl Attempt<'_> {
    async fn run(mut self) -> Result<AttemptEnd, JournalError> {
        let worker = self.worker;
        let settings = worker.settings.borrow().clone();
        let shipper = LogShipper::open(
            &worker.services.logs,
            &settings,
            &self.start.job,
            Some(&self.start.claimed.execution),
        );
        shipper.log().info(self.announcement());
        let (context, time) = self.context(shipper.log());
        let stop = context.stop.clone();
        let handler = worker.handler(&context.job.kind);
        let mut steps = None;
        let work = match self.supported(handler.as_deref(), &settings) {
            Err(failure) => Work::Failed(Step::Fetch, failure),
            Ok(handler) => {
                let clock = &worker.services.clock;
                let stopped = async {
                    tokio::select! {
                        () = worker.monitor(&context.job, &stop) => {}
                        () = clock.sleep(time) => stop.stop(StopCause::DeadlinePassed),
                    }
                    stop.cause().unwrap_or(StopCause::Cancelled)
                };
                let steps = steps.insert(handler.start()).as_mut();
                let wind_down = steps.wind_down();
                let working = self.work(steps, &context);
                let mut working = std::pin::pin!(working);
                tokio::select! {
                    work = &mut working => work?,
                    cause = stopped => {
                        if !wind_down.is_zero()
                            && let Ok(Err(error)) = clock.timeout(wind_down, working).await
                        {
                            return Err(error);
                        }
                        Work::Stopped(cause)
                    }
                }
            }
        };
        let cleaned = self.clean_up(steps, context, &work).await?;
        let ended = self
            .report(work, cleaned, handler.as_deref(), shipper.log())
            .await;
        // The slot is free while the last lines are shipped.
        worker.closing_logs.spawn(shipper.close());
        ended
    }

    /// Returns the first line of the job's log.
    fn announcement(&self) -> String {
        let Job {
            kind,
            operation,
            owner,
            ..
        } = &self.start.job;
        let what = format!("job type {kind}, operation {operation}, for {owner}");
        match self.start.resumed {
            false => format!("the job begins: {what}"),
            true => format!("the job goes on after a restart of the runner: {what}"),
        }
    }

    /// Returns the data and clients for the steps, and the time that the job has left.
    fn context(&self, log: &JobLog) -> (Context, Duration) {
        let services = &self.worker.services;
        let job = &self.start.job;
        let time = job.execution_timeout.saturating_sub(self.start.spent);
        let context = Context {
            job: job.clone(),
            execution: self.start.claimed.execution.clone(),
            is_resumed: self.start.resumed,
            log: log.clone(),
            stop: self.worker.cancel.child(),
            control: services.control.clone(),
            redactor: services.redactor.clone(),
            clock: services.clock.clone(),
            deadline: services.clock.elapsed() + time,
            directory: std::sync::OnceLock::new(),
            state_dir: self.worker.config.state_dir.clone(),
        };
        (context, time)
    }

    /// Returns the handler, or why this runner cannot run the job.
    fn supported<'h>(
        &self,
        handler: Option<&'h dyn Handler>,
        settings: &Settings,
    ) -> Result<&'h dyn Handler, StepFailure> {
        let kind = &self.start.job.kind;
        if settings.sandbox_mode && *kind != JobKind::ShutDown {
            return Err(StepFailure::new(
                FailureKind::Unsupported,
                "sandbox mode is not supported yet",
            ));
        }
        handler.ok_or_else(|| {
            let known = known_kinds(&self.worker.services.handlers);
            let message =
                format!("this runner does not support jobs of type {kind}; it supports {known}");
            StepFailure::new(FailureKind::Unsupported, message)
        })
    }

    /// Records an event, queues the reports that go with it, and waits until they are settled or
    /// delivery is stuck.
    async fn record(&mut self, event: Event, reports: Vec<Report>) -> Result<(), JournalError> {
        let claim = self.start.claimed.claim;
        let journal = &self.worker.services.journal;
        let last = journal
            .record(claim, &mut self.start.claimed.state, &event, reports)
            .await?;
        self.delivery.wait_settled(last).await;
        Ok(())
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
