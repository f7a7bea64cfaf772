//! Watches, once a second, whether a job is still wanted. The control plane cannot call us: a
//! cancel is seen by reading the job.

use std::time::Duration;

use super::Worker;
use crate::base::stop::{Cause, Stop};
use crate::job::{Job, JobStatus};

/// How often the job is read.
const PERIOD: Duration = Duration::from_secs(1);

impl Worker {
    /// Stops the job when it is not wanted any more; never ends by itself otherwise. A read that
    /// fails says nothing.
    ///
    /// # Cancel safety
    /// May be dropped at any point.
    pub(super) async fn monitor(&self, job: &Job, stop: &Stop) {
        loop {
            self.clock.sleep(PERIOD).await;
            let cause = match self
                .control
                .monitor(&job.id)
                .await
                .map(|record| record.status)
            {
                Ok(JobStatus::Cancelled) => Cause::Cancelled,
                Ok(JobStatus::TimedOut | JobStatus::Failed | JobStatus::NotAttempted) => {
                    Cause::EndedByServer
                }
                Ok(_) => continue,
                Err(error) => {
                    tracing::debug!(job = %job.id, %error, "could not see whether the job is still wanted");
                    continue;
                }
            };
            stop.stop(cause);
            return;
        }
    }
}
