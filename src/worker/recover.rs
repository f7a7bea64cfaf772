//! After a restart: what earlier processes left is found out about, delivered, and driven on if it
//! is still wanted.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use jiff::Timestamp;

use super::Worker;
use super::claim::Claimed;
use super::lifecycle::Start;
use super::outbox::{Delivery, Sender};
use crate::control::wire::JobRecord;
use crate::control::{ControlError, Patience, Verdict};
use crate::job::{ExecutionId, JobStatus, ProcessId};
use crate::journal::{Claim, JournalError};

/// Executions whose reports are delivered at once after a restart.
const AT_ONCE: usize = 4;

/// What earlier processes left open, as the heart beat needs to know it.
#[derive(Debug, Clone)]
pub struct Inheritance {
    /// The earliest start of a process whose executions are open.
    pub started_at: Timestamp,
    /// What the latest of them was registered as.
    pub process_id: Option<ProcessId>,
}

/// The inheritance of open claims, if there are any.
pub fn inheritance(open: &[Claim]) -> Option<Inheritance> {
    let started_at = open.iter().map(|claim| claim.process_started_at).min()?;
    let process_id = open.iter().rev().find_map(|claim| claim.process_id.clone());
    Some(Inheritance {
        started_at,
        process_id,
    })
}

impl Worker {
    /// Delivers what is owed, in the background, and returns what is to be driven on, oldest first.
    /// What the control plane does not want any more is said and forgotten.
    ///
    /// # Errors
    /// [`JournalError`].
    pub async fn recover(self: &Arc<Self>) -> Result<Vec<Start>, JournalError> {
        let mut starts = Vec::new();
        for claim in self.journal.open_claims().await? {
            starts.extend(self.take_over(claim).await?);
        }
        let owing = self.journal.owing_claims().await?;
        if !owing.is_empty() {
            tracing::info!(
                executions = owing.len(),
                "delivering reports that an earlier process left"
            );
            let worker = self.clone();
            self.background
                .spawn(async move { worker.deliver_owed(owing).await });
        }
        Ok(starts)
    }

    async fn take_over(&self, claim: Claim) -> Result<Option<Start>, JournalError> {
        let patience = Patience::Until(claim.job.execution_timeout);
        let record = match self.control.job(&claim.job.id, patience).await {
            Ok(record) => record,
            Err(error) => {
                self.forget(&claim, &format!("the job cannot be read: {error}"))
                    .await?;
                return Ok(None);
            }
        };
        let Some(execution) = claim
            .execution
            .clone()
            .or_else(|| self.ours(&record, claim.newest_before.as_ref()))
        else {
            self.forget(&claim, "no execution was made of it").await?;
            return Ok(None);
        };
        if claim.execution.is_none() {
            tracing::info!(job = %claim.job.id, %execution, "a claim whose answer was lost had arrived; it is ours");
            if !self.journal.claimed(claim.id, &execution).await? {
                self.forget(&claim, "its execution is being driven already")
                    .await?;
                return Ok(None);
            }
        }
        match self.is_wanted(&claim, &record, &execution).await {
            Ok(None) => {}
            Ok(Some(why)) => {
                self.forget(&claim, &why).await?;
                return Ok(None);
            }
            Err(error) => {
                self.forget(&claim, &format!("the execution cannot be read: {error}"))
                    .await?;
                return Ok(None);
            }
        }
        tracing::info!(job = %claim.job.id, %execution, "drives on an execution that an earlier process began");
        Ok(Some(Start {
            spent: self
                .clock
                .since(claim.requested_at)
                .min(claim.job.execution_timeout),
            claimed: Claimed {
                claim: claim.id,
                execution,
            },
            job: claim.job,
            outcome: claim.outcome,
            inherited: true,
            crashes: claim.crashes,
        }))
    }

    /// Why an execution is not wanted any more; none if it is.
    async fn is_wanted(
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
        let patience = Patience::Until(Duration::from_secs(60));
        let now = match self
            .control
            .execution(&claim.job.id, execution, patience)
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

    /// Ends a claim without a status of ours; its result and outputs are still delivered.
    async fn forget(&self, claim: &Claim, why: &str) -> Result<(), JournalError> {
        tracing::warn!(job = %claim.job.id, execution = claim.execution.as_ref().map(ToString::to_string), why,
            "an execution of an earlier process is given up");
        self.journal
            .end(claim.id, "forgotten", Vec::new())
            .await
            .map(drop)
    }

    async fn deliver_owed(self: Arc<Self>, owing: Vec<Claim>) {
        futures_util::stream::iter(owing)
            .for_each_concurrent(AT_ONCE, async |claim| {
                let Some(execution) = &claim.execution else { return };
                let delivery = Delivery::default();
                let needs_result = claim.outcome.as_ref().and_then(|outcome| outcome.get("needs_result"));
                if needs_result == Some(&serde_json::Value::Bool(true)) {
                    delivery.need_result();
                }
                delivery.close();
                let sender = Sender { claim: claim.id, job: &claim.job, execution, inherited: true };
                if let Err(error) = self.deliver(sender, &delivery).await {
                    tracing::error!(%error, job = %claim.job.id, "reports of an earlier process cannot be delivered");
                }
            })
            .await;
    }
}
