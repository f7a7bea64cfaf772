//! Claims: the executions of this runner, and how far each of them came.

use std::str::FromStr as _;

use jiff::Timestamp;
use serde_json::Value;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::claim_id::ClaimId;
use super::outbox::{LastSeq, Report, insert};
use super::store::{Journal, JournalError};
use crate::job::{ExecutionId, Job, ProcessId, Step};

/// Number of recent claims whose rows are kept after they ended, for diagnosis.
const RETAINED_CLAIMS: i64 = 1000;

/// The record of one execution, as read from the journal.
#[derive(Debug, Clone)]
pub struct Claim {
    /// Row id.
    pub id: ClaimId,
    /// The job, as it was when it was claimed.
    pub job: Job,
    /// When the intent to create the execution was recorded.
    pub requested_at: Timestamp,
    /// The job's newest execution at that time. Tells after a lost response whether an execution is
    /// new.
    pub newest_before: Option<ExecutionId>,
    /// The execution; `None` as long as no response to its creation was recorded.
    pub execution: Option<ExecutionId>,
    /// Output of the effect; `None` until the effect is done.
    pub outcome: Option<Value>,
    /// Number of attempts that ended because their process went down.
    pub crashes: u32,
    /// When the process that created the claim started.
    pub process_started_at: Timestamp,
    /// That process's id in the control plane, if it was registered.
    pub process_id: Option<ProcessId>,
}

/// Number of attempts to run an execution, including the current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttemptCount(pub u32);

impl Journal {
    /// Records the id under which the control plane knows this process.
    pub async fn record_process_id(&self, id: &ProcessId) -> Result<(), JournalError> {
        let (id, process) = (id.to_string(), self.process);
        self.write("record the registration of the process", move |db| {
            Box::pin(async move {
                sqlx::query("UPDATE process SET registered_as = ? WHERE id = ?")
                    .bind(id)
                    .bind(process)
                    .execute(db)
                    .await?;
                Ok(())
            })
        })
        .await
    }

    /// Intent: records that an execution of `job` is about to be created. `newest` is the newest
    /// execution that the job already has. If the response is lost, a different newest execution is
    /// the new one.
    pub async fn record_intent(
        &self,
        job: &Job,
        newest: Option<&ExecutionId>,
    ) -> Result<ClaimId, JournalError> {
        let body = serde_json::to_string(job).map_err(|source| JournalError::Corrupt {
            what: "job",
            source: source.into(),
        })?;
        let (process, job_id, now) = (
            self.process,
            job.id.to_string(),
            self.clock.now().to_string(),
        );
        let newest = newest.map(ToString::to_string);
        self.write("record a claim", move |db| {
            Box::pin(async move {
                let statement = "INSERT INTO claim (process, job_id, job, requested_at, \
                                 newest_before)
                    VALUES (?, ?, ?, ?, ?) RETURNING id";
                let insert = sqlx::query(statement)
                    .bind(process)
                    .bind(job_id)
                    .bind(body)
                    .bind(now)
                    .bind(newest);
                let row = insert.fetch_one(db).await?;
                Ok(ClaimId(row.try_get(0)?))
            })
        })
        .await
    }

    /// Outcome: records the execution of a claim. Returns false if another open claim already has
    /// this execution.
    ///
    /// Deletes an ended claim with the same execution id, and its reports: the control plane reuses
    /// an id only if it has lost that execution.
    pub async fn record_execution(
        &self,
        claim: ClaimId,
        execution: &ExecutionId,
    ) -> Result<bool, JournalError> {
        let execution = execution.to_string();
        self.write("record an execution", move |db| {
            Box::pin(async move {
                let statement =
                    "DELETE FROM claim WHERE execution_id = ? AND id <> ? AND ended_at IS NOT NULL";
                sqlx::query(statement)
                    .bind(&execution)
                    .bind(claim.0)
                    .execute(&mut *db)
                    .await?;
                let statement = "UPDATE claim SET execution_id = ?1 WHERE id = ?2
                    AND NOT EXISTS (SELECT 1 FROM claim WHERE execution_id = ?1 AND id <> ?2)";
                let updated = sqlx::query(statement)
                    .bind(&execution)
                    .bind(claim.0)
                    .execute(db)
                    .await?;
                Ok(updated.rows_affected() == 1)
            })
        })
        .await
    }

    /// Intent: records that this process begins an attempt to run the execution. Returns the number
    /// of attempts so far, so that an execution that kills its process is not retried forever.
    pub async fn begin_attempt(&self, claim: ClaimId) -> Result<AttemptCount, JournalError> {
        self.write("record the start of an attempt", move |db| {
            Box::pin(async move {
                let statement =
                    "UPDATE claim SET drives = drives + 1 WHERE id = ? RETURNING drives";
                let row = sqlx::query(statement).bind(claim.0).fetch_one(db).await?;
                Ok(AttemptCount(row.try_get(0)?))
            })
        })
        .await
    }

