//! Recovery after a restart: finds out what became of the executions of previous processes,
//! delivers their reports, and resumes those that are still wanted. It runs beside the polls, in the
//! slots of the executions, so that one that cannot be read keeps nothing else from being run.

use std::sync::Arc;

use futures_util::StreamExt as _;
use jiff::Timestamp;

use super::Worker;
use super::claim::Claimed;
use super::handler::Outcome;
use super::lifecycle::{AttemptEnd, Start};
use super::outbox::{Delivery, ReportSource};
use crate::control::wire::JobRecord;
use crate::control::{ControlError, RetryPolicy, Verdict};
use crate::job::{ExecutionId, JobStatus, ProcessId};
use crate::journal::{Claim, End, JournalError};

/// Maximum number of executions whose reports are delivered concurrently after a restart.
const MAX_CONCURRENT_DELIVERIES: usize = 4;

/// The previous processes whose executions are open, as heartbeats and registration need to know
/// them.
#[derive(Debug, Clone)]
pub struct PreviousProcesses {
    /// Earliest start among these processes.
    pub started_at: Timestamp,
    /// Registration of the latest of these processes that has one.
    pub process_id: Option<ProcessId>,
}

/// Summarizes the processes of open claims; `None` if no claim is open.
pub fn previous_processes(open: &[Claim]) -> Option<PreviousProcesses> {
    let started_at = open.iter().map(|claim| claim.process_started_at).min()?;
    let process_id = open.iter().rev().find_map(|claim| claim.process_id.clone());
    Some(PreviousProcesses {
        started_at,
        process_id,
    })
}

/// What becomes of an open claim of a previous process.
pub(super) enum Resumption {
    /// Its execution is run on.
    Start(Box<Start>),
    /// It is closed: there is nothing to run.
    GivenUp,
    /// It stays open for the next process, because the drain began.
    Suspended,
}

impl Worker {
    /// Delivers pending reports of previous processes in the background, and returns their open
    /// claims, oldest first.
    ///
    /// # Errors
    /// [`JournalError`] if the journal fails.
    pub async fn recover(self: &Arc<Self>) -> Result<Vec<Claim>, JournalError> {
        let open = self.services.journal.open_claims().await?;
        let owing = self.services.journal.claims_with_queued_reports().await?;
        if !owing.is_empty() {
            tracing::info!(
                executions = owing.len(),
                "delivering reports that a previous process left"
            );
        }
        self.deliver_in_background(owing);
        Ok(open)
    }

    /// Resumes an execution and runs it to its end.
    ///
    /// # Errors
    /// [`JournalError`] if the journal fails.
    pub(super) async fn resume_and_run(
        self: &Arc<Self>,
        claim: Claim,
    ) -> Result<AttemptEnd, JournalError> {
        match self.resume_claim(claim).await? {
            Resumption::Start(start) => self.run_execution(*start).await,
            Resumption::GivenUp => Ok(AttemptEnd::Recorded),
            Resumption::Suspended => Ok(AttemptEnd::Suspended),
        }
    }

