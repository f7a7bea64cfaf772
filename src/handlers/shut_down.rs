//! `shut-down`: stops the process gracefully (`docs/wire-contract.md`).

use crate::job::JobKind;
use crate::worker::handler::StepFuture;
use crate::worker::{Context, Handler, Outcome, Steps};

/// Handler of shut-down jobs. Stateless.
pub struct ShutDown;

struct ShutDownSteps;

impl Handler for ShutDown {
    fn name(&self) -> &'static str {
        "shut-down"
    }

    fn kinds(&self) -> &'static [JobKind] {
        &[JobKind::ShutDown]
    }

    fn start(&self) -> Box<dyn Steps> {
        Box::new(ShutDownSteps)
    }
}

impl Steps for ShutDownSteps {
    fn exec<'a>(&'a mut self, context: &'a Context) -> StepFuture<'a, Outcome> {
        // The control plane does not supervise forced shut-downs, so the runner must finish the job
        // itself.
        let finishes_job = context.job.shutdown_type.as_deref() == Some("force");
        context
            .log
            .info("the runner will stop: no new jobs from now on");
        Box::pin(async move { Ok(Outcome::StopProcess { finishes_job }) })
    }
}
