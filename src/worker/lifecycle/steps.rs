//! The steps of an execution up to its end, each recorded before it begins.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use tracing::Instrument as _;

use super::{Attempt, Work};
use crate::base::stop::StopCause;
use crate::job::report::{OutputsReport, StatusUpdate};
use crate::job::{Report, Step};
use crate::journal::{Event, JournalError};
use crate::worker::concurrency::KeyGuard;
use crate::worker::failure::{FailureKind, StepFailure};
use crate::worker::handler::{Context, Outcome, Steps};

/// An execution during which the process crashed this often is not run again.
const MAX_CRASHES: u32 = 3;

/// Executions that were running during this many crashes run one at a time: the next crash shows
/// which one is at fault, and counts for that one only.
const SUSPECT_CRASHES: u32 = 2;

/// Concurrency key that the running suspect holds.
const SUSPECT_KEY: &str = "executions under way at crashes";

impl Attempt<'_> {
    /// Runs the five work steps. Each runs under the job's stop token, and a panic in it becomes a
    /// failure.
    pub(super) async fn work(
        &mut self,
        steps: &mut dyn Steps,
        context: &Context,
    ) -> Result<Work, JournalError> {
        let stored = self.start.claimed.state.outcome.as_ref();
        let mut outcome = match stored.map(Outcome::from_journal).transpose() {
            Ok(outcome) => outcome,
            Err(error) => return Ok(Work::Failed(Step::Exec, unreadable_outcome(&error))),
        };
        // A completed effect stays completed, however often the process crashed since.
        if outcome.is_none() && self.start.claimed.state.attempts >= MAX_CRASHES {
            let why = format!(
                "the runner went down {MAX_CRASHES} times while it ran this job; the job is not \
                 tried again"
            );
            let failure = StepFailure::new(FailureKind::Internal, why);
            return Ok(Work::Failed(Step::Fetch, failure));
        }
        let _suspect_guard = self.suspect_guard(context).await;
        self.record(Event::AttemptBegun, Vec::new()).await?;
        self.is_counted = true;
        let mut key_guard = None;
        for step in Step::WORK {
            if outcome.is_some() && step != Step::Outputs {
                continue;
            }
            let clock = &self.worker.services.clock;
            let begun = clock.elapsed();
            self.begin(step).await?;
            context.log.with_step(step).info(format!("{step} begins"));
            match run_step(step, steps, context, &mut outcome).await {
                None => return Ok(Work::Stopped(cause(context))),
                Some(Err(failure)) => return Ok(Work::Failed(step, failure)),
                Some(Ok(())) => {}
            }
            match step {
                Step::Fetch => match self.key_guard(steps.concurrency_key(), context).await {
                    Some(guard) => key_guard = guard,
                    None => return Ok(Work::Stopped(cause(context))),
                },
                Step::Exec => self.effect_done(outcome.as_ref()).await?,
                Step::Outputs => self.queue_outputs(outcome.as_ref()).await?,
                _ => {}
            }
            let took = clock.elapsed().saturating_sub(begun);
            self.worker.services.metrics.step(step, took);
            context.log.with_step(step).info(format!("{step} done"));
        }
        drop(key_guard);
        Ok(match outcome.unwrap_or_default() {
            Outcome::Failed { message, .. } => {
                Work::Failed(Step::Exec, StepFailure::new(FailureKind::Apply, message))
            }
            outcome => Work::Done(outcome),
        })
    }

    /// Waits until no other suspect runs, if the execution is one.
    async fn suspect_guard(&self, context: &Context) -> Option<KeyGuard> {
        if self.start.claimed.state.attempts < SUSPECT_CRASHES {
            return None;
        }
        let on_wait = || {
            context
                .log
                .info("waiting for other jobs that were running when the runner went down")
        };
        let keys = &self.worker.concurrency_keys;
        Some(keys.acquire(SUSPECT_KEY, on_wait).await)
    }

    /// Waits for the concurrency key of the job, if it has one. Returns `None` if the job is
    /// stopped meanwhile.
    async fn key_guard(&self, key: Option<String>, context: &Context) -> Option<Option<KeyGuard>> {
        let Some(key) = key else {
            return Some(None);
        };
        let log = context.log.with_step(Step::Fetch);
        let on_wait = || log.info("waiting for another deploy of this component to end");
        let acquired = self.worker.concurrency_keys.acquire(&key, on_wait);
        context.stop.run(acquired).await.map(Some)
    }

    /// Records that a step begins, and queues its status if it comes after the last reported one.
    pub(super) async fn begin(&mut self, step: Step) -> Result<(), JournalError> {
        let status = self
            .start
            .claimed
            .state
            .status
            .transition_to(step.status())
            .ok();
        let reports = status.map(|status| {
            Report::Status(StatusUpdate {
                status,
                status_description: None,
            })
        });
        let event = Event::StepBegun { step, status };
        self.record(event, reports.into_iter().collect()).await
    }

    /// Records the outcome of the effect and queues its result.
    async fn effect_done(&mut self, outcome: Option<&Outcome>) -> Result<(), JournalError> {
        let Some(outcome) = outcome else {
            return Ok(());
        };
        if matches!(outcome, Outcome::Planned { .. }) {
            self.delivery.need_result();
        }
        let result = outcome.result().cloned().map(Report::Result);
        let event = Event::EffectDone {
            outcome: serde_json::to_value(outcome).unwrap_or_default(),
        };
        self.record(event, result.into_iter().collect()).await
    }

    async fn queue_outputs(&self, outcome: Option<&Outcome>) -> Result<(), JournalError> {
        let Some(outputs) = outcome.and_then(Outcome::outputs) else {
            return Ok(());
        };
        let report = Report::Outputs(OutputsReport { outputs });
        // A previous process may have queued the outputs before it crashed.
        let journal = &self.worker.services.journal;
        let last = journal.queue_once(self.start.claimed.claim, report).await?;
        self.delivery.wait_settled(last).await;
        Ok(())
    }
}

