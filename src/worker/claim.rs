//! Claims a job by creating exactly one execution of it.
//!
//! Creating an execution is the only call that must never be repeated blindly. The intent goes into
//! the journal first. If the response is lost, the job is read again: its newest execution is ours
//! if it did not exist before, is not final, and its client version carries the claim's nonce, which
//! the journal keeps. An execution that another process of the same version has made carries another.

use std::time::Duration;

use super::Worker;
use crate::base::backoff::Backoff;
use crate::control::wire::JobRecord;
use crate::control::{ControlError, RetryPolicy, Verdict};
use crate::job::{ExecutionId, Job, JobId, JobStatus};
use crate::journal::{ClaimId, End, ExecutionState, JournalError};

/// Time limit for reading a job before a claim, after which the job is not claimed in this round, and
/// before the process ends, after which an unanswered claim is left to the next process.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a job was not claimed.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Another runner claimed the job, or it is no longer wanted.
    #[error("the job is no longer available")]
    Gone,
    /// The control plane returned an execution that another open claim already has.
    #[error("the control plane returned the execution {0}, which is already running")]
    AlreadyRunning(ExecutionId),
    /// The drain began before an execution was known to exist. The claim stays open for the next
    /// process if one may exist.
    #[error("the runner stops")]
    Draining {
        /// True if an execution may exist.
        is_open: bool,
    },
    /// The control plane refused the claim or could not be reached.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The journal could not be read or written.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// An execution that this runner has created.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// Its row in the journal.
    pub claim: ClaimId,
    /// Its id in the control plane.
    pub execution: ExecutionId,
    /// How far it has come.
    pub state: ExecutionState,
}

impl Worker {
    /// Creates an execution of a job that a poll listed as available.
    ///
    /// # Errors
    /// [`ClaimError`] if the job is no longer available, the control plane refuses, or the journal
    /// fails.
    ///
    /// # Cancel safety
    /// If this is dropped, the journal keeps the intent, and the next process finds out whether an
    /// execution was created.
    pub async fn claim(&self, id: &JobId) -> Result<(Job, Claimed), ClaimError> {
        let read = self
            .services
            .control
            .job(id, RetryPolicy::Within(READ_TIMEOUT));
        let read = self.drain.run(read).await;
        let record = read.ok_or(ClaimError::Draining { is_open: false })??;
        if record.status != JobStatus::Available {
            return Err(ClaimError::Gone);
        }
        let job = record.job();
        let newest = record
            .newest_execution()
            .map(|execution| execution.id.clone());
        let nonce = format!("{:016x}", rand::random::<u64>());
        let claim = self
            .services
            .journal
            .record_intent(&job, newest.as_ref(), &nonce)
            .await?;
        let mut state = ExecutionState::default();
        let error = match self.create(&job, newest.as_ref(), &nonce).await {
            Ok(execution)
                if self
                    .services
                    .journal
                    .record_execution(claim, &mut state, &execution)
                    .await? =>
            {
                return Ok((
                    job,
                    Claimed {
                        claim,
                        execution,
                        state,
                    },
                ));
            }
            Ok(execution) => ClaimError::AlreadyRunning(execution),
            Err(error @ ClaimError::Draining { is_open: true }) => return Err(error),
            Err(error) => error,
        };
        self.services
            .journal
            .end(claim, state, End::NotCreated, Vec::new())
            .await?;
        Err(error)
    }

    async fn create(
        &self,
        job: &Job,
        newest: Option<&ExecutionId>,
        nonce: &str,
    ) -> Result<ExecutionId, ClaimError> {
        let mut backoff = Backoff::default();
        loop {
            if self.drain.is_stopped() {
                return Err(ClaimError::Draining { is_open: false });
            }
            let error = match self.services.control.create_execution(&job.id, nonce).await {
                Ok(execution) => return Ok(execution.id),
                Err(error) => error,
            };
            let verdict = error.verdict();
            match verdict {
                Verdict::CheckState => {
                    tracing::warn!(job = %job.id, %error, "the response to a claim was lost; checking whether an execution was created");
                }
                Verdict::Retry => {}
                Verdict::Reauthenticate => self.services.control.refresh_token(),
                _ => return Err(error.into()),
            }
            let read = async {
                self.services.clock.sleep(backoff.next(error.delay())).await;
                let retry = RetryPolicy::Within(job.execution_timeout);
                self.services.control.job(&job.id, retry).await
            };
            let record = match self.drain.run(read).await {
                Some(record) => record?,
                None if verdict == Verdict::CheckState => self.read_before_exit(&job.id).await?,
                None => return Err(ClaimError::Draining { is_open: false }),
            };
            if let Some(ours) = self.own_execution(&record, newest, Some(nonce)) {
                tracing::info!(job = %job.id, execution = %ours, "the claim had arrived: the execution belongs to this runner");
                return Ok(ours);
            }
            if record.status != JobStatus::Available {
                return Err(ClaimError::Gone);
            }
        }
    }

    /// Reads a job whose claim was sent before the drain began and was not answered. If that fails,
    /// the next process finds out what became of the claim.
    async fn read_before_exit(&self, id: &JobId) -> Result<JobRecord, ClaimError> {
        let control = &self.services.control;
        let read = control.job(id, RetryPolicy::Within(READ_TIMEOUT)).await;
        read.map_err(|error| {
            tracing::warn!(job = %id, %error, "it is not known whether a claim has arrived; the next process will check");
            ClaimError::Draining { is_open: true }
        })
    }

    /// Returns the execution that was created by a request whose response was lost, if there is
    /// one.
    pub(super) fn own_execution(
        &self,
        record: &JobRecord,
        newest_before: Option<&ExecutionId>,
        nonce: Option<&str>,
    ) -> Option<ExecutionId> {
        let execution = record.newest_execution()?;
        let is_new = newest_before != Some(&execution.id);
        let version = execution.client_version()?;
        let is_ours = match nonce {
            Some(nonce) => version == self.services.control.claim_version(nonce),
            None => version == self.services.control.client_version(),
        };
        (is_new && is_ours && !execution.status.is_final()).then(|| execution.id.clone())
    }
}
