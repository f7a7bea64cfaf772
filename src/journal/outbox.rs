//! The outbox: reports to deliver to the control plane, in order.

use jiff::Timestamp;
use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

use super::claim_id::ClaimId;
use super::store::{Journal, JournalError, to_json};
use crate::job::Report;

/// A report in the outbox.
#[derive(Debug, Clone)]
pub struct QueuedReport {
    /// Sequence number; reports of a claim are delivered in this order.
    pub seq: i64,
    /// The report to deliver.
    pub report: Report,
    /// When the report was queued.
    pub queued_at: Timestamp,
}

/// Outcome of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// The control plane accepted it.
    Delivered,
    /// The control plane refused it for good.
    Refused,
    /// It no longer applies: the control plane ended the execution with another status.
    Dropped,
}

impl Settled {
    fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Refused => "refused",
            Self::Dropped => "dropped",
        }
    }
}

/// Size and age of the outbox.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Number of reports that are queued.
    pub depth: u64,
    /// When the oldest of them was queued; `None` if there are none.
    pub oldest: Option<Timestamp>,
}

/// Sequence number of the last report that a transaction queued; `None` if it queued none.
pub type LastSeq = Option<i64>;

/// A report as the table stores it: its kind, and the whole as JSON.
pub(super) type ReportRow = (&'static str, String);

/// Serializes reports for [`insert`].
pub(super) fn rows(reports: &[Report]) -> Result<Vec<ReportRow>, JournalError> {
    reports
        .iter()
        .map(|report| Ok((report.kind(), to_json("report", report)?)))
        .collect()
}

/// Queues reports as part of a transaction.
pub(super) async fn insert(
    db: &mut SqliteConnection,
    claim: ClaimId,
    reports: Vec<ReportRow>,
    now: &str,
) -> Result<LastSeq, sqlx::Error> {
    let mut last = None;
    for (kind, report) in reports {
        let statement =
            "INSERT INTO report (claim, kind, report, queued_at) VALUES (?, ?, ?, ?) RETURNING seq";
        let row = sqlx::query(statement)
            .bind(claim.0)
            .bind(kind)
            .bind(report)
            .bind(now)
            .fetch_one(&mut *db)
            .await?;
        last = row.try_get(0)?;
    }
    Ok(last)
}

impl Journal {
    /// Queues a report, unless the claim already has one of the same kind, settled or not.
    pub async fn queue_once(
        &self,
        claim: ClaimId,
        report: Report,
    ) -> Result<LastSeq, JournalError> {
        let (kind, now) = (report.kind(), self.clock.now().to_string());
        let reports = rows(&[report])?;
        self.write("queue a report", move |db| {
            Box::pin(async move {
                match has_report(db, claim, kind).await? {
                    true => Ok(None),
                    false => insert(db, claim, reports, &now).await,
                }
            })
        })
        .await
    }

    /// Returns true if a result was queued for a claim, settled or not.
    pub async fn has_result(&self, claim: ClaimId) -> Result<bool, JournalError> {
        self.query("read the outbox", async |db| {
            has_report(db, claim, "result").await
        })
        .await
    }

    /// Returns the claim's oldest report that is not settled.
    pub async fn next_report(&self, claim: ClaimId) -> Result<Option<QueuedReport>, JournalError> {
        let statement = "SELECT seq, report, queued_at FROM report
            WHERE claim = ? AND state = 'queued' ORDER BY seq LIMIT 1";
        let row: Option<(i64, String, String)> = self
            .query("read the outbox", async |db| {
                sqlx::query_as(statement)
                    .bind(claim.0)
                    .fetch_optional(db)
                    .await
            })
            .await?;
        row.map(|(seq, report, queued_at)| {
            Ok(QueuedReport {
                seq,
                report: serde_json::from_str(&report)
                    .map_err(|error| JournalError::corrupt("report", error))?,
                queued_at: queued_at
                    .parse()
                    .map_err(|error: jiff::Error| JournalError::corrupt("report", error))?,
            })
        })
        .transpose()
    }

    /// Records the outcome of a report. The report stays in the journal, with `note` as the reason.
    pub async fn settle(&self, seq: i64, settled: Settled, note: &str) -> Result<(), JournalError> {
        let (now, note) = (self.clock.now().to_string(), note.to_owned());
        self.write("settle a report", move |db| {
            Box::pin(async move {
                let statement = "UPDATE report SET state = ?, settled_at = ?, note = NULLIF(?, \
                                 '') WHERE seq = ?";
                sqlx::query(statement)
                    .bind(settled.as_str())
                    .bind(now)
                    .bind(note)
                    .bind(seq)
                    .execute(db)
                    .await?;
                Ok(())
            })
        })
        .await
    }

    /// Returns the reason if the control plane refused the claim's result for good.
    pub async fn refused_result(&self, claim: ClaimId) -> Result<Option<String>, JournalError> {
        let statement = "SELECT coalesce(note, '') FROM report WHERE claim = ? AND kind = \
                         'result' AND state = 'refused'";
        let row: Option<(String,)> = self
            .query("read the outbox", async |db| {
                sqlx::query_as(statement)
                    .bind(claim.0)
                    .fetch_optional(db)
                    .await
            })
            .await?;
        Ok(row.map(|(note,)| note))
    }

    /// Returns the size and age of the outbox.
    pub async fn backlog(&self) -> Result<Backlog, JournalError> {
        let statement =
            "SELECT count(*) AS depth, min(queued_at) AS oldest FROM report WHERE state = 'queued'";
        let (depth, oldest): (i64, Option<String>) = self
            .query("read the size of the outbox", async |db| {
                sqlx::query_as(statement).fetch_one(db).await
            })
            .await?;
        let oldest = oldest.map(|text| text.parse()).transpose();
        Ok(Backlog {
            depth: depth.try_into().unwrap_or_default(),
            oldest: oldest.map_err(|error: jiff::Error| JournalError::corrupt("report", error))?,
        })
    }
}

async fn has_report(
    db: &mut SqliteConnection,
    claim: ClaimId,
    kind: &str,
) -> Result<bool, sqlx::Error> {
    let statement = "SELECT EXISTS (SELECT 1 FROM report WHERE claim = ? AND kind = ?)";
    let (has,): (bool,) = sqlx::query_as(statement)
        .bind(claim.0)
        .bind(kind)
        .fetch_one(db)
        .await?;
    Ok(has)
}
