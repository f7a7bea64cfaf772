//! Decides which job runs next: polls for available jobs and starts them, oldest first, up to the
//! concurrency limit of each group.
//!
//! One poll serves all groups. If the server supports long polls, each group has its own. A poll
//! reserves nothing, so its result is only a hint: a claim reads the job again.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::Instrument as _;

use super::Worker;
use super::claim::ClaimError;
use super::lifecycle::{AttemptEnd, Start};
use super::malformed::MalformedJobs;
use super::poll_failures::PollFailures;
use super::slots::Slots;
use crate::base::backoff::jitter;
use crate::control::wire::{JobList, JobRecord};
use crate::control::{ControlError, Verdict};
use crate::job::{Group, JobId};
use crate::journal::{Claim, JournalError};

/// Interval between polls for jobs.
pub const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Maximum age of a poll's result; older queued jobs are discarded.
const MAX_POLL_AGE: Duration = Duration::from_secs(1);

/// Snapshot of the dispatch loop, for readiness and heartbeats.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DispatchStatus {
    /// When a poll last succeeded, as time since the clock started.
    pub last_poll: Option<Duration>,
    /// Number of running jobs.
    pub running: usize,
    /// True once every execution of previous processes has been resumed or given up.
    pub recovered: bool,
    /// Number of running jobs that a previous process began.
    pub resumed: usize,
    /// True once the drain has begun.
    pub draining: bool,
}

impl DispatchStatus {
    /// Returns true if executions of a previous process are running, or may still be resumed.
    pub fn may_run_resumed(&self) -> bool {
        !self.recovered || self.resumed > 0
    }
}

/// Summary of how the worker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitSummary {
    /// Number of executions left open for the next process.
    pub suspended: usize,
    /// True if a job asked the process to stop.
    pub stopped_by_job: bool,
}

/// A poll in flight: of one group (a long poll), or of all groups (`None`).
type Poll = BoxFuture<'static, (Option<Group>, Result<JobList, ControlError>)>;

enum JobEnd {
    Ended(AttemptEnd),
    NotClaimed(ClaimError),
}

struct Dispatch {
    worker: Arc<Worker>,
    polls: FuturesUnordered<Poll>,
    /// When the next poll is due, as time since the clock started.
    due: Duration,
    /// Jobs from polls that have not been started, newest first: the oldest is popped from the end.
    queued: BTreeMap<Group, Vec<JobRecord>>,
    polled_at: Duration,
    slots: Slots,
    jobs: JoinSet<(Group, JobId, Result<JobEnd, JournalError>)>,
    /// Groups with a long poll in flight.
    long_polls: HashSet<Group>,
    /// True once the server has answered that it does not support long polls.
    no_long_poll: bool,
    /// Number of polls that have failed since one succeeded.
    failures: PollFailures,
    malformed: MalformedJobs,
    /// Open claims of previous processes that wait for a slot, oldest first.
    to_resume: Vec<Claim>,
    summary: ExitSummary,
}

impl Worker {
    /// Polls and runs jobs until the drain begins, then waits for the running jobs.
    ///
    /// # Errors
    /// [`JournalError`] if the journal fails: nothing can be guaranteed without it.
    pub async fn run(
        self: &Arc<Self>,
        status: &watch::Sender<DispatchStatus>,
    ) -> Result<ExitSummary, JournalError> {
        let mut dispatch = Dispatch {
            worker: self.clone(),
            polls: FuturesUnordered::new(),
            due: Duration::ZERO,
            queued: BTreeMap::new(),
            polled_at: Duration::ZERO,
            slots: Slots::default(),
            jobs: JoinSet::new(),
            long_polls: HashSet::new(),
            no_long_poll: false,
            failures: PollFailures::default(),
            malformed: MalformedJobs::default(),
            to_resume: self.recover().await?,
            summary: ExitSummary {
                suspended: 0,
                stopped_by_job: false,
            },
        };
        dispatch.resume_next();
        while !self.drain.is_stopped() {
            dispatch.poll();
            dispatch.publish(status);
            let due = dispatch.due.saturating_sub(self.services.clock.elapsed());
            tokio::select! {
                biased;
                () = self.drain.stopped() => {}
                Some(ended) = dispatch.jobs.join_next() => dispatch.on_job_end(ended)?,
                Some((group, answer)) = dispatch.polls.next(), if !dispatch.polls.is_empty() => {
                    if dispatch.on_poll_response(group, answer) {
                        status.send_modify(|status| status.last_poll = Some(self.services.clock.elapsed()));
                    }
                }
                // A poll that is due has been sent above. If none could be sent, only the end of a
                // job or of a poll changes that, so no timer is needed.
                () = self.services.clock.sleep(due), if !due.is_zero() => {}
            }
        }
        // No job is claimed from here on. Running jobs go to their end, or to the end of their
        // cancellation.
        status.send_modify(|status| status.draining = true);
        dispatch.polls.clear();
        dispatch.summary.suspended += dispatch.to_resume.len();
        while let Some(ended) = dispatch.jobs.join_next().await {
            dispatch.on_job_end(ended)?;
            dispatch.publish(status);
        }
        self.background.abort_all();
        self.closing_logs.finish().await;
        Ok(dispatch.summary)
    }
}

