//! Claims: the executions of this runner, and their events.

use std::str::FromStr as _;

use jiff::Timestamp;
use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};

use super::claim_id::ClaimId;
use super::event::{End, Event, ExecutionState};
use super::outbox::{self, LastSeq};
use super::store::{Journal, JournalError, to_json};
use crate::base::error::chain;
use crate::job::{ExecutionId, Job, ProcessId, Report};

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
    /// Random text in the client version of the request; None if that version sent none.
    pub nonce: Option<String>,
    /// How far the execution has come.
    pub state: ExecutionState,
    /// When the process that created the claim started.
    pub process_started_at: Timestamp,
    /// That process's id in the control plane, if it was registered.
    pub process_id: Option<ProcessId>,
}

/// Appends an event as part of a transaction.
async fn append(
    db: &mut SqliteConnection,
    claim: ClaimId,
    event: &str,
    now: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO event (claim, at, event) VALUES (?, ?, ?)")
        .bind(claim.0)
        .bind(now)
        .bind(event)
        .execute(db)
        .await?;
    Ok(())
}

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
    /// execution that the job already has, and `nonce` a random text that the request carries. If the
    /// response is lost, the new execution is another one than `newest`, and carries the nonce.
    pub async fn record_intent(
        &self,
        job: &Job,
        newest: Option<&ExecutionId>,
        nonce: &str,
    ) -> Result<ClaimId, JournalError> {
        let body = to_json("job", job)?;
        let (process, now) = (self.process, self.clock.now().to_string());
        let (newest, nonce) = (newest.map(ToString::to_string), nonce.to_owned());
        self.write("record a claim", move |db| {
            Box::pin(async move {
                let statement =
                    "INSERT INTO claim (process, job, requested_at, newest_before, nonce)
                    VALUES (?, ?, ?, ?, ?) RETURNING id";
                let insert = sqlx::query(statement)
                    .bind(process)
                    .bind(body)
                    .bind(now)
                    .bind(newest)
                    .bind(nonce);
                let row = insert.fetch_one(db).await?;
                Ok(ClaimId(row.try_get(0)?))
            })
        })
        .await
    }

    /// Outcome: records the execution of a claim, whose state becomes the one after its creation.
    /// Returns false, and leaves the state, if another open claim already has this execution.
    ///
    /// Deletes an ended claim with the same execution id, and its reports: the control plane reuses
    /// an id only if it has lost that execution.
    pub async fn record_execution(
        &self,
        claim: ClaimId,
        state: &mut ExecutionState,
        execution: &ExecutionId,
    ) -> Result<bool, JournalError> {
        let created = Event::Created {
            execution: execution.clone(),
        };
        let mut next = state.clone();
        if next.execution.as_ref() != Some(execution) {
            next.apply(&created)?;
        }
        let event = to_json("event", &created)?;
        let (execution, now) = (execution.to_string(), self.clock.now().to_string());
        self.write("record an execution", move |db| {
            Box::pin(async move {
                let statement =
                    "DELETE FROM claim WHERE execution_id = ? AND id <> ? AND ended_at IS NOT NULL";
                sqlx::query(statement)
                    .bind(&execution)
                    .bind(claim.0)
                    .execute(&mut *db)
                    .await?;
                let (known,): (Option<String>,) =
                    sqlx::query_as("SELECT execution_id FROM claim WHERE id = ?")
                        .bind(claim.0)
                        .fetch_one(&mut *db)
                        .await?;
                if known.as_ref() == Some(&execution) {
                    return Ok(true);
                }
                let statement = "UPDATE claim SET execution_id = ?1 WHERE id = ?2
                    AND NOT EXISTS (SELECT 1 FROM claim WHERE execution_id = ?1)";
                let updated = sqlx::query(statement)
                    .bind(&execution)
                    .bind(claim.0)
                    .execute(&mut *db)
                    .await?;
                let is_ours = updated.rows_affected() == 1;
                if is_ours {
                    append(db, claim, &event, &now).await?;
                }
                Ok(is_ours)
            })
        })
        .await
        .inspect(|is_ours| {
            if *is_ours {
                *state = next;
            }
        })
    }

    /// Records an event, and queues the reports that go with it, in one transaction. `state` is
    /// that of the claim, and becomes the one after the event.
    pub async fn record(
        &self,
        claim: ClaimId,
        state: &mut ExecutionState,
        event: &Event,
        reports: Vec<Report>,
    ) -> Result<LastSeq, JournalError> {
        let mut next = state.clone();
        next.apply(event)?;
        let event = to_json("event", event)?;
        let reports = outbox::rows(&reports)?;
        let now = self.clock.now().to_string();
        self.write("record an event", move |db| {
            Box::pin(async move {
                append(db, claim, &event, &now).await?;
                outbox::insert(db, claim, reports, &now).await
            })
        })
        .await
        .inspect(|_| *state = next)
    }

    /// Records that a claim has ended, and queues its last reports, in one transaction. Deletes old
    /// ended claims that have no queued reports.
    pub async fn end(
        &self,
        claim: ClaimId,
        mut state: ExecutionState,
        end: End,
        last: Vec<Report>,
    ) -> Result<LastSeq, JournalError> {
        let event = Event::Ended { end };
        state.apply(&event)?;
        let event = to_json("event", &event)?;
        let last = outbox::rows(&last)?;
        let now = self.clock.now().to_string();
        self.write("record the end of an execution", move |db| {
            Box::pin(async move {
                append(db, claim, &event, &now).await?;
                let last = outbox::insert(db, claim, last, &now).await?;
                sqlx::query("UPDATE claim SET ended_at = ? WHERE id = ?")
                    .bind(&now)
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

    /// Returns the claims that can be read. One that cannot, for example because a newer version
    /// wrote it, stays as it is.
    async fn claims(&self, filter: &'static str) -> Result<Vec<Claim>, JournalError> {
        let rows = self
            .query("read claims", async |db| claim_rows(db, filter).await)
            .await?;
        let mut claims = Vec::new();
        for (row, events) in &rows {
            match fold(events).and_then(|state| read_claim(row, state)) {
                Ok(claim) => claims.push(claim),
                Err(error) => {
                    let execution: Option<String> = row.try_get("execution_id").unwrap_or_default();
                    let error = chain(&error);
                    tracing::error!(
                        execution,
                        error,
                        "an execution is left alone, because its record in the journal cannot be read"
                    );
                }
            }
        }
        Ok(claims)
    }
}

/// Returns the rows of claims, each with its events.
async fn claim_rows(
    db: &mut SqliteConnection,
    filter: &str,
) -> Result<Vec<(SqliteRow, Vec<(String,)>)>, sqlx::Error> {
    let statement = format!(
        "SELECT claim.*, process.started_at AS started_at, process.registered_as AS registered_as
         FROM claim JOIN process ON process.id = claim.process {filter} ORDER BY claim.id"
    );
    let mut rows = Vec::new();
    for claim in sqlx::query(sqlx::AssertSqlSafe(statement))
        .fetch_all(&mut *db)
        .await?
    {
        let id: i64 = claim.try_get("id")?;
        let events: Vec<(String,)> =
            sqlx::query_as("SELECT event FROM event WHERE claim = ? ORDER BY seq")
                .bind(id)
                .fetch_all(&mut *db)
                .await?;
        rows.push((claim, events));
    }
    Ok(rows)
}

/// Returns a sentence for each claim that cannot be read.
pub(super) async fn unreadable_claims(pool: &SqlitePool) -> Result<Vec<String>, sqlx::Error> {
    let mut db = pool.acquire().await?;
    let rows = claim_rows(&mut db, "").await?;
    let unreadable = rows.iter().filter_map(|(row, events)| {
        let error = fold(events)
            .and_then(|state| read_claim(row, state))
            .err()?;
        let id: i64 = row.try_get("id").unwrap_or_default();
        Some(format!("claim {id}: {}", chain(&error)))
    });
    Ok(unreadable.collect())
}

fn fold(events: &[(String,)]) -> Result<ExecutionState, JournalError> {
    let mut state = ExecutionState::default();
    for (text,) in events {
        let event =
            serde_json::from_str(text).map_err(|error| JournalError::corrupt("event", error))?;
        state.apply(&event)?;
    }
    Ok(state)
}

fn read_claim(row: &SqliteRow, state: ExecutionState) -> Result<Claim, JournalError> {
    fn corrupt(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> JournalError {
        JournalError::corrupt("claim", source)
    }
    let text = |column: &str| row.try_get::<String, _>(column).map_err(corrupt);
    let optional = |column: &str| row.try_get::<Option<String>, _>(column).map_err(corrupt);
    let time = |column: &str| Timestamp::from_str(&text(column)?).map_err(corrupt);
    Ok(Claim {
        id: ClaimId(row.try_get("id").map_err(corrupt)?),
        job: serde_json::from_str(&text("job")?).map_err(corrupt)?,
        requested_at: time("requested_at")?,
        newest_before: optional("newest_before")?
            .map(ExecutionId::try_from)
            .transpose()
            .map_err(corrupt)?,
        nonce: optional("nonce")?,
        state,
        process_started_at: time("started_at")?,
        process_id: optional("registered_as")?
            .map(ProcessId::try_from)
            .transpose()
            .map_err(corrupt)?,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::JournalConfig;
    use super::*;
    use crate::base::clock::Clock;
    use crate::job::report::ResultReport;

    async fn open(state_dir: &Path) -> Journal {
        let config = JournalConfig {
            url: None,
            state_dir: state_dir.to_owned(),
        };
        Journal::open(&config, Clock::system()).await.unwrap()
    }

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
        let first = open(dir.path()).await;
        let claim = first.record_intent(&job(), None, "n").await.unwrap();
        let execution = "run1".parse().unwrap();
        let mut state = ExecutionState::default();
        let recorded = first.record_execution(claim, &mut state, &execution).await;
        assert!(recorded.unwrap());
        let outcome = serde_json::json!({"a": 1});
        let done = Event::EffectDone {
            outcome: outcome.clone(),
        };
        let report = Report::Result(ResultReport::default());
        assert_eq!(first.open_claims().await.unwrap()[0].state, state);
        first
            .record(claim, &mut state, &Event::AttemptBegun, vec![])
            .await
            .unwrap();
        first
            .record(claim, &mut state, &done, vec![report.clone()])
            .await
            .unwrap();

        let second = open(dir.path()).await;
        let open = second.open_claims().await.unwrap();
        assert_eq!(open.len(), 1);
        assert_eq!(open[0].job, job());
        let state = &open[0].state;
        assert_eq!(state.execution, Some(execution));
        assert_eq!(state.outcome, Some(outcome));
        assert_eq!(state.attempts, 1);
        let queued = second.next_report(open[0].id).await.unwrap().unwrap();
        assert_eq!(queued.report, report);
        second
            .end(open[0].id, state.clone(), End::Finished, vec![])
            .await
            .unwrap();
        assert!(second.open_claims().await.unwrap().is_empty());
        assert_eq!(second.claims_with_queued_reports().await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn an_execution_has_one_open_claim_and_replaces_an_ended_one_of_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path()).await;
        let execution = "run1".parse().unwrap();
        let first = journal.record_intent(&job(), None, "n").await.unwrap();
        let mut state = ExecutionState::default();
        for _ in 0..2 {
            let recorded = journal
                .record_execution(first, &mut state, &execution)
                .await;
            assert!(recorded.unwrap());
            assert_eq!(journal.open_claims().await.unwrap()[0].state, state);
        }
        let second = journal.record_intent(&job(), None, "n").await.unwrap();
        let mut other = ExecutionState::default();
        let recorded = journal
            .record_execution(second, &mut other, &execution)
            .await;
        assert!(!recorded.unwrap());
        assert_eq!(other, ExecutionState::default());
        let owed = Report::Result(ResultReport::default());
        let open = journal.open_claims().await.unwrap();
        assert_eq!(open[0].id, first);
        journal
            .end(first, state, End::Finished, vec![owed])
            .await
            .unwrap();
        let recorded = journal
            .record_execution(second, &mut other, &execution)
            .await;
        assert!(recorded.unwrap());
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
        let journal = open(dir.path()).await;
        journal.record_intent(&job(), None, "n").await.unwrap();
        let open = journal.open_claims().await.unwrap();
        assert_eq!(open[0].state.execution, None);
    }

    #[tokio::test]
    async fn reads_do_not_wait_for_a_write() {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path()).await;
        journal.record_intent(&job(), None, "n").await.unwrap();
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let (begin, begun) = tokio::sync::oneshot::channel();
        let writer = journal.clone();
        let write = tokio::spawn(async move {
            let write = writer.write("delete", |db| {
                Box::pin(async move {
                    sqlx::query("DELETE FROM claim").execute(db).await?;
                    begin.send(()).unwrap();
                    ended.await.unwrap();
                    Ok(())
                })
            });
            write.await
        });
        begun.await.unwrap();
        assert!(journal.is_healthy().await);
        assert_eq!(journal.open_claims().await.unwrap().len(), 1);
        assert_eq!(journal.backlog().await.unwrap().depth, 0);
        end.send(()).unwrap();
        write.await.unwrap().unwrap();
        assert!(journal.open_claims().await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn what_cannot_be_read_hides_nothing_else() {
        for (table, column, key) in [
            ("event", "event", "claim"),
            ("claim", "job", "id"),
            ("report", "report", "claim"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let journal = open(dir.path()).await;
            let other = journal.record_intent(&job(), None, "n").await.unwrap();
            let claim = journal.record_intent(&job(), None, "n").await.unwrap();
            let execution = "run1".parse().unwrap();
            let mut state = ExecutionState::default();
            let recorded = journal
                .record_execution(claim, &mut state, &execution)
                .await;
            assert!(recorded.unwrap());
            let report = Report::Result(ResultReport::default());
            journal.queue_once(claim, report).await.unwrap();
            let spoil = format!(
                "UPDATE {table} SET {column} = '{{\"from\": \"the future\"}}' WHERE {key} = {}",
                claim.0
            );
            journal
                .write("spoil a row", move |db| {
                    Box::pin(
                        async move { sqlx::query(sqlx::AssertSqlSafe(spoil)).execute(db).await },
                    )
                })
                .await
                .unwrap();
            let claims = journal.open_claims().await.unwrap();
            let read: Vec<ClaimId> = claims.iter().map(|claim| claim.id).collect();
            match table {
                "report" => assert_eq!(read, [other, claim]),
                _ => assert_eq!(read, [other], "{table}"),
            }
            let report = journal.next_report(claim).await;
            let is_corrupt = matches!(report, Err(JournalError::Corrupt { what: "report", .. }));
            assert_eq!(is_corrupt, table == "report");
        }
    }
}
