//! Waits until objects are ready, or until it is known that they will not be.
//!
//! What is ready is said by kstatus ([`readiness`](crate::cluster::health::readiness)), by rules of
//! the user over the object, or by the annotation that turns waiting off. Objects are watched; of
//! those that are not ready it is looked every second why, and when there is no hope the wait ends,
//! long before its deadline.

mod pending;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use pending::Pending;
use serde_json::{Value, json};

use crate::base::counted::counted;
use crate::cluster::client::discovery::ServedKinds;
use crate::cluster::client::watch::{WatchUpdate, Watches};
use crate::cluster::client::{Api, ClusterError};
use crate::cluster::health::cause::StatusCause;
use crate::cluster::health::readiness::{Readiness, Status, compute_status};
use crate::cluster::health::rule::{Answers, Rules};
use crate::cluster::health::{job, rule};
use crate::manifest::managed_fields::is_annotated_by_others;
use crate::manifest::{Object, ObjectId};

/// Annotation and value that turn waiting for an object off.
pub const ANNOTATION: (&str, &str) = ("nuon.co/wait", "disabled");

/// Interval between diagnoses of objects that are not ready.
const DIAGNOSIS_INTERVAL: Duration = Duration::from_secs(1);

/// Interval between progress messages.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(15);

/// Maximum number of objects that a progress message names.
const MAX_NAMED: usize = 3;

/// Maximum time that an object may be unready during the bake time: scaling, for example, is not a
/// fault.
const UNREADY_GRACE: Duration = Duration::from_secs(15);

/// Grace period for failures that may predate this deploy.
const PRE_DEPLOY_GRACE: Duration = Duration::from_secs(60);

/// Timeout of one diagnosis, and of the final reads.
const DIAGNOSIS_TIMEOUT: Duration = Duration::from_secs(15);

/// Maximum number of objects to diagnose per interval.
const MAX_DIAGNOSED: usize = 10;

/// Maximum number of objects to diagnose after the deadline.
const MAX_DIAGNOSED_AT_END: usize = 50;

/// Maximum number of objects to read again after the deadline.
const MAX_REREAD: usize = 200;

/// How long reads must have been refused for lack of authentication: an API server that is busy
/// may refuse valid credentials for a moment.
const UNAUTHORIZED_GRACE: Duration = Duration::from_secs(10);

/// Maximum number of concurrent reads.
const MAX_CONCURRENT: usize = 8;

/// How to wait for objects.
#[derive(Debug, Clone)]
pub struct WaitOptions {
    /// Maximum time until all objects are ready.
    pub timeout: Duration,
    /// Deadline for the whole wait, bake time included, in the clock's elapsed time.
    pub until: Option<Duration>,
    /// Time that all objects must then stay ready.
    pub bake: Duration,
    /// The operator's readiness rules, and what authors may relax.
    pub rules: Rules,
}

/// An object that is not ready.
#[derive(Debug, Clone, PartialEq)]
pub struct NotReady {
    /// Subject of the object: `Kind/namespace/name`.
    pub subject: String,
    /// Last status that was computed.
    pub readiness: Readiness,
    /// Why it is not ready.
    pub cause: StatusCause,
}

impl NotReady {
    /// Returns the object as a JSON document.
    pub fn document(&self) -> Value {
        json!({"object": self.subject, "status": self.readiness.document(), "cause": self.cause.document()})
    }
}

/// How a wait ended.
#[derive(Debug)]
pub enum WaitOutcome {
    /// All objects are ready.
    Ready,
    /// Some objects cannot recover without intervention.
    Unrecoverable(Vec<NotReady>),
    /// Some objects were not ready before the deadline, and a sentence about it.
    TimedOut(Vec<NotReady>, String),
    /// The cluster no longer accepts the credentials, as for example when a token has expired that
    /// cannot be renewed.
    Unauthorized(ClusterError),
    /// The job was stopped.
    Stopped,
}

