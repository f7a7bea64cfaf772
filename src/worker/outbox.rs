//! Delivers the reports of one execution in order, until each is accepted, refused for good, or no
//! longer true.
//!
//! A new report is sent at once. A report whose first attempt failed, or that a previous process
//! queued, may already have arrived. The execution is therefore read first: nothing is delivered
//! twice, and a status never overwrites an end that the server has set.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use tokio::sync::{Notify, watch};

use super::Worker;
use crate::base::backoff::Backoff;
use crate::control::wire::ExecutionRecord;
use crate::control::{ControlError, RetryPolicy, Verdict};
use crate::job::report::StatusUpdate;
use crate::job::{ExecutionId, ExecutionStatus, Job, Report};
use crate::journal::{ClaimId, JournalError, LastSeq, QueuedReport, Settled};

/// Progress of a delivery.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    /// Sequence number of the last settled report.
    settled: i64,
    /// True if an attempt failed and the next report waits.
    stuck: bool,
}

/// The delivery of one execution's reports, as the code that runs the execution sees it.
pub struct Delivery {
    progress: watch::Sender<Progress>,
    wake: Notify,
    closed: AtomicBool,
    /// True if the job fails unless the server accepts its result.
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
    /// Waits until the reports up to `last` are settled or delivery is stuck. Calls therefore keep
    /// their order in normal operation, and an outage delays no job.
    pub async fn wait_settled(&self, last: LastSeq) {
        let Some(last) = last else { return };
        self.wake.notify_one();
        let mut progress = self.progress.subscribe();
        // `self` holds the sender, so the channel is open.
        let _ = progress
            .wait_for(|progress| progress.stuck || progress.settled >= last)
            .await;
    }

    /// From now on a refused result fails the job.
    pub fn need_result(&self) {
        self.needs_result.store(true, Ordering::Relaxed);
    }

    /// Records that the delivery task has failed, so that nothing waits for it.
    pub fn fail(&self) {
        self.progress.send_modify(|progress| progress.stuck = true);
    }

    /// Declares that no further report will be queued.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.wake.notify_one();
    }
}

/// The execution whose reports are delivered.
pub struct ReportSource<'a> {
    /// Its row in the journal.
    pub claim: ClaimId,
    /// The job it belongs to.
    pub job: &'a Job,
    /// Its id in the control plane.
    pub execution: &'a ExecutionId,
    /// True if a previous process queued the reports that are in the outbox at the start.
    pub from_previous_process: bool,
}

enum Sent {
    Settled(Settled, String),
    /// To be sent again; the error carries the delay that the server asked for.
    Later(ControlError),
}

impl Sent {
    fn already_present() -> Self {
        Self::Settled(Settled::Delivered, "already present".into())
    }
}

impl Worker {
    /// Delivers reports until the outbox is empty and closed.
    ///
    /// # Errors
    /// [`JournalError`] if the journal fails: nothing can be delivered without it.
    ///
    /// # Cancel safety
    /// May be dropped at any point; the next process continues.
    // Long: the life of a delivery, in order.
    pub async fn deliver(
        &self,
        sender: ReportSource<'_>,
        delivery: &Delivery,
    ) -> Result<(), JournalError> {
        let mut may_have_arrived = sender.from_previous_process;
        let (mut backoff, mut failures) = (Backoff::default(), 0);
        let mut refused = self.services.journal.refused_result(sender.claim).await?;
        loop {
            let closed = delivery.closed.load(Ordering::Acquire);
            let Some(queued) = self.services.journal.next_report(sender.claim).await? else {
                delivery
                    .progress
                    .send_modify(|progress| progress.stuck = false);
                if closed {
                    return Ok(());
                }
                // Reports queued from now on come from this process.
                may_have_arrived = false;
                delivery.wake.notified().await;
                continue;
            };
            let refused_result = refused
                .as_deref()
                .filter(|_| delivery.needs_result.load(Ordering::Relaxed));
            match self
                .send(&sender, &queued, may_have_arrived, refused_result)
                .await
            {
                Sent::Settled(settled, note) => {
                    self.services
                        .journal
                        .settle(queued.seq, settled, &note)
                        .await?;
                    self.log_settled(&sender, &queued, settled, &note);
                    if settled == Settled::Refused && matches!(queued.report, Report::Result(_)) {
                        refused = Some(note);
                    }
                    if std::mem::take(&mut failures) > 0 {
                        tracing::info!(job = %sender.job.id, execution = %sender.execution,
                            "its reports are delivered again");
                    }
                    delivery
                        .progress
                        .send_modify(|progress| progress.settled = queued.seq);
                    backoff = Backoff::default();
                }
                Sent::Later(error) => {
                    failures += 1;
                    let wait = backoff.next(error.delay());
                    tracing::warn!(job = %sender.job.id, execution = %sender.execution, report = queued.report.kind(),
                        %error, ?wait, "a report could not be delivered; it is kept and will be retried");
                    delivery
                        .progress
                        .send_modify(|progress| progress.stuck = true);
                    may_have_arrived = true;
                    self.services.clock.sleep(wait).await;
                }
            }
        }
    }

