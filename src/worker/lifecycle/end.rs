//! The end of an execution: cleanup, and one final status.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;

use super::{Attempt, AttemptEnd, CLEANUP_TIMEOUT, Work};
use crate::base::stop::StopCause;
use crate::control::JobLog;
use crate::job::report::{JobUpdate, ResultReport, StatusUpdate};
use crate::job::{ExecutionStatus, Job, JobStatus, Report, Step};
use crate::journal::{End, Event, JournalError};
use crate::worker::failure::StepFailure;
use crate::worker::handler::{Context, Handler, Outcome, Steps};

/// Maximum length of a status description in the control plane, in characters.
const MAX_DESCRIPTION_CHARS: usize = 2048;

impl Attempt<'_> {
    /// Cleans up within a time limit of its own. Returns false if the limit was exceeded.
    pub(super) async fn clean_up(
        &mut self,
        steps: Option<Box<dyn Steps>>,
        context: Context,
        work: &Work,
    ) -> Result<bool, JournalError> {
        match work {
            Work::Done(_) => self.begin(Step::Cleanup).await?,
            // After a stop or a failure, no status but the final one is reported.
            _ => {
                let event = Event::StepBegun {
                    step: Step::Cleanup,
                    status: None,
                };
                self.record(event, Vec::new()).await?;
            }
        }
        let log = context.log.with_step(Step::Cleanup);
        let cleaning = clean(steps, context, log.clone());
        let timeout = self
            .worker
            .services
            .clock
            .timeout(CLEANUP_TIMEOUT, cleaning);
        let done = timeout.await.is_ok();
        if !done {
            log.error(format!("the cleanup was not done in {CLEANUP_TIMEOUT:?}"));
        }
        Ok(done)
    }

    /// Reports the end: one final status, or none if the execution stays open.
    pub(super) async fn report(
        &mut self,
        work: Work,
        cleaned: bool,
        handler: Option<&dyn Handler>,
        log: &JobLog,
    ) -> Result<AttemptEnd, JournalError> {
        if !cleaned && matches!(work, Work::Stopped(StopCause::Shutdown)) {
            if self.is_counted {
                self.record(Event::AttemptSuspended, Vec::new()).await?;
            }
            return Ok(AttemptEnd::Suspended);
        }
        let ended = match work {
            Work::Done(Outcome::StopProcess { .. }) if !self.start.resumed => {
                AttemptEnd::StopProcess
            }
            _ => AttemptEnd::Recorded,
        };
        let (end, reports) = match work {
            Work::Done(outcome) => {
                log.info("the job is finished");
                (End::Finished, finished(&outcome))
            }
            Work::Failed(step, failure) => (
                End::Failed,
                self.failed(step, &failure, handler, log).await?,
            ),
            Work::Stopped(cause) => stopped(cause, log),
        };
        let services = &self.worker.services;
        if let Some(status) = end.status() {
            services.metrics.ended(&self.start.job, status.as_str());
        }
        let claim = self.start.claimed.claim;
        let last = services
            .journal
            .end(claim, self.start.claimed.state.clone(), end, reports)
            .await?;
        self.delivery.wait_settled(last).await;
        Ok(ended)
    }

    async fn failed(
        &self,
        step: Step,
        failure: &StepFailure,
        handler: Option<&dyn Handler>,
        log: &JobLog,
    ) -> Result<Vec<Report>, JournalError> {
        let (job, services) = (&self.start.job, &self.worker.services);
        let text = services.redactor.mask(&failure.text()).into_owned();
        log.with_step(step).error(&text);
        log.info(format!("the job has failed in the step {step}"));
        services.metrics.failed(job, failure.kind.as_str());
        let mut reports = Vec::new();
        // An effect that failed may have reported a result of its own.
        if !services
            .journal
            .has_result(self.start.claimed.claim)
            .await?
        {
            let step = failure.step.unwrap_or(step.as_str());
            reports.push(failure_result(job, handler, step, &text));
        }
        let description = format!("{step}: {text}");
        reports.push(status(ExecutionStatus::Failed, Some(description)));
        Ok(reports)
    }
}

/// Calls the cleanup step, and removes the job's directory.
async fn clean(steps: Option<Box<dyn Steps>>, context: Context, log: JobLog) {
    if let Some(mut steps) = steps {
        match AssertUnwindSafe(steps.cleanup(&context))
            .catch_unwind()
            .await
        {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => log.warn(format!("cleanup: {}", failure.text())),
            Err(_) => {
                log.error("the runner panicked while cleaning up; this is a fault of the runner")
            }
        }
    }
    if let Some(directory) = context.directory.into_inner() {
        let removed = tokio::task::spawn_blocking(move || directory.remove()).await;
        if !matches!(removed, Ok(Ok(()))) {
            log.warn("the job's directory could not be removed; the next start tries again");
        }
    }
}

fn finished(outcome: &Outcome) -> Vec<Report> {
    let mut reports = vec![status(ExecutionStatus::Finished, None)];
    if let Outcome::StopProcess { finishes_job: true } = outcome {
        let status = JobStatus::Finished;
        reports.push(Report::Job(JobUpdate { status }));
    }
    reports
}

fn stopped(cause: StopCause, log: &JobLog) -> (End, Vec<Report>) {
    let (end, why) = match cause {
        StopCause::Cancelled => (End::Cancelled, "the job was cancelled"),
        StopCause::DeadlinePassed => (End::TimedOut, "the job timed out"),
        StopCause::EndedByServer => (End::EndedByServer, "the control plane has ended the job"),
        StopCause::Shutdown => (End::Cancelled, "runner stopped"),
    };
    log.warn(why);
    // If the control plane has ended the execution, it has set the final status itself.
    let reported = end.status().filter(|_| end != End::EndedByServer);
    let reports = reported.map(|ended| status(ended, Some(why.to_owned())));
    (end, reports.into_iter().collect())
}

fn failure_result(job: &Job, handler: Option<&dyn Handler>, step: &str, message: &str) -> Report {
    let handler = handler.map_or("none", Handler::name);
    let members = [
        ("handler", handler),
        ("job_type", job.kind.as_str()),
        ("step", step),
        ("message", message),
    ];
    let error_metadata: BTreeMap<_, _> = members
        .into_iter()
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect();
    Report::Result(ResultReport {
        error_code: Some(0),
        error_metadata: Some(error_metadata),
        ..ResultReport::default()
    })
}

fn status(status: ExecutionStatus, description: Option<String>) -> Report {
    let status_description =
        description.map(|text| text.chars().take(MAX_DESCRIPTION_CHARS).collect());
    Report::Status(StatusUpdate {
        status,
        status_description,
    })
}