/// How a wait ended, and which Jobs succeeded meanwhile.
#[derive(Debug)]
pub struct Waited {
    /// How it ended.
    pub outcome: WaitOutcome,
    /// Jobs that succeeded; they may have removed themselves.
    pub finished: BTreeSet<ObjectId>,
}

/// Waits for objects, given as they were last read or written. Reports to `progress` each object
/// that becomes ready, and why others are not.
pub async fn wait(
    api: &Api,
    served: &ServedKinds,
    objects: Vec<Object>,
    options: &WaitOptions,
    progress: &(dyn Fn(&str) + Sync),
) -> Waited {
    let mut pending = Pending {
        last: None,
        api,
        served,
        rules: &options.rules,
        progress,
        objects: BTreeMap::new(),
        finished: BTreeSet::new(),
        unauthorized: None,
    };
    let outcome = wait_for(&mut pending, objects, options).await;
    Waited {
        outcome,
        finished: pending.finished,
    }
}

// Long: every branch of the loop reads its deadlines.
async fn wait_for(
    pending: &mut Pending<'_>,
    objects: Vec<Object>,
    options: &WaitOptions,
) -> WaitOutcome {
    let Pending {
        api,
        served,
        progress,
        ..
    } = *pending;
    for object in &objects {
        pending.update(object.clone()).await;
    }
    let begun = api.clock.elapsed();
    let end = options.deadline(begun + options.timeout);
    // With a bake time, objects that are ready already are watched too.
    let baking = options.bake > Duration::ZERO;
    let watched: Vec<&Object> = objects
        .iter()
        .filter(|object| baking || pending.objects.contains_key(&object.id()))
        .collect();
    let mut watches = Watches::start(api, served, watched.into_iter());
    if !pending.objects.is_empty() {
        progress(&format!(
            "waiting for {}, for at most {} s",
            counted(pending.objects.len(), "object"),
            end.saturating_sub(api.clock.elapsed()).as_secs()
        ));
    }
    let mut next_diagnosis = api.clock.elapsed() + DIAGNOSIS_INTERVAL;
    let mut next_progress = api.clock.elapsed() + PROGRESS_INTERVAL;
    // When all objects became ready, and since when some are unready again.
    let mut ready_since: Option<Duration> = None;
    let mut unready_since: Option<Duration> = None;
    loop {
        let now = api.clock.elapsed();
        if pending.objects.is_empty() {
            unready_since = None;
            if now >= options.deadline(*ready_since.get_or_insert(now) + options.bake) {
                return WaitOutcome::Ready;
            }
        } else if ready_since.is_some() {
            unready_since.get_or_insert(now);
        }
        let until = if ready_since.is_none() {
            next_diagnosis.min(end)
        } else {
            next_diagnosis
        }
        .saturating_sub(now);
        let seen = tokio::select! {
            () = api.stop.stopped() => return WaitOutcome::Stopped,
            seen = watches.next() => Some(seen),
            () = api.clock.sleep(until) => None,
        };
        match seen {
            Some(WatchUpdate::Object(object)) => pending.update(object).await,
            Some(WatchUpdate::Deleted(id)) => {
                pending.handle_deletion(&id, objects.iter().find(|object| object.id() == id))
            }
            Some(WatchUpdate::Unwatched(words)) => progress(&words),
            None => {}
        }
        let now = api.clock.elapsed();
        if now >= next_diagnosis {
            if pending.diagnose_next(now).await {
                return WaitOutcome::Unrecoverable(pending.causes());
            }
            if let Some(error) = pending.unauthorized(now).await {
                return WaitOutcome::Unauthorized(error);
            }
            next_diagnosis = api.clock.elapsed() + DIAGNOSIS_INTERVAL;
        }
        if now >= next_progress && !pending.objects.is_empty() {
            progress(&pending.progress_line());
            // A watch that is open outlives its credentials, and a diagnosis may read nothing.
            pending.reread(1).await;
            next_progress = now + PROGRESS_INTERVAL;
        }
        let is_late = match (ready_since, unready_since) {
            (None, _) => now >= end,
            (Some(_), Some(lost)) => now >= options.deadline(lost + UNREADY_GRACE),
            (Some(_), None) => false,
        };
        if is_late && !pending.objects.is_empty() {
            // A watch may have missed changes.
            pending.reread(MAX_REREAD).await;
            if let Some(error) = pending.unauthorized(Duration::MAX).await {
                return WaitOutcome::Unauthorized(error);
            }
            if !pending.objects.is_empty() {
                pending
                    .diagnose(pending.unexplained(), api.clock.elapsed())
                    .await;
                let waited = api.clock.elapsed().saturating_sub(begun);
                return WaitOutcome::TimedOut(pending.causes(), options.limit(waited));
            }
        }
    }
}

