//! Delivers the reports of one execution, in order, until each is accepted, finally refused, or no
//! longer true.
//!
//! A report that is sent for the first time goes out at once. One that *waited* (its first try
//! failed, or an earlier process queued it) may have arrived already, so the execution is read
//! first: nothing arrives twice, and a status never overwrites an end that the server has set.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use tokio::sync::{Notify, watch};

use super::Worker;
use crate::base::backoff::Backoff;
use crate::control::wire::{ExecutionRecord, StatusUpdate};
use crate::control::{ControlError, Patience, Verdict};
use crate::job::{ExecutionId, ExecutionStatus, Job};
use crate::journal::{ClaimId, JournalError, LastSeq, Queued, ReportKind, Settled};

/// How far the delivery is.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    /// The last report that is settled.
    settled: i64,
    /// Whether a try failed and the next report waits.
    stuck: bool,
}

/// The delivery of one execution's reports, as its driver sees it.
pub struct Delivery {
    progress: watch::Sender<Progress>,
    wake: Notify,
    closed: AtomicBool,
    /// Whether the job is worthless unless its result is stored.
    needs_result: AtomicBool,
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            progress: watch::Sender::default(),
            wake: Notify::new(),
            closed: AtomicBool::new(false),
            needs_result: AtomicBool::new(false),
        }
    }
}

impl Delivery {
    /// Waits until the reports up to `last` are settled or delivery is stuck. So calls have one
    /// order when all is well, and an outage holds no job up.
    pub async fn settle(&self, last: LastSeq) {
        let Some(last) = last else { return };
        self.wake.notify_one();
        let mut progress = self.progress.subscribe();
        // The sender is ours, so it is not gone.
        let _ = progress
            .wait_for(|progress| progress.stuck || progress.settled >= last)
            .await;
    }

    /// From now on a refused result makes the job a failed one.
    pub fn need_result(&self) {
        self.needs_result.store(true, Ordering::Relaxed);
    }

    /// Nobody delivers any more.
    pub fn fail(&self) {
        self.progress.send_modify(|progress| progress.stuck = true);
    }

    /// No further report will be queued.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.wake.notify_one();
    }
}

/// Whose reports are delivered.
pub struct Sender<'a> {
    /// The row of the journal.
    pub claim: ClaimId,
    /// The job.
    pub job: &'a Job,
    /// The execution.
    pub execution: &'a ExecutionId,
    /// Whether an earlier process queued what is there.
    pub inherited: bool,
}

enum Sent {
    Settled(Settled, String),
    /// Not now; what the server asked us to wait.
    Later(ControlError),
}

impl Worker {
    /// Delivers until the queue is empty and closed.
    ///
    /// # Errors
    /// [`JournalError`]: without the journal nothing can be delivered.
    ///
    /// # Cancel safety
    /// May be dropped at any point; the next process goes on.
    pub async fn deliver(
        &self,
        sender: Sender<'_>,
        delivery: &Delivery,
    ) -> Result<(), JournalError> {
        let mut waited = sender.inherited;
        let mut backoff = Backoff::default();
        let mut refused = self.journal.refused_result(sender.claim).await?;
        loop {
            let closed = delivery.closed.load(Ordering::Acquire);
            let Some(queued) = self.journal.next_report(sender.claim).await? else {
                delivery
                    .progress
                    .send_modify(|progress| progress.stuck = false);
                if closed {
                    return Ok(());
                }
                // What is queued from now on is our own.
                waited = false;
                delivery.wake.notified().await;
                continue;
            };
            let counts = refused
                .as_deref()
                .filter(|_| delivery.needs_result.load(Ordering::Relaxed));
            match self.send(&sender, &queued, waited, counts).await {
                Sent::Settled(settled, note) => {
                    self.journal.settle(queued.seq, settled, &note).await?;
                    self.tell(&sender, &queued, settled, &note);
                    if settled == Settled::Refused && queued.report.kind == ReportKind::Result {
                        refused = Some(note);
                    }
                    delivery
                        .progress
                        .send_modify(|progress| progress.settled = queued.seq);
                    backoff = Backoff::default();
                }
                Sent::Later(error) => {
                    let wait = backoff.next(error.delay());
                    tracing::warn!(job = %sender.job.id, execution = %sender.execution, report = queued.report.kind.as_str(),
                        %error, ?wait, "a report could not be delivered; it is kept and tried again");
                    delivery
                        .progress
                        .send_modify(|progress| progress.stuck = true);
                    waited = true;
                    self.clock.sleep(wait).await;
                }
            }
        }
    }

