//! Which job next: polls for available jobs and starts them, oldest first, as many of each group
//! as may run at once.
//!
//! One poll serves all groups; where the server holds polls, each group has one held call. A poll
//! reserves nothing, so what it saw is only a hint: a claim reads the job again.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Worker;
use super::claim::ClaimError;
use super::lifecycle::{Ended, Start};
use crate::base::backoff::{LONGEST_SERVER_DELAY, jitter, stretch};
use crate::control::wire::JobRecord;
use crate::control::{ControlError, Verdict};
use crate::job::{Group, JobId};
use crate::journal::JournalError;

/// How often the list of jobs is asked for.
pub const POLL_PERIOD: Duration = Duration::from_secs(1);

/// How often it is asked for while the control plane is in trouble.
const TROUBLED_PERIOD: Duration = Duration::from_secs(10);

/// How long what a poll saw is trusted to name the next job.
const FRESH: Duration = Duration::from_secs(1);

/// What the dispatch loop says of itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Turn {
    /// When the last poll was answered, on the clock's count.
    pub polled: Option<Duration>,
    /// Jobs under way.
    pub running: usize,
    /// Whether all that earlier processes left was looked at.
    pub recovered: bool,
    /// Jobs under way that an earlier process began.
    pub inherited: usize,
}

impl Turn {
    /// Whether executions of an earlier process are, or may be, under way.
    pub fn is_inheriting(&self) -> bool {
        !self.recovered || self.inherited > 0
    }
}

/// How the worker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Executions that were left open for the next process.
    pub left: usize,
    /// Whether a job asked for the end.
    pub by_job: bool,
}

/// A poll on its way: of a group, or of all of them.
type Poll = BoxFuture<'static, (Option<Group>, Result<Vec<JobRecord>, ControlError>)>;

enum JobEnd {
    Ended(Ended),
    NotClaimed(ClaimError),
}

struct Dispatch {
    worker: Arc<Worker>,
    polls: FuturesUnordered<Poll>,
    /// When the next poll of all groups is due, on the clock's count.
    due: Duration,
    /// What the last poll saw, oldest first, not yet started.
    seen: BTreeMap<Group, Vec<JobRecord>>,
    seen_at: Duration,
    running: HashMap<Group, HashSet<JobId>>,
    /// Those of them that an earlier process began.
    inherited: HashSet<JobId>,
    jobs: JoinSet<(Group, JobId, Result<JobEnd, JournalError>)>,
    /// Groups whose held poll is under way.
    held: HashSet<Group>,
    /// Whether the server has shown that it holds no polls.
    no_tail: bool,
    drained: Drained,
}

impl Worker {
    /// Polls and works until the drain begins, then waits for the jobs under way.
    ///
    /// # Errors
    /// [`JournalError`]: without the journal nothing can be promised.
    pub async fn run(
        self: &Arc<Self>,
        turns: &watch::Sender<Turn>,
    ) -> Result<Drained, JournalError> {
        let mut dispatch = Dispatch {
            worker: self.clone(),
            polls: FuturesUnordered::new(),
            due: Duration::ZERO,
            seen: BTreeMap::new(),
            seen_at: Duration::ZERO,
            running: HashMap::new(),
            inherited: HashSet::new(),
            jobs: JoinSet::new(),
            held: HashSet::new(),
            no_tail: false,
            drained: Drained {
                left: 0,
                by_job: false,
            },
        };
        dispatch.resume().await?;
        turns.send_modify(|turn| turn.recovered = true);
        while !self.drain.is_stopped() {
            dispatch.poll();
            dispatch.tell(turns);
            let due = dispatch.due.saturating_sub(self.clock.elapsed());
            tokio::select! {
                biased;
                () = self.drain.stopped() => {}
                Some(ended) = dispatch.jobs.join_next() => dispatch.ended(ended)?,
                Some((group, answer)) = dispatch.polls.next(), if !dispatch.polls.is_empty() => {
                    if dispatch.answered(group, answer) {
                        turns.send_modify(|turn| turn.polled = Some(self.clock.elapsed()));
                    }
                }
                // A poll that is due was sent above; if none was, only the end of a job can change that.
                () = self.clock.sleep(due), if !due.is_zero() => {}
            }
        }
        // No claim from here on; what is under way goes to its end, or to the end of its stop.
        dispatch.polls.clear();
        while let Some(ended) = dispatch.jobs.join_next().await {
            dispatch.ended(ended)?;
            dispatch.tell(turns);
        }
        self.background.end();
        Ok(dispatch.drained)
    }
}

