//! The outbox: reports to deliver to the control plane, in order.

use jiff::Timestamp;
use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

use super::claim_id::ClaimId;
use super::store::{Journal, JournalError};

/// Kind of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportKind {
    /// A status of the execution.
    Status,
    /// The execution's result.
    Result,
    /// The execution's outputs.
    Outputs,
    /// A status of the job itself.
    Job,
}

impl ReportKind {
    /// Returns the name used in the journal and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Result => "result",
            Self::Outputs => "outputs",
            Self::Job => "job",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Status, Self::Result, Self::Outputs, Self::Job]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }
}

/// A report: its kind, and the JSON body of its request.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Decides which request delivers it.
    pub kind: ReportKind,
    /// Body of the request, as JSON.
    pub body: String,
}

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

/// Queues reports as part of a transaction.
pub(super) async fn insert(
    db: &mut SqliteConnection,
    claim: ClaimId,
    reports: Vec<Report>,
    now: &str,
) -> Result<LastSeq, sqlx::Error> {
    let mut last = None;
    for report in reports {
        let statement =
            "INSERT INTO report (claim, kind, body, queued_at) VALUES (?, ?, ?, ?) RETURNING seq";
        let row = sqlx::query(statement)
            .bind(claim.0)
            .bind(report.kind.as_str())
            .bind(report.body)
            .bind(now)
            .fetch_one(&mut *db)
            .await?;
        last = row.try_get(0)?;
    }
    Ok(last)
}

impl Journal {
    /// Queues reports.
    pub async fn queue(
        &self,
        claim: ClaimId,
        reports: Vec<Report>,
    ) -> Result<LastSeq, JournalError> {
        let now = self.clock.now().to_string();
        self.write("queue a report", move |db| {
            Box::pin(async move { insert(db, claim, reports, &now).await })
        })
        .await
    }

    /// Queues a report, unless the claim already has one of the same kind.
    pub async fn queue_once(
        &self,
        claim: ClaimId,
        report: Report,
    ) -> Result<LastSeq, JournalError> {
        match self.last_report(claim, report.kind).await? {
            Some(_) => Ok(None),
            None => self.queue(claim, vec![report]).await,
        }
    }

    /// Returns the body of the newest report of a kind that was queued for a claim, settled or not.
    pub async fn last_report(
        &self,
        claim: ClaimId,
        kind: ReportKind,
    ) -> Result<Option<String>, JournalError> {
        let statement =
            "SELECT body FROM report WHERE claim = ? AND kind = ? ORDER BY seq DESC LIMIT 1";
        let row: Option<(String,)> = self
            .query("read the outbox", async |db| {
                sqlx::query_as(statement)
                    .bind(claim.0)
                    .bind(kind.as_str())
                    .fetch_optional(db)
                    .await
            })
            .await?;
        Ok(row.map(|(body,)| body))
    }

    /// Returns the claim's oldest report that is not settled.
    pub async fn next_report(&self, claim: ClaimId) -> Result<Option<QueuedReport>, JournalError> {
        let statement = "SELECT seq, kind, body, queued_at FROM report
            WHERE claim = ? AND state = 'queued' ORDER BY seq LIMIT 1";
        let row = self
            .query("read the outbox", async |db| {
                sqlx::query(statement)
                    .bind(claim.0)
                    .fetch_optional(db)
                    .await
            })
            .await?;
        let corrupt = |source: Box<dyn std::error::Error + Send + Sync>| JournalError::Corrupt {
            what: "report",
            source,
        };
        row.map(|row| {
            let kind: String = row.try_get("kind").map_err(|error| corrupt(error.into()))?;
            let queued_at: String = row
                .try_get("queued_at")
                .map_err(|error| corrupt(error.into()))?;
            Ok(QueuedReport {
                seq: row.try_get("seq").map_err(|error| corrupt(error.into()))?,
                report: Report {
                    kind: ReportKind::parse(&kind)
                        .ok_or_else(|| corrupt("unknown kind of report".into()))?,
                    body: row.try_get("body").map_err(|error| corrupt(error.into()))?,
                },
                queued_at: queued_at
                    .parse()
                    .map_err(|error: jiff::Error| corrupt(error.into()))?,
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
        let row = self
            .query("read the size of the outbox", async |db| {
                sqlx::query(statement).fetch_one(db).await
            })
            .await?;
        let depth: i64 = row.try_get("depth").unwrap_or_default();
        let oldest: Option<String> = row.try_get("oldest").unwrap_or_default();
        Ok(Backlog {
            depth: depth.try_into().unwrap_or_default(),
            oldest: oldest.and_then(|text| text.parse().ok()),
        })
    }
}