impl Dispatch {
    fn publish(&self, status: &watch::Sender<DispatchStatus>) {
        status.send_modify(|status| {
            status.running = self.jobs.len();
            status.recovered = self.to_resume.is_empty();
            status.resumed = self.slots.resumed();
        });
    }

    fn free_slots(&self, group: &Group) -> usize {
        let limit = self
            .worker
            .config
            .concurrency
            .unwrap_or_else(|| self.worker.settings.borrow().parallelism(group));
        limit.saturating_sub(self.slots.taken(group))
    }

    // ---- polls ----

    /// Sends the polls that are due.
    fn poll(&mut self) {
        let now = self.worker.services.clock.elapsed();
        if self.worker.settings.borrow().long_poll_jobs && !self.no_long_poll {
            if now < self.due {
                return;
            }
            for group in self.worker.services.groups.clone() {
                if self.free_slots(&group) > 0 && self.long_polls.insert(group.clone()) {
                    let control = self.worker.services.control.clone();
                    self.polls.push(Box::pin(async move {
                        let answer = control.jobs_tail(&group).await;
                        (Some(group), answer)
                    }));
                }
            }
        } else if now >= self.due && self.polls.is_empty() {
            let control = self.worker.services.control.clone();
            self.polls
                .push(Box::pin(async move { (None, control.jobs().await) }));
        }
    }

    /// Handles the response to a poll. Returns true if the poll succeeded.
    fn on_poll_response(
        &mut self,
        group: Option<Group>,
        answer: Result<JobList, ControlError>,
    ) -> bool {
        let now = self.worker.services.clock.elapsed();
        if let Some(group) = &group {
            self.long_polls.remove(group);
        }
        match answer {
            Ok(JobList { jobs, malformed }) => {
                self.malformed.tell(malformed);
                self.worker
                    .services
                    .metrics
                    .poll(if jobs.is_empty() { "empty" } else { "jobs" });
                // The next long poll follows at once, as does the one after an outage.
                let is_recovered = self.failures.end();
                self.due = if group.is_some() || is_recovered {
                    now
                } else {
                    now + jitter(POLL_INTERVAL)
                };
                self.enqueue(jobs);
                true
            }
            Err(error) if group.is_some() && error.is_status(404) => {
                tracing::info!(
                    "the control plane does not support long polls; polling once a second instead"
                );
                self.no_long_poll = true;
                false
            }
            Err(error) => {
                self.worker.services.metrics.poll("error");
                if error.verdict() == Verdict::Reauthenticate {
                    self.worker.services.control.refresh_token();
                }
                self.due = now + self.failures.add(&error);
                false
            }
        }
    }

    fn enqueue(&mut self, jobs: Vec<JobRecord>) {
        self.polled_at = self.worker.services.clock.elapsed();
        let groups: HashSet<Group> = jobs.iter().map(|job| job.group.clone()).collect();
        for job in jobs {
            let is_ours = self.slots.is_running(&job.id)
                || self.to_resume.iter().any(|claim| claim.job.id == job.id);
            if self.worker.services.groups.contains(&job.group) && !is_ours {
                let queued = self.queued.entry(job.group.clone()).or_default();
                queued.retain(|known| known.id != job.id);
                queued.push(job);
            }
        }
        for group in groups {
            if let Some(queued) = self.queued.get_mut(&group) {
                // Newest first: the oldest job is popped from the end.
                queued.sort_by(|a, b| {
                    b.created_at
                        .cmp(&a.created_at)
                        .then_with(|| b.id.cmp(&a.id))
                });
            }
            self.start_next(&group);
        }
    }

