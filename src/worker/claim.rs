//! Claiming a job: making an execution of it, exactly one.
//!
//! Creating an execution is the only call that must never be repeated blindly. Intent goes into
//! the journal first; when the answer is lost the job is read, and an execution that was not there
//! before, is not final and bears our client version is ours.

use std::time::Duration;

use super::Worker;
use crate::base::backoff::Backoff;
use crate::control::wire::JobRecord;
use crate::control::{ControlError, Patience, Verdict};
use crate::job::{ExecutionId, Job, JobId, JobStatus};
use crate::journal::{ClaimId, JournalError};

/// How long a job is read before it is given up for this round.
const READ_PATIENCE: Duration = Duration::from_secs(5);

/// Why a job was not claimed.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Somebody else was faster, or nobody wants it any more.
    #[error("it is not available any more")]
    Gone,
    /// The control plane gave an execution that is being driven already.
    #[error("the control plane gave the execution {0}, which is being driven already")]
    Driven(ExecutionId),
    /// The control plane refused.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The journal does not work.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// An execution of ours.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// Its row in the journal.
    pub claim: ClaimId,
    /// The execution.
    pub execution: ExecutionId,
}

impl Worker {
    /// Makes an execution of a job that was seen available.
    ///
    /// # Errors
    /// [`ClaimError`].
    ///
    /// # Cancel safety
    /// If it is dropped, the journal knows of the intent, and the next process finds out.
    pub async fn claim(&self, id: &JobId) -> Result<(Job, Claimed), ClaimError> {
        let record = self.control.job(id, Patience::Until(READ_PATIENCE)).await?;
        if record.status != JobStatus::Available {
            return Err(ClaimError::Gone);
        }
        let job = record.job();
        let newest = record
            .newest_execution()
            .map(|execution| execution.id.clone());
        let claim = self.journal.intend(&job, newest.as_ref()).await?;
        let error = match self.create(&job, newest.as_ref()).await {
            Ok(execution) if self.journal.claimed(claim, &execution).await? => {
                return Ok((job, Claimed { claim, execution }));
            }
            Ok(execution) => ClaimError::Driven(execution),
            Err(error) => error,
        };
        self.journal.end(claim, "unclaimed", Vec::new()).await?;
        Err(error)
    }

    async fn create(
        &self,
        job: &Job,
        newest: Option<&ExecutionId>,
    ) -> Result<ExecutionId, ClaimError> {
        let mut backoff = Backoff::default();
        loop {
            let error = match self.control.create_execution(&job.id).await {
                Ok(execution) => return Ok(execution.id),
                Err(error) => error,
            };
            match error.verdict() {
                Verdict::Ask => {
                    tracing::warn!(job = %job.id, %error, "the answer to a claim was lost; looking what became of it");
                }
                Verdict::Retry => {}
                Verdict::Reauthenticate => self.control.refresh_token(),
                _ => return Err(error.into()),
            }
            self.clock.sleep(backoff.next(error.delay())).await;
            let record = self
                .control
                .job(&job.id, Patience::Until(job.execution_timeout))
                .await?;
            if let Some(ours) = self.ours(&record, newest) {
                tracing::info!(job = %job.id, execution = %ours, "the claim had arrived; it is ours");
                return Ok(ours);
            }
            if record.status != JobStatus::Available {
                return Err(ClaimError::Gone);
            }
        }
    }

    /// The execution that a lost answer was about, if it was made.
    pub(super) fn ours(
        &self,
        record: &JobRecord,
        newest_before: Option<&ExecutionId>,
    ) -> Option<ExecutionId> {
        let execution = record.newest_execution()?;
        let is_new = newest_before != Some(&execution.id);
        let is_ours = execution.client_version() == Some(self.control.client_version());
        (is_new && is_ours && !execution.status.is_final()).then(|| execution.id.clone())
    }
}