impl Dispatch {
    fn tell(&self, turns: &watch::Sender<Turn>) {
        turns.send_modify(|turn| {
            turn.running = self.jobs.len();
            turn.inherited = self.inherited.len();
        });
    }

    fn room(&self, group: &Group) -> usize {
        let most = self
            .worker
            .concurrency
            .unwrap_or_else(|| self.worker.settings.borrow().parallelism(group));
        most.saturating_sub(self.running.get(group).map_or(0, HashSet::len))
    }

    fn is_running(&self, group: &Group, job: &JobId) -> bool {
        self.running
            .get(group)
            .is_some_and(|jobs| jobs.contains(job))
    }

    // ---- polls ----

    /// Sends the polls that are due.
    fn poll(&mut self) {
        let now = self.worker.clock.elapsed();
        if self.worker.settings.borrow().long_poll_jobs && !self.no_tail {
            if now < self.due {
                return;
            }
            for group in self.worker.groups.clone() {
                if self.room(&group) > 0 && self.held.insert(group.clone()) {
                    let control = self.worker.control.clone();
                    self.polls.push(Box::pin(async move {
                        let answer = control.jobs_tail(&group).await;
                        (Some(group), answer)
                    }));
                }
            }
        } else if now >= self.due && self.polls.is_empty() {
            let control = self.worker.control.clone();
            self.polls
                .push(Box::pin(async move { (None, control.jobs().await) }));
        }
    }

    /// Takes the answer of a poll; true if it was a good one.
    fn answered(
        &mut self,
        group: Option<Group>,
        answer: Result<Vec<JobRecord>, ControlError>,
    ) -> bool {
        let now = self.worker.clock.elapsed();
        if let Some(group) = &group {
            self.held.remove(group);
        }
        match answer {
            Ok(jobs) => {
                self.worker
                    .metrics
                    .poll(if jobs.is_empty() { "empty" } else { "jobs" });
                // A held poll that came back is sent again at once.
                self.due = if group.is_some() {
                    now
                } else {
                    now + jitter(POLL_PERIOD)
                };
                self.see(jobs);
                true
            }
            Err(error) if group.is_some() && error.is_status(404) => {
                tracing::info!(
                    "the control plane does not hold polls; asking once a second instead"
                );
                self.no_tail = true;
                false
            }
            Err(error) => {
                self.worker.metrics.poll("error");
                if error.verdict() == Verdict::Reauthenticate {
                    self.worker.control.refresh_token();
                }
                let asked = error.delay().unwrap_or_default().min(LONGEST_SERVER_DELAY);
                let wait = stretch(TROUBLED_PERIOD.max(asked));
                tracing::warn!(%error, ?wait, "the poll for jobs failed");
                self.due = now + wait;
                false
            }
        }
    }

    fn see(&mut self, jobs: Vec<JobRecord>) {
        self.seen_at = self.worker.clock.elapsed();
        let groups: HashSet<Group> = jobs.iter().map(|job| job.group.clone()).collect();
        for job in jobs {
            if self.worker.groups.contains(&job.group) && !self.is_running(&job.group, &job.id) {
                let seen = self.seen.entry(job.group.clone()).or_default();
                seen.retain(|known| known.id != job.id);
                seen.push(job);
            }
        }
        for group in groups {
            if let Some(seen) = self.seen.get_mut(&group) {
                // The oldest last, where it is taken from.
                seen.sort_by(|a, b| {
                    b.created_at
                        .cmp(&a.created_at)
                        .then_with(|| b.id.cmp(&a.id))
                });
            }
            self.start_next(&group);
        }
    }