    // Long: one arm per report, and one per verdict.
    async fn send(
        &self,
        sender: &ReportSource<'_>,
        queued: &QueuedReport,
        may_have_arrived: bool,
        refused: Option<&str>,
    ) -> Sent {
        let now = if may_have_arrived {
            match self
                .services
                .control
                .execution(&sender.job.id, sender.execution, RetryPolicy::Once)
                .await
            {
                Ok(record) => Some(record),
                // The execution does not exist; sending the report to its own route shows why.
                Err(error) if error.verdict() == Verdict::Final => None,
                Err(error) => return Sent::Later(error),
            }
        } else {
            None
        };
        let is_present = |part: fn(&ExecutionRecord) -> Option<&Value>| {
            let part = now.as_ref().and_then(part);
            part.is_some_and(|value| !value.is_null())
        };
        let (job, execution) = (&sender.job.id, sender.execution);
        let sent = match &queued.report {
            Report::Status(update) => {
                let update = failed_if_refused(update, refused);
                if let Some(settled) = now.as_ref().and_then(|now| superseded(now, update.status)) {
                    return settled;
                }
                self.services
                    .control
                    .update_execution(job, execution, &update)
                    .await
            }
            Report::Result(_) if is_present(|now| now.result.as_ref()) => {
                return Sent::already_present();
            }
            Report::Result(result) => {
                self.services
                    .control
                    .post_result(job, execution, result)
                    .await
            }
            Report::Outputs(_) if is_present(|now| now.outputs.as_ref()) => {
                return Sent::already_present();
            }
            Report::Outputs(outputs) => {
                self.services
                    .control
                    .post_outputs(job, execution, outputs)
                    .await
            }
            Report::Job(update) => self.services.control.update_job(job, update).await,
        };
        let Err(error) = sent else {
            return Sent::Settled(Settled::Delivered, String::new());
        };
        match error.verdict() {
            Verdict::Accept => Sent::Settled(Settled::Delivered, String::new()),
            Verdict::Retry | Verdict::CheckState | Verdict::Skip => Sent::Later(error),
            Verdict::Reauthenticate => {
                self.services.control.refresh_token();
                Sent::Later(error)
            }
            Verdict::DoneBefore | Verdict::DoneOrRetry if may_have_arrived => {
                self.settle_second_try(sender, &queued.report, error).await
            }
            Verdict::DoneOrRetry => Sent::Later(error),
            Verdict::DoneBefore | Verdict::Final => {
                Sent::Settled(Settled::Refused, error.to_string())
            }
        }
    }

    /// Settles a report that was refused as a second one may be. Only the execution
    /// shows whether an earlier try has arrived: a report that is wrong has the same status.
    async fn settle_second_try(
        &self,
        sender: &ReportSource<'_>,
        report: &Report,
        refusal: ControlError,
    ) -> Sent {
        let control = &self.services.control;
        let read = control.execution(&sender.job.id, sender.execution, RetryPolicy::Once);
        let now = match read.await {
            Ok(now) => now,
            Err(error) => return Sent::Later(error),
        };
        let stored = match report {
            Report::Result(_) => now.result,
            Report::Outputs(_) => now.outputs,
            Report::Status(_) | Report::Job(_) => None,
        };
        match stored {
            Some(value) if !value.is_null() => Sent::already_present(),
            _ if refusal.verdict() == Verdict::DoneOrRetry => Sent::Later(refusal),
            _ => Sent::Settled(Settled::Refused, refusal.to_string()),
        }
    }

    fn log_settled(
        &self,
        sender: &ReportSource<'_>,
        queued: &QueuedReport,
        settled: Settled,
        note: &str,
    ) {
        let (job, execution, report) = (&sender.job.id, sender.execution, queued.report.kind());
        match settled {
            Settled::Delivered => {
                tracing::debug!(%job, %execution, report, note, "report delivered")
            }
            Settled::Refused => {
                tracing::error!(%job, %execution, report, note, "the control plane refused a report for good")
            }
            Settled::Dropped => {
                tracing::warn!(%job, %execution, report, note, "a report is dropped: the control plane has ended the execution with another status")
            }
        }
    }
}

/// Turns a finished status into a failed one if the server refused the job's result.
fn failed_if_refused(update: &StatusUpdate, refused: Option<&str>) -> StatusUpdate {
    match (update.status, refused) {
        (ExecutionStatus::Finished, Some(why)) => StatusUpdate {
            status: ExecutionStatus::Failed,
            status_description: Some(format!("the control plane refused the job's result: {why}")),
        },
        _ => update.clone(),
    }
}

/// Returns how to settle our status without sending it, if the server already has it or has a
/// status that rules it out.
fn superseded(now: &ExecutionRecord, ours: ExecutionStatus) -> Option<Sent> {
    if now.status == ours {
        return Some(Sent::already_present());
    }
    match now.status.transition_to(ours) {
        Ok(_) => None,
        Err(illegal) => Some(Sent::Settled(Settled::Dropped, illegal.to_string())),
    }
}