    async fn send(
        &self,
        sender: &Sender<'_>,
        queued: &Queued,
        waited: bool,
        refused: Option<&str>,
    ) -> Sent {
        let body = &queued.report.body;
        let unreadable = |error: serde_json::Error| {
            Sent::Settled(Settled::Refused, format!("unreadable report: {error}"))
        };
        let now = if waited {
            match self
                .control
                .execution(&sender.job.id, sender.execution, Patience::Once)
                .await
            {
                Ok(record) => Some(record),
                // An execution that is not there wants nothing; the report's own route says the rest.
                Err(error) if error.verdict() == Verdict::Final => None,
                Err(error) => return Sent::Later(error),
            }
        } else {
            None
        };
        let (job, execution) = (&sender.job.id, sender.execution);
        let sent = match queued.report.kind {
            ReportKind::Status => match serde_json::from_str::<StatusUpdate>(body) {
                Ok(update) => {
                    let update = truthful(update, refused);
                    if let Some(settled) = now.and_then(|now| overtaken(&now, update.status)) {
                        return settled;
                    }
                    self.control.update_execution(job, execution, &update).await
                }
                Err(error) => return unreadable(error),
            },
            ReportKind::Result
                if now
                    .as_ref()
                    .is_some_and(|now| is_there(now.result.as_ref())) =>
            {
                return Sent::Settled(Settled::Delivered, "was there already".into());
            }
            ReportKind::Result => match serde_json::from_str(body) {
                Ok(report) => self.control.post_result(job, execution, &report).await,
                Err(error) => return unreadable(error),
            },
            ReportKind::Outputs
                if now
                    .as_ref()
                    .is_some_and(|now| is_there(now.outputs.as_ref())) =>
            {
                return Sent::Settled(Settled::Delivered, "was there already".into());
            }
            ReportKind::Outputs => match serde_json::from_str(body) {
                Ok(report) => self.control.post_outputs(job, execution, &report).await,
                Err(error) => return unreadable(error),
            },
            ReportKind::Job => match serde_json::from_str(body) {
                Ok(update) => self.control.update_job(job, &update).await,
                Err(error) => return unreadable(error),
            },
        };
        let Err(error) = sent else {
            return Sent::Settled(Settled::Delivered, String::new());
        };
        match error.verdict() {
            Verdict::Accept => Sent::Settled(Settled::Delivered, String::new()),
            Verdict::Retry | Verdict::Ask | Verdict::Skip => Sent::Later(error),
            Verdict::Reauthenticate => {
                self.control.refresh_token();
                Sent::Later(error)
            }
            Verdict::DoneBefore | Verdict::DoneOrRetry if waited => {
                Sent::Settled(Settled::Delivered, "was there already".into())
            }
            Verdict::DoneOrRetry => Sent::Later(error),
            Verdict::DoneBefore | Verdict::Final => {
                Sent::Settled(Settled::Refused, error.to_string())
            }
        }
    }

    fn tell(&self, sender: &Sender<'_>, queued: &Queued, settled: Settled, note: &str) {
        let (job, execution, report) = (
            &sender.job.id,
            sender.execution,
            queued.report.kind.as_str(),
        );
        match settled {
            Settled::Delivered => {
                tracing::debug!(%job, %execution, report, note, "report delivered")
            }
            Settled::Refused => {
                tracing::error!(%job, %execution, report, note, "the control plane refused a report for good")
            }
            Settled::Dropped => {
                tracing::warn!(%job, %execution, report, note, "a report is dropped: the execution has ended otherwise")
            }
        }
    }
}

/// A job whose result the server will not have is not finished.
fn truthful(update: StatusUpdate, refused: Option<&str>) -> StatusUpdate {
    match (update.status, refused) {
        (ExecutionStatus::Finished, Some(why)) => StatusUpdate {
            status: ExecutionStatus::Failed,
            status_description: Some(format!("the control plane refused the job's result: {why}")),
        },
        _ => update,
    }
}

/// Whether the server already has a status that makes ours needless or untrue.
fn overtaken(now: &ExecutionRecord, ours: ExecutionStatus) -> Option<Sent> {
    if now.status == ours {
        return Some(Sent::Settled(
            Settled::Delivered,
            "was there already".into(),
        ));
    }
    match now.status.to(ours) {
        Ok(_) => None,
        Err(illegal) => Some(Sent::Settled(Settled::Dropped, illegal.to_string())),
    }
}

fn is_there(value: Option<&Value>) -> bool {
    value.is_some_and(|value| !value.is_null())
}
