//! Jobs whose steps hand their results on.

use std::time::Duration;

use futures_util::future::BoxFuture;

use super::failure::{FailureKind, StepFailure};
use super::handler::{Context, Outcome, StepFuture, Steps};

/// A job whose steps return what the next step needs. [`Staged`] makes [`Steps`] of it.
pub trait StagedJob: Send {
    /// What `fetch` returns: the plan and the sources.
    type Fetched: Send;
    /// What `initialize` returns: clients and inputs.
    type Initialized: Send;
    /// What `validate` returns: everything that `exec` needs.
    type Validated: Send;

    /// Reads the plan and fetches the sources.
    fn fetch<'a>(
        &'a mut self,
        context: &'a Context,
    ) -> BoxFuture<'a, Result<Self::Fetched, StepFailure>>;

    /// Returns the concurrency key: no two executions with the same key run at the same time.
    fn concurrency_key(&self, _: &Self::Fetched) -> Option<String> {
        None
    }

    /// Makes clients and pulls the artifact.
    fn initialize<'a>(
        &'a mut self,
        fetched: Self::Fetched,
        context: &'a Context,
    ) -> BoxFuture<'a, Result<Self::Initialized, StepFailure>>;

    /// Checks everything that can be checked before the effect.
    fn validate<'a>(
        &'a mut self,
        initialized: Self::Initialized,
        context: &'a Context,
    ) -> BoxFuture<'a, Result<Self::Validated, StepFailure>>;

    /// Returns the time that a step has to end by itself when the job is stopped.
    fn wind_down(&self) -> Duration {
        Duration::ZERO
    }

    /// The effect. Must be idempotent: after a crash, all steps run again.
    fn exec<'a>(
        &'a mut self,
        validated: Self::Validated,
        context: &'a Context,
    ) -> BoxFuture<'a, Result<Outcome, StepFailure>>;
}

/// The [`Steps`] of a [`StagedJob`].
pub struct Staged<J: StagedJob> {
    job: J,
    stage: Stage<J>,
}

/// How far the job is, with what the last step returned.
enum Stage<J: StagedJob> {
    New,
    Fetched(J::Fetched),
    Initialized(J::Initialized),
    Validated(J::Validated),
    /// A step is under way, has failed, or was dropped.
    Over,
}

impl<J: StagedJob> Staged<J> {
    /// The steps of a job that has not begun.
    pub fn new(job: J) -> Self {
        Self {
            job,
            stage: Stage::New,
        }
    }

    fn take(&mut self) -> Stage<J> {
        std::mem::replace(&mut self.stage, Stage::Over)
    }
}

fn out_of_order() -> StepFailure {
    StepFailure::new(
        FailureKind::Internal,
        "a step was called out of order; this is a fault of the runner",
    )
}

impl<J: StagedJob> Steps for Staged<J> {
    fn fetch<'a>(&'a mut self, context: &'a Context) -> StepFuture<'a> {
        Box::pin(async move {
            self.stage = Stage::Fetched(self.job.fetch(context).await?);
            Ok(())
        })
    }

    fn wind_down(&self) -> Duration {
        self.job.wind_down()
    }

    fn concurrency_key(&self) -> Option<String> {
        match &self.stage {
            Stage::Fetched(fetched) => self.job.concurrency_key(fetched),
            _ => None,
        }
    }

    fn initialize<'a>(&'a mut self, context: &'a Context) -> StepFuture<'a> {
        Box::pin(async move {
            let Stage::Fetched(fetched) = self.take() else {
                return Err(out_of_order());
            };
            self.stage = Stage::Initialized(self.job.initialize(fetched, context).await?);
            Ok(())
        })
    }

    fn validate<'a>(&'a mut self, context: &'a Context) -> StepFuture<'a> {
        Box::pin(async move {
            let Stage::Initialized(initialized) = self.take() else {
                return Err(out_of_order());
            };
            self.stage = Stage::Validated(self.job.validate(initialized, context).await?);
            Ok(())
        })
    }

    fn exec<'a>(&'a mut self, context: &'a Context) -> StepFuture<'a, Outcome> {
        Box::pin(async move {
            let Stage::Validated(validated) = self.take() else {
                return Err(out_of_order());
            };
            self.job.exec(validated, context).await
        })
    }
}
