//! Recovery after a restart: finds out what became of the executions of previous processes,
//! delivers their reports, and resumes those that are still wanted.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use jiff::Timestamp;

use super::Worker;
use super::claim::Claimed;
use super::handler::Outcome;
use super::lifecycle::Start;
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

impl Worker {
    /// Delivers pending reports in the background, and returns the executions to resume, oldest
    /// first. Executions that are no longer wanted are logged and closed.
    ///
    /// # Errors
    /// [`JournalError`] if the journal fails.
    pub async fn recover(self: &Arc<Self>) -> Result<Vec<Start>, JournalError> {
        let mut starts = Vec::new();
        for claim in self.services.journal.open_claims().await? {
            starts.extend(self.resume_claim(claim).await?);
        }
        let owing = self.services.journal.claims_with_queued_reports().await?;
        if !owing.is_empty() {
            tracing::info!(
                executions = owing.len(),
                "delivering reports that a previous process left"
            );
            let worker = self.clone();
            self.background
                .spawn(async move { worker.deliver_owed(owing).await });
        }
        Ok(starts)
    }

    // Long: one check after the other, each of which may give the claim up.
    async fn resume_claim(&self, claim: Claim) -> Result<Option<Start>, JournalError> {
        let retry = RetryPolicy::Within(claim.job.execution_timeout);
        let record = match self.services.control.job(&claim.job.id, retry).await {
            Ok(record) => record,
            Err(error) => {
                self.give_up(&claim, &format!("the job cannot be read: {error}"))
                    .await?;
                return Ok(None);
            }
        };
        let Some(execution) = claim
            .state
            .execution
            .clone()
            .or_else(|| self.own_execution(&record, claim.newest_before.as_ref()))
        else {
            self.give_up(&claim, "no execution was created for it")
                .await?;
            return Ok(None);
        };
        let mut state = claim.state.clone();
        if state.execution.is_none() {
            tracing::info!(job = %claim.job.id, %execution, "a claim whose response was lost had arrived: the execution belongs to this runner");
            if !self
                .services
                .journal
                .record_execution(claim.id, &mut state, &execution)
                .await?
            {
                self.give_up(&claim, "its execution is already running")
                    .await?;
                return Ok(None);
            }
        }
        match self.unwanted_reason(&claim, &record, &execution).await {
            Ok(None) => {}
            Ok(Some(why)) => {
                self.give_up(&claim, &why).await?;
                return Ok(None);
            }
            Err(error) => {
                self.give_up(&claim, &format!("the execution cannot be read: {error}"))
                    .await?;
                return Ok(None);
            }
        }
        tracing::info!(job = %claim.job.id, %execution, "resuming an execution that a previous process began");
        Ok(Some(Start {
            spent: self
                .services
                .clock
                .since(claim.requested_at)
                .min(claim.job.execution_timeout),
            claimed: Claimed {
                claim: claim.id,
                execution,
                state,
            },
            job: claim.job,
            resumed: true,
        }))
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
        let retry = RetryPolicy::Within(Duration::from_secs(60));
        let now = match self
            .services
            .control
            .execution(&claim.job.id, execution, retry)
            .await
        {
            Ok(now) => now,
            Err(error) if error.verdict() == Verdict::Final => return Ok(Some(error.to_string())),
            Err(error) => return Err(error),
        };
        Ok(now
            .status
            .is_final()
            .then(|| format!("the control plane has ended it as {}", now.status)))
    }

    /// Ends a claim without reporting a status; its queued result and outputs are still delivered.
    async fn give_up(&self, claim: &Claim, why: &str) -> Result<(), JournalError> {
        tracing::warn!(job = %claim.job.id, execution = claim.state.execution.as_ref().map(ToString::to_string), why,
            "an execution of a previous process is given up");
        self.services
            .journal
            .end(claim.id, claim.state.clone(), End::GivenUp, Vec::new())
            .await
            .map(drop)
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
