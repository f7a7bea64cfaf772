//! The text of a job's plan: from the composite document where the server has it, else the old way.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::control::Patience;
use crate::worker::failure::because;
use crate::worker::{Context, Failure, FailureKind};

/// Remembers whether the server has composite plans.
#[derive(Default)]
pub struct PlanText {
    no_composite: AtomicBool,
}

impl PlanText {
    /// Fetches the plan of a job.
    ///
    /// # Errors
    /// [`Failure`] of kind `Plan`.
    pub async fn fetch(&self, context: &Context) -> Result<String, Failure> {
        let patience = Patience::Until(context.time_left());
        if !self.no_composite.load(Ordering::Relaxed) {
            match context
                .control
                .composite_plan(&context.job.id, patience)
                .await
            {
                Ok(text) => return Ok(text),
                Err(error) if error.is_absent_route() => {
                    self.no_composite.store(true, Ordering::Relaxed)
                }
                Err(error) => return Err(because(FailureKind::Plan)(error)),
            }
        }
        context
            .control
            .plan(&context.job.id, patience)
            .await
            .map_err(because(FailureKind::Plan))
    }
}