impl WaitOptions {
    /// Returns a sentence about a wait that has ended after this time without success.
    fn limit(&self, waited: Duration) -> String {
        let seconds = waited.as_secs();
        match waited < self.timeout {
            true => format!(
                "the wait has ended after {seconds} s, because the job's time is nearly over"
            ),
            false => format!("the wait has ended after {seconds} s (deploy.wait_timeout)"),
        }
    }

    /// Returns `time` or [`until`](Self::until), whichever is earlier, in the clock's elapsed time.
    pub fn deadline(&self, time: Duration) -> Duration {
        self.until.map_or(time, |until| time.min(until))
    }
}

/// Computes the readiness that the wait uses: by the operator's rule if there is one, else by
/// kstatus, where a Job is ready only when it has ended; and by the object's own rule, which must
/// hold too. The object's rule replaces the others only where the author may relax them.
pub async fn readiness(object: &Object, rules: &Rules, now: Timestamp) -> Readiness {
    let may =
        |is_relaxed: bool, key| is_relaxed || is_annotated_by_others(object, key, &rules.manager);
    if object.annotation(ANNOTATION.0) == Some(ANNOTATION.1)
        && may(rules.author_may_skip_wait, ANNOTATION.0)
    {
        let message = "waiting is turned off for it".to_owned();
        return Readiness {
            status: Status::Current,
            message,
            reason: String::new(),
            detail: None,
        };
    }
    let Answers { operator, author } = rules.evaluate(object).await;
    match author {
        Some(author) if !author.is_current() || may(rules.author_may_replace, rule::ANNOTATION) => {
            author
        }
        author => {
            let found = operator.unwrap_or_else(|| status_by_kstatus(object, now));
            author.filter(|_| found.is_current()).unwrap_or(found)
        }
    }
}

/// Computes the status by kstatus, except that a Job counts as in progress until it has ended.
fn status_by_kstatus(object: &Object, now: Timestamp) -> Readiness {
    match compute_status(object, now) {
        Ok(answer) if answer.is_current() && is_running(object) => Readiness {
            status: Status::InProgress,
            reason: "JobInProgress".into(),
            ..answer
        },
        Ok(answer) => answer,
        Err(error) => Readiness {
            status: Status::Unknown,
            message: error.to_string(),
            reason: "Unreadable".into(),
            detail: None,
        },
    }
}

fn is_running(object: &Object) -> bool {
    job::is_job(object) && job::end(object).is_none()
}

/// Returns a sentence for each live object that is not ready.
pub async fn unhealthy(
    objects: impl Iterator<Item = &Object>,
    rules: &Rules,
    now: Timestamp,
) -> Vec<String> {
    let mut unhealthy = Vec::new();
    for live in objects {
        let found = readiness(live, rules, now).await;
        if !found.is_current() {
            unhealthy.push(format!(
                "{} is {}: {}",
                live.subject(),
                found.status.word(),
                found.message
            ));
        }
    }
    unhealthy
}

/// Returns the objects that are not ready as a JSON document.
pub fn document(not_ready: &[NotReady]) -> Value {
    json!(not_ready.iter().map(NotReady::document).collect::<Vec<_>>())
}
