//! Checks once a second whether a job is still wanted. The control plane cannot call the runner, so
//! a cancellation is found by reading the job.

use std::time::Duration;

use super::Worker;
use crate::base::stop::{Stop, StopCause};
use crate::job::{Job, JobStatus};

/// Interval between reads of the job.
const MONITOR_INTERVAL: Duration = Duration::from_secs(1);

impl Worker {
    /// Stops the job when it is no longer wanted; until then it does not return. A failed read is
    /// ignored.
    ///
    /// # Cancel safety
    /// May be dropped at any point.
    pub(super) async fn monitor(&self, job: &Job, stop: &Stop) {
        loop {
            self.services.clock.sleep(MONITOR_INTERVAL).await;
            let cause = match self
                .services
                .control
                .monitor(&job.id)
                .await
                .map(|record| record.status)
            {
                Ok(JobStatus::Cancelled) => StopCause::Cancelled,
                Ok(JobStatus::TimedOut | JobStatus::Failed | JobStatus::NotAttempted) => {
                    StopCause::EndedByServer
                }
                Ok(_) => continue,
                Err(error) => {
                    tracing::debug!(job = %job.id, %error, "could not check whether the job is still wanted");
                    continue;
                }
            };
            stop.stop(cause);
            return;
        }
    }
}
