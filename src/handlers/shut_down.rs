//! `shut-down`: ends the process in good order (protocol, section 4.6).

use crate::job::JobKind;
use crate::worker::handler::StepFuture;
use crate::worker::{Context, Handler, Outcome, Steps};

/// Knows no state.
pub struct ShutDown;

struct Stopping;

impl Handler for ShutDown {
    fn name(&self) -> &'static str {
        "shut-down"
    }

    fn kinds(&self) -> &'static [JobKind] {
        &[JobKind::ShutDown]
    }

    fn start(&self) -> Box<dyn Steps> {
        Box::new(Stopping)
    }
}

impl Steps for Stopping {
    fn exec<'a>(&'a mut self, context: &'a Context) -> StepFuture<'a, Outcome> {
        // A forced one is not supervised by the control plane, so nobody else finishes the job.
        let finishes_job = context.job.shutdown_type.as_deref() == Some("force");
        context
            .log
            .info("the runner will stop: no new jobs from now on");
        Box::pin(async move {
            Ok(Outcome {
                stops_process: true,
                finishes_job,
                ..Outcome::default()
            })
        })
    }
}