    // Long: one check after the other, each of which may give the claim up.
    async fn resume_claim(self: &Arc<Self>, claim: Claim) -> Result<Resumption, JournalError> {
        let services = &self.services;
        let time = claim.job.execution_timeout;
        let retry = RetryPolicy::Within(time);
        let Some(read) = self
            .drain
            .run(services.control.job(&claim.job.id, retry))
            .await
        else {
            return Ok(Resumption::Suspended);
        };
        let record = match read {
            Ok(record) => Some(record),
            Err(error) if is_refused(&error) => {
                let why = format!("the job cannot be read: {error}");
                return self.give_up(&claim, &why).await;
            }
            Err(_) => None,
        };
        let own = |record: &JobRecord| {
            self.own_execution(record, claim.newest_before.as_ref(), claim.nonce.as_deref())
        };
        let known = claim.state.execution.clone();
        let Some(execution) = known.or_else(|| own(record.as_ref()?)) else {
            return self
                .give_up(&claim, "no execution was created for it")
                .await;
        };
        let mut state = claim.state.clone();
        if state.execution.is_none() {
            tracing::info!(job = %claim.job.id, %execution, "a claim whose response was lost had arrived: the execution belongs to this runner");
            let is_ours = services
                .journal
                .record_execution(claim.id, &mut state, &execution);
            if !is_ours.await? {
                return self
                    .give_up(&claim, "its execution is already running")
                    .await;
            }
        }
        let wanted = match &record {
            Some(record) => {
                let reason = self.unwanted_reason(&claim, record, &execution);
                match self.drain.run(reason).await {
                    Some(reason) => reason.ok(),
                    None => return Ok(Resumption::Suspended),
                }
            }
            None => None,
        };
        // Where the control plane does not answer for all of its time, the execution ends with that:
        // no execution is left without a status.
        let spent = match wanted {
            Some(Some(why)) => return self.give_up(&claim, &why).await,
            Some(None) => services.clock.since(claim.requested_at).min(time),
            None => time,
        };
        tracing::info!(job = %claim.job.id, %execution, "resuming an execution that a previous process began");
        Ok(Resumption::Start(Box::new(Start {
            spent,
            claimed: Claimed {
                claim: claim.id,
                execution,
                state,
            },
            job: claim.job,
            resumed: true,
        })))
    }

    /// Returns why an execution is no longer wanted; `None` if it is wanted.
    async fn unwanted_reason(
        &self,
        claim: &Claim,
        record: &JobRecord,
        execution: &ExecutionId,
    ) -> Result<Option<String>, ControlError> {
        if !matches!(
            record.status,
            JobStatus::Available | JobStatus::InProgress | JobStatus::Unknown
        ) {
            return Ok(Some(format!(
                "the control plane has ended its job as {:?}",
                record.status
            )));
        }
        let retry = RetryPolicy::Within(claim.job.execution_timeout);
        let now = match self
            .services
            .control
            .execution(&claim.job.id, execution, retry)
            .await
        {
            Ok(now) => now,
            Err(error) if is_refused(&error) => return Ok(Some(error.to_string())),
            Err(error) => return Err(error),
        };
        Ok(now
            .status
            .is_final()
            .then(|| format!("the control plane has ended it as {}", now.status)))
    }

    /// Ends a claim without reporting a status: there is no execution, or the control plane has ended
    /// it. Its queued result and outputs are still delivered.
    async fn give_up(
        self: &Arc<Self>,
        claim: &Claim,
        why: &str,
    ) -> Result<Resumption, JournalError> {
        tracing::warn!(job = %claim.job.id, execution = claim.state.execution.as_ref().map(ToString::to_string), why,
            "an execution of a previous process is given up");
        let (journal, state) = (&self.services.journal, claim.state.clone());
        journal
            .end(claim.id, state, End::GivenUp, Vec::new())
            .await?;
        self.deliver_in_background(vec![claim.clone()]);
        Ok(Resumption::GivenUp)
    }

    fn deliver_in_background(self: &Arc<Self>, owing: Vec<Claim>) {
        if owing.is_empty() {
            return;
        }
        let worker = self.clone();
        self.background
            .spawn(async move { worker.deliver_owed(owing).await });
    }

    async fn deliver_owed(self: Arc<Self>, owing: Vec<Claim>) {
        futures_util::stream::iter(owing)
            .for_each_concurrent(MAX_CONCURRENT_DELIVERIES, async |claim| {
                let Some(execution) = &claim.state.execution else { return };
                let delivery = Delivery::default();
                let outcome = claim.state.outcome.as_ref().map(Outcome::from_journal);
                if matches!(outcome, Some(Ok(Outcome::Planned { .. }))) {
                    delivery.need_result();
                }
                delivery.close();
                let sender = ReportSource { claim: claim.id, job: &claim.job, execution, from_previous_process: true };
                if let Err(error) = self.deliver(sender, &delivery).await {
                    tracing::error!(%error, job = %claim.job.id, "reports of a previous process cannot be delivered");
                }
            })
            .await;
    }
}

/// Returns true if the control plane has refused a read for good. Where it did not answer in time,
/// nothing is known.
fn is_refused(error: &ControlError) -> bool {
    error.verdict() == Verdict::Final && !matches!(error, ControlError::Deadline { .. })
}