    // ---- jobs ----

    /// Starts as many seen jobs of a group as there is room for.
    fn start_next(&mut self, group: &Group) {
        while self.room(group) > 0 && !self.worker.drain.is_stopped() {
            let Some(record) = self.seen.get_mut(group).and_then(Vec::pop) else {
                return;
            };
            self.running
                .entry(group.clone())
                .or_default()
                .insert(record.id.clone());
            let (worker, group, id) = (self.worker.clone(), group.clone(), record.id);
            self.jobs.spawn(async move {
                let end = worker.take(&id).await;
                (group, id, end)
            });
        }
    }

    /// Drives on what earlier processes left, before anything new is polled for.
    async fn resume(&mut self) -> Result<(), JournalError> {
        for start in self.worker.recover().await? {
            let (group, id) = (start.job.group.clone(), start.job.id.clone());
            // Recovery is paced: it never needs more than steady work does.
            while self.room(&group) == 0 {
                match self.jobs.join_next().await {
                    Some(ended) => self.ended(ended)?,
                    None => break,
                }
            }
            self.running
                .entry(group.clone())
                .or_default()
                .insert(id.clone());
            self.inherited.insert(id.clone());
            let worker = self.worker.clone();
            self.jobs.spawn(async move {
                let end = worker.drive(start).await.map(JobEnd::Ended);
                (group, id, end)
            });
        }
        Ok(())
    }

    fn ended(
        &mut self,
        ended: Result<(Group, JobId, Result<JobEnd, JournalError>), tokio::task::JoinError>,
    ) -> Result<(), JournalError> {
        // A panic outside of the steps: the job's place is not known, but the process goes on.
        let Ok((group, job, end)) = ended else {
            tracing::error!(
                "a job's task panicked outside of its steps; this is a fault of the runner"
            );
            return Ok(());
        };
        if let Some(jobs) = self.running.get_mut(&group) {
            jobs.remove(&job);
        }
        self.inherited.remove(&job);
        match end? {
            JobEnd::Ended(Ended::Settled) => {}
            JobEnd::Ended(Ended::Left) => self.drained.left += 1,
            JobEnd::Ended(Ended::StopProcess) => {
                self.drained.by_job = true;
                self.worker.drain.stop(crate::base::stop::Cause::Shutdown);
            }
            JobEnd::NotClaimed(ClaimError::Gone) => {
                tracing::debug!(%job, "somebody else was faster")
            }
            JobEnd::NotClaimed(error) => tracing::warn!(%job, %error, "a job was not claimed"),
        }
        let now = self.worker.clock.elapsed();
        if now.saturating_sub(self.seen_at) > FRESH {
            self.seen.clear();
        }
        self.start_next(&group);
        if self.seen.get(&group).is_none_or(Vec::is_empty) && self.due <= now + POLL_PERIOD * 2 {
            self.due = now;
        }
        Ok(())
    }
}

impl Worker {
    /// Claims a job and drives it.
    async fn take(self: &Arc<Self>, id: &JobId) -> Result<JobEnd, JournalError> {
        let (job, claimed) = match self.claim(id).await {
            Ok(claimed) => claimed,
            Err(ClaimError::Journal(error)) => return Err(error),
            Err(error) => return Ok(JobEnd::NotClaimed(error)),
        };
        let start = Start {
            job,
            claimed,
            spent: Duration::ZERO,
            outcome: None,
            inherited: false,
            crashes: 0,
        };
        self.drive(start).await.map(JobEnd::Ended)
    }
}