/// Runs one step. Returns `None` if the job is stopped; then the step has some time to end.
async fn run_step(
    step: Step,
    steps: &mut dyn Steps,
    context: &Context,
    outcome: &mut Option<Outcome>,
) -> Option<Result<(), StepFailure>> {
    if context.stop.is_stopped() {
        return None;
    }
    let wind_down = steps.wind_down();
    let call = async {
        match step {
            Step::Fetch => steps.fetch(context).await,
            Step::Initialize => steps.initialize(context).await,
            Step::Validate => steps.validate(context).await,
            Step::Exec => steps.exec(context).await.map(|done| *outcome = Some(done)),
            Step::Outputs | Step::Cleanup => Ok(()),
        }
    };
    let call = call.instrument(tracing::info_span!("step", %step));
    let mut call = std::pin::pin!(AssertUnwindSafe(call).catch_unwind());
    let Some(done) = context.stop.run(&mut call).await else {
        // The step records what it has done; its outcome is dropped.
        if !wind_down.is_zero() {
            let _ = context.clock.timeout(wind_down, call).await;
        }
        return None;
    };
    Some(done.unwrap_or_else(|_| {
        Err(StepFailure::new(
            FailureKind::Internal,
            "the runner panicked in this job; this is a fault of the runner, please report it",
        ))
    }))
}

fn cause(context: &Context) -> StopCause {
    context.stop.cause().unwrap_or(StopCause::Shutdown)
}

/// The effect is done, but nobody can tell what it produced: it must not run again.
fn unreadable_outcome(error: &serde_json::Error) -> StepFailure {
    let message = format!(
        "the job's effect is done, but this version cannot read what an earlier one has recorded \
         of it ({error}); the job is not run again, start a new one"
    );
    StepFailure::new(FailureKind::Internal, message)
}
