//! Fetches the text of a job's plan, from the composite plan if the server has that route, else
//! from the older route.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::control::RetryPolicy;
use crate::worker::failure::because;
use crate::worker::{Context, FailureKind, StepFailure};

/// Maximum time for the composite plan, after which the older one is fetched.
const COMPOSITE_TIME: Duration = Duration::from_secs(10);

/// Fetches plans, and remembers whether the server has no composite plans.
#[derive(Default)]
pub struct PlanFetcher {
    no_composite: AtomicBool,
}

impl PlanFetcher {
    /// Fetches the plan of a job. Retries for as long as the job has time. A server that fails to
    /// make a composite plan may still have the older one.
    pub async fn fetch(&self, context: &Context) -> Result<String, StepFailure> {
        let retry = RetryPolicy::Within(context.time_left());
        if !self.no_composite.load(Ordering::Relaxed) {
            let soon = RetryPolicy::Within(COMPOSITE_TIME.min(context.time_left()));
            match context.control.composite_plan(&context.job.id, soon).await {
                Ok(text) => return Ok(text),
                Err(error) if error.is_status(500) => {
                    tracing::warn!(%error, "the composite plan cannot be fetched; fetching the older one");
                }
                Err(error) if error.is_absent_route() => {
                    self.no_composite.store(true, Ordering::Relaxed)
                }
                Err(error) => return Err(because(FailureKind::Plan)(error)),
            }
        }
        context
            .control
            .plan(&context.job.id, retry)
            .await
            .map_err(because(FailureKind::Plan))
    }
}