    /// Takes back the last attempt of an execution that was stopped in an orderly way. Another
    /// process resumes it, and the interruption does not count as a crash.
    pub async fn take_back_attempt(&self, claim: ClaimId) -> Result<(), JournalError> {
        self.write("record an interruption", move |db| {
            Box::pin(async move {
                sqlx::query("UPDATE claim SET drives = drives - 1 WHERE id = ?")
                    .bind(claim.0)
                    .execute(db)
                    .await?;
                Ok(())
            })
        })
        .await
    }

    /// Intent: records that a step begins, and queues its reports.
    pub async fn begin_step(
        &self,
        claim: ClaimId,
        step: Step,
        reports: Vec<Report>,
    ) -> Result<LastSeq, JournalError> {
        let now = self.clock.now().to_string();
        self.write("record the start of a step", move |db| {
            Box::pin(async move {
                let statement = "INSERT INTO step (claim, name, begun_at) VALUES (?, ?, ?)
                    ON CONFLICT (claim, name) DO UPDATE SET begun_at = excluded.begun_at, done_at \
                                 = NULL";
                sqlx::query(statement)
                    .bind(claim.0)
                    .bind(step.as_str())
                    .bind(&now)
                    .execute(&mut *db)
                    .await?;
                insert(db, claim, reports, &now).await
            })
        })
        .await
    }

    /// Outcome: records that the effect is done and what it produced, and queues its reports, in
    /// one transaction.
    pub async fn record_outcome(
        &self,
        claim: ClaimId,
        outcome: &Value,
        reports: Vec<Report>,
    ) -> Result<LastSeq, JournalError> {
        let (outcome, now) = (outcome.to_string(), self.clock.now().to_string());
        self.write("record an outcome", move |db| {
            Box::pin(async move {
                let statement = "UPDATE claim SET outcome = ? WHERE id = ?";
                sqlx::query(statement)
                    .bind(outcome)
                    .bind(claim.0)
                    .execute(&mut *db)
                    .await?;
                let statement = "UPDATE step SET done_at = ? WHERE claim = ? AND name = ?";
                let step = Step::Exec.as_str();
                sqlx::query(statement)
                    .bind(&now)
                    .bind(claim.0)
                    .bind(step)
                    .execute(&mut *db)
                    .await?;
                insert(db, claim, reports, &now).await
            })
        })
        .await
    }

    /// Records that the execution has ended, and queues its last reports, in one transaction.
    /// Deletes old ended claims that have no queued reports.
    pub async fn end(
        &self,
        claim: ClaimId,
        ended_as: &'static str,
        last: Vec<Report>,
    ) -> Result<LastSeq, JournalError> {
        let now = self.clock.now().to_string();
        self.write("record the end of an execution", move |db| {
            Box::pin(async move {
                let last = insert(db, claim, last, &now).await?;
                let statement = "UPDATE claim SET ended_at = ?, ended_as = ? WHERE id = ?";
                sqlx::query(statement)
                    .bind(&now)
                    .bind(ended_as)
                    .bind(claim.0)
                    .execute(&mut *db)
                    .await?;
                let statement = "DELETE FROM claim WHERE id <= ? - ? AND ended_at IS NOT NULL
                    AND NOT EXISTS (SELECT 1 FROM report WHERE report.claim = claim.id AND state = \
                                 'queued')";
                sqlx::query(statement)
                    .bind(claim.0)
                    .bind(RETAINED_CLAIMS)
                    .execute(db)
                    .await?;
                Ok(last)
            })
        })
        .await
    }

    /// Returns the claims whose execution has not ended, oldest first.
    pub async fn open_claims(&self) -> Result<Vec<Claim>, JournalError> {
        self.claims("WHERE ended_at IS NULL").await
    }

    /// Returns the claims whose execution has ended but that still have queued reports, oldest
    /// first.
    pub async fn claims_with_queued_reports(&self) -> Result<Vec<Claim>, JournalError> {
        let queued = "WHERE ended_at IS NOT NULL
            AND EXISTS (SELECT 1 FROM report WHERE report.claim = claim.id AND state = 'queued')";
        self.claims(queued).await
    }

    async fn claims(&self, filter: &'static str) -> Result<Vec<Claim>, JournalError> {
        let statement = format!(
            "SELECT claim.*, process.started_at AS started_at, process.registered_as AS \
             registered_as
             FROM claim JOIN process ON process.id = claim.process {filter} ORDER BY claim.id"
        );
        let statement = sqlx::AssertSqlSafe(statement);
        let rows = self
            .query("read claims", async |db| {
                sqlx::query(statement).fetch_all(db).await
            })
            .await?;
        rows.iter().map(read_claim).collect()
    }
}