    // ---- jobs ----

    /// Starts as many queued jobs of a group as there are free slots. Executions of previous
    /// processes come first.
    fn start_next(&mut self, group: &Group) {
        if self.to_resume.iter().any(|claim| claim.job.group == *group) {
            return;
        }
        while self.free_slots(group) > 0 && !self.worker.drain.is_stopped() {
            let Some(record) = self.queued.get_mut(group).and_then(Vec::pop) else {
                return;
            };
            let (worker, group, id) = (self.worker.clone(), group.clone(), record.id);
            let slot = self.slots.take(group.clone(), id.clone(), false);
            let span = tracing::info_span!("job", job = %id);
            let work = async move {
                let _slot = slot;
                let end = worker.claim_and_run(&id).await;
                (group, id, end)
            };
            self.jobs.spawn(work.instrument(span));
        }
    }

    /// Resumes as many executions of previous processes as there are free slots. They respect the
    /// concurrency limit: recovery never needs more resources than normal work.
    fn resume_next(&mut self) {
        for claim in std::mem::take(&mut self.to_resume) {
            let (group, id) = (claim.job.group.clone(), claim.job.id.clone());
            let has_room = self.free_slots(&group) > 0 && !self.slots.is_running(&id);
            if !has_room || self.worker.drain.is_stopped() {
                self.to_resume.push(claim);
                continue;
            }
            let slot = self.slots.take(group.clone(), id.clone(), true);
            let worker = self.worker.clone();
            let span = tracing::info_span!("job", job = %id);
            let work = async move {
                let _slot = slot;
                let end = worker.resume_and_run(claim).await.map(JobEnd::Ended);
                (group, id, end)
            };
            self.jobs.spawn(work.instrument(span));
        }
    }

    fn on_job_end(
        &mut self,
        ended: Result<(Group, JobId, Result<JobEnd, JournalError>), tokio::task::JoinError>,
    ) -> Result<(), JournalError> {
        // A panic outside of the steps: the task has freed its slot, and the process goes on.
        let Ok((group, job, end)) = ended else {
            tracing::error!(
                "a job's task panicked outside of its steps; this is a fault of the runner"
            );
            self.resume_next();
            for group in self.worker.services.groups.clone() {
                self.start_next(&group);
            }
            return Ok(());
        };
        match end? {
            JobEnd::Ended(AttemptEnd::Recorded) => {}
            JobEnd::Ended(AttemptEnd::Suspended) => self.summary.suspended += 1,
            JobEnd::Ended(AttemptEnd::StopProcess) => {
                self.summary.stopped_by_job = true;
                self.worker
                    .drain
                    .stop(crate::base::stop::StopCause::Shutdown);
            }
            JobEnd::NotClaimed(ClaimError::Draining { is_open }) => {
                self.summary.suspended += usize::from(is_open);
            }
            JobEnd::NotClaimed(ClaimError::Gone) => {
                tracing::debug!(%job, "the job is no longer available")
            }
            JobEnd::NotClaimed(error) => tracing::warn!(%job, %error, "a job was not claimed"),
        }
        let now = self.worker.services.clock.elapsed();
        if now.saturating_sub(self.polled_at) > MAX_POLL_AGE {
            self.queued.clear();
        }
        self.resume_next();
        self.start_next(&group);
        if self.queued.get(&group).is_none_or(Vec::is_empty) && self.due <= now + POLL_INTERVAL * 2
        {
            self.due = now;
        }
        Ok(())
    }
}

impl Worker {
    /// Claims a job and runs it.
    async fn claim_and_run(self: &Arc<Self>, id: &JobId) -> Result<JobEnd, JournalError> {
        let (job, claimed) = match self.claim(id).await {
            Ok(claimed) => claimed,
            Err(ClaimError::Journal(error)) => return Err(error),
            Err(error) => return Ok(JobEnd::NotClaimed(error)),
        };
        let start = Start {
            job,
            claimed,
            spent: Duration::ZERO,
            resumed: false,
        };
        self.run_execution(start).await.map(JobEnd::Ended)
    }
}