fn read_claim(row: &SqliteRow) -> Result<Claim, JournalError> {
    fn corrupt(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> JournalError {
        JournalError::Corrupt {
            what: "claim",
            source: source.into(),
        }
    }
    let text = |column: &str| row.try_get::<Option<String>, _>(column).map_err(corrupt);
    let time =
        |column: &str| Timestamp::from_str(&text(column)?.unwrap_or_default()).map_err(corrupt);
    Ok(Claim {
        id: ClaimId(row.try_get("id").map_err(corrupt)?),
        job: serde_json::from_str(&text("job")?.unwrap_or_default()).map_err(corrupt)?,
        requested_at: time("requested_at")?,
        newest_before: text("newest_before")?
            .map(ExecutionId::try_from)
            .transpose()
            .map_err(corrupt)?,
        execution: text("execution_id")?
            .map(ExecutionId::try_from)
            .transpose()
            .map_err(corrupt)?,
        outcome: text("outcome")?
            .map(|text| serde_json::from_str(&text))
            .transpose()
            .map_err(corrupt)?,
        crashes: row.try_get("drives").map_err(corrupt)?,
        process_started_at: time("started_at")?,
        process_id: text("registered_as")?
            .map(ProcessId::try_from)
            .transpose()
            .map_err(corrupt)?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::ReportKind;
    use super::*;
    use crate::base::clock::Clock;

    fn job() -> Job {
        Job {
            id: "job1".parse().unwrap(),
            kind: "noop-build".into(),
            group: "build".into(),
            operation: "build".into(),
            created_at: Timestamp::UNIX_EPOCH,
            execution_timeout: std::time::Duration::from_secs(300),
            log_stream: None,
            owner: "bld1".into(),
            shutdown_type: None,
        }
    }

    #[tokio::test]
    async fn what_was_noted_is_found_by_the_next_process() {
        let dir = tempfile::tempdir().unwrap();
        let first = Journal::open(None, dir.path(), Clock::system())
            .await
            .unwrap();
        let claim = first.record_intent(&job(), None).await.unwrap();
        let execution = "run1".parse().unwrap();
        assert!(first.record_execution(claim, &execution).await.unwrap());
        assert_eq!(first.begin_attempt(claim).await.unwrap(), AttemptCount(1));
        let report = Report {
            kind: ReportKind::Result,
            body: "{}".into(),
        };
        first
            .record_outcome(claim, &serde_json::json!({"a": 1}), vec![report])
            .await
            .unwrap();

        let second = Journal::open(None, dir.path(), Clock::system())
            .await
            .unwrap();
        let open = second.open_claims().await.unwrap();
        assert_eq!(open.len(), 1);
        assert_eq!(open[0].job, job());
        assert_eq!(open[0].execution, Some(execution));
        assert_eq!(open[0].outcome, Some(serde_json::json!({"a": 1})));
        assert_eq!(
            second.begin_attempt(open[0].id).await.unwrap(),
            AttemptCount(2)
        );
        assert_eq!(
            second
                .next_report(open[0].id)
                .await
                .unwrap()
                .unwrap()
                .report
                .kind,
            ReportKind::Result
        );
        second.end(open[0].id, "finished", vec![]).await.unwrap();
        assert!(second.open_claims().await.unwrap().is_empty());
        assert_eq!(second.claims_with_queued_reports().await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn an_execution_has_one_open_claim_and_replaces_an_ended_one_of_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(None, dir.path(), Clock::system())
            .await
            .unwrap();
        let execution = "run1".parse().unwrap();
        let first = journal.record_intent(&job(), None).await.unwrap();
        assert!(journal.record_execution(first, &execution).await.unwrap());
        assert!(
            journal.record_execution(first, &execution).await.unwrap(),
            "told twice, it is the same"
        );
        let second = journal.record_intent(&job(), None).await.unwrap();
        assert!(!journal.record_execution(second, &execution).await.unwrap());
        let owed = Report {
            kind: ReportKind::Result,
            body: "{}".into(),
        };
        journal.end(first, "finished", vec![owed]).await.unwrap();
        assert!(journal.record_execution(second, &execution).await.unwrap());
        assert!(
            journal
                .claims_with_queued_reports()
                .await
                .unwrap()
                .is_empty(),
            "what was owed to the other is not sent to this one"
        );
    }

    #[tokio::test]
    async fn a_claim_that_was_never_answered_is_open_without_an_execution() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(None, dir.path(), Clock::system())
            .await
            .unwrap();
        journal.record_intent(&job(), None).await.unwrap();
        assert_eq!(journal.open_claims().await.unwrap()[0].execution, None);
    }
}
