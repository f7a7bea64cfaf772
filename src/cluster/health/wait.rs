//! Waits until objects are ready, or until it is known that they will not be.
//!
//! What is ready is said by kstatus ([`readiness`](crate::cluster::health::readiness)), by rules of the user over the object, or
//! by the annotation that turns waiting off. Objects are watched; of those that are not ready it is looked every
//! second why, and when there is no hope the wait ends, long before its deadline.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cluster::client::Api;
use crate::cluster::client::discovery::Served;
use crate::cluster::client::watch::{Seen, Watches};
use crate::cluster::health::cause::Cause;
use crate::cluster::health::readiness::{Readiness, Status, judge};
use crate::cluster::health::rule::{Answers, Rules};
use crate::cluster::health::{cause, rule};
use crate::manifest::managed_fields::is_annotated_by_others;
use crate::manifest::{Object, ObjectId};

/// Turns waiting for an object off.
pub const ANNOTATION: (&str, &str) = ("nuon.co/wait", "disabled");

/// How often it is looked why objects are not ready.
const LOOK: Duration = Duration::from_secs(1);

/// How often it is told what is waited for.
const WORD: Duration = Duration::from_secs(15);

/// Objects that are named when it is.
const MOST_NAMED: usize = 3;

/// How long an object may be unready while it has to stay ready: a change of its size is no fault.
const LAPSE: Duration = Duration::from_secs(15);

/// How long causes are borne that may have been there before the deploy.
const INHERITED: Duration = Duration::from_secs(60);

/// The longest that one look may take.
const LONGEST_LOOK: Duration = Duration::from_secs(15);

/// Objects that are looked at each time.
const MOST_LOOKED_AT: usize = 10;

/// Objects that are looked at when the time is over.
const MOST_EXPLAINED: usize = 50;

/// Objects that are read once more when the time is over.
const MOST_READ: usize = 200;

/// Reads at once.
const AT_ONCE: usize = 8;

/// How objects are waited for.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// The longest that is waited.
    pub timeout: Duration,
    /// When it must have ended, baking included, by the clock's elapsed time.
    pub until: Option<Duration>,
    /// How long objects must then stay ready.
    pub bake: Duration,
    /// Rules of the user.
    pub rules: Rules,
}

/// An object that is not ready.
#[derive(Debug, Clone, PartialEq)]
pub struct NotReady {
    /// The object.
    pub subject: String,
    /// How far it is.
    pub readiness: Readiness,
    /// Why.
    pub cause: Cause,
}

impl NotReady {
    /// As a document.
    pub fn document(&self) -> Value {
        json!({"object": self.subject, "status": self.readiness.document(), "cause": self.cause.document()})
    }
}

/// How a wait ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Waited {
    /// All objects are ready.
    Ready,
    /// Some will not be.
    Hopeless(Vec<NotReady>),
    /// Some were not in time.
    Late(Vec<NotReady>),
    /// It was stopped.
    Stopped,
}

/// Waits for objects, as they were just read or written. `told` hears of each that becomes ready, and why others
/// are not.
pub async fn wait(
    api: &Api,
    served: &Served,
    objects: Vec<Object>,
    waiting: &Waiting,
    told: &(dyn Fn(&str) + Sync),
) -> Waited {
    let mut pending = Pending {
        last: None,
        api,
        served,
        rules: &waiting.rules,
        told,
        objects: BTreeMap::new(),
    };
    for object in &objects {
        pending.see(object.clone()).await;
    }
    let end = waiting.end(api.clock.elapsed() + waiting.timeout);
    // Those that are ready are watched as long as they have to stay so.
    let baking = waiting.bake > Duration::ZERO;
    let watched: Vec<&Object> = objects
        .iter()
        .filter(|object| baking || pending.objects.contains_key(&object.id()))
        .collect();
    let mut watches = Watches::begin(api, served, watched.into_iter());
    if !pending.objects.is_empty() {
        told(&format!(
            "waits for {} objects, for at most {} s",
            pending.objects.len(),
            waiting.timeout.as_secs()
        ));
    }
    let mut next_look = api.clock.elapsed() + LOOK;
    let mut next_word = api.clock.elapsed() + WORD;
    // When all were ready, and since when, after that, some are not any more.
    let mut all_ready: Option<Duration> = None;
    let mut lost: Option<Duration> = None;
    loop {
        let now = api.clock.elapsed();
        if pending.objects.is_empty() {
            lost = None;
            if now >= waiting.end(*all_ready.get_or_insert(now) + waiting.bake) {
                return Waited::Ready;
            }
        } else if all_ready.is_some() {
            lost.get_or_insert(now);
        }
        let until = if all_ready.is_none() {
            next_look.min(end)
        } else {
            next_look
        }
        .saturating_sub(now);
        let seen = tokio::select! {
            () = api.stop.stopped() => return Waited::Stopped,
            seen = watches.next() => Some(seen),
            () = api.clock.sleep(until) => None,
        };
        match seen {
            Some(Seen::Object(object)) => pending.see(object).await,
            Some(Seen::Gone(id)) => {
                pending.gone(&id, objects.iter().find(|object| object.id() == id))
            }
            Some(Seen::Unwatched(words)) => told(&words),
            None => {}
        }
        let now = api.clock.elapsed();
        if now >= next_look {
            if pending.look(now).await {
                return Waited::Hopeless(pending.causes());
            }
            next_look = api.clock.elapsed() + LOOK;
        }
        if now >= next_word && !pending.objects.is_empty() {
            told(&pending.progress());
            next_word = now + WORD;
        }
        let is_late = match (all_ready, lost) {
            (None, _) => now >= end,
            (Some(_), Some(lost)) => now >= waiting.end(lost + LAPSE),
            (Some(_), None) => false,
        };
        if is_late && !pending.objects.is_empty() {
            // A watch may have been silent.
            pending.read().await;
            if !pending.objects.is_empty() {
                pending
                    .look_at(pending.unexplained(), api.clock.elapsed())
                    .await;
                return Waited::Late(pending.causes());
            }
        }
    }
}

impl Waiting {
    /// A time by the clock's elapsed time, or the last if that is sooner.
    pub fn end(&self, time: Duration) -> Duration {
        self.until.map_or(time, |until| time.min(until))
    }
}

/// The objects that are not ready.
struct Pending<'a> {
    /// The last object that was looked at: the next ones come first.
    last: Option<ObjectId>,
    api: &'a Api,
    served: &'a Served,
    rules: &'a Rules,
    told: &'a (dyn Fn(&str) + Sync),
    objects: BTreeMap<ObjectId, One>,
}

struct One {
    object: Object,
    readiness: Readiness,
    cause: Option<Cause>,
    /// Since when it is known to be at fault.
    since: Option<Duration>,
    /// Until when causes are borne, because they may be of before the deploy: its controller had nothing new to look at.
    borne_until: Option<Duration>,
}

impl One {
    /// Takes what was found; what is new of it, as a sentence.
    fn learn(&mut self, found: Option<Cause>, now: Duration) -> Option<String> {
        let of = |cause: &Option<Cause>| {
            let cause = cause.as_ref()?;
            Some((
                cause.code.word,
                cause.code.hope.patience().is_some(),
                cause.chain.get(1).cloned(),
            ))
        };
        let word = |cause: &Option<Cause>| cause.as_ref().map(|cause| cause.code.word);
        let is_new = word(&found) != word(&self.cause);
        if of(&found) != of(&self.cause) {
            self.since = found.as_ref().map(|_| now);
        }
        self.cause = found;
        self.cause.as_ref().filter(|_| is_new).map(Cause::sentence)
    }

    /// Whether it is given up. What others may help is not as long as some of them are on their way, and what may be of
    /// before the deploy not until there was time to see whether that has helped.
    fn is_hopeless(&self, now: Duration, others_come: bool) -> bool {
        let (Some(cause), Some(since)) = (&self.cause, self.since) else {
            return false;
        };
        let Some(patience) = cause.code.hope.patience() else {
            return false;
        };
        let may_be_helped = others_come && cause.code.hope.is_for_others();
        let is_borne = self.borne_until.is_some_and(|until| now < until);
        !may_be_helped && !is_borne && now.saturating_sub(since) >= patience
    }
}

impl Pending<'_> {
    async fn see(&mut self, object: Object) {
        let id = object.id();
        let readiness = readiness(&object, self.rules, self.api.clock.now()).await;
        let known = self.objects.remove(&id);
        if readiness.is_current() {
            if known.is_some() {
                (self.told)(&format!("{id} is ready: {}", readiness.message));
            }
            return;
        }
        let one = match known {
            Some(one) => One {
                object,
                readiness,
                ..one
            },
            None => {
                let observed = object
                    .0
                    .get("status")
                    .and_then(|status| status.get("observedGeneration"));
                let is_old = observed.is_some() && observed == object.metadata("generation");
                let borne_until = is_old.then(|| self.api.clock.elapsed() + INHERITED);
                One {
                    object,
                    readiness,
                    cause: None,
                    since: None,
                    borne_until,
                }
            }
        };
        self.objects.insert(id, one);
    }

    /// A Job that removes itself when it is done is done.
    fn gone(&mut self, id: &ObjectId, object: Option<&Object>) {
        let Some(object) = object else { return };
        let removes_itself = object
            .0
            .get("spec")
            .is_some_and(|spec| spec.get("ttlSecondsAfterFinished").is_some());
        if id.kind == "Job" && removes_itself {
            self.objects.remove(id);
            return;
        }
        let readiness = Readiness {
            status: Status::NotFound,
            message: "it was deleted while it was waited for".into(),
            reason: "Deleted".into(),
            detail: None,
        };
        let one = One {
            object: object.clone(),
            readiness,
            cause: None,
            since: None,
            borne_until: None,
        };
        self.objects.insert(id.clone(), one);
    }

    /// What is waited for, in a line.
    fn progress(&self) -> String {
        let count = self.objects.len();
        let named = self.objects.iter().take(MOST_NAMED);
        let named: Vec<String> = named
            .map(|(id, one)| format!("{id} ({})", one.readiness.message))
            .collect();
        let more = if count > MOST_NAMED {
            format!(" and {} more", count - MOST_NAMED)
        } else {
            String::new()
        };
        format!("still waits for {}{more}", named.join(", "))
    }

    /// Reads the objects once more.
    async fn read(&mut self) {
        let (api, served) = (self.api, self.served);
        let objects: Vec<Object> = self
            .objects
            .values()
            .take(MOST_READ)
            .map(|one| one.object.clone())
            .collect();
        let reads = objects.into_iter().map(|object| async move {
            let resource = served.resource(&object).ok()?;
            api.get(&resource.api, object.namespace(), object.name())
                .await
                .ok()
                .flatten()
        });
        let reads = futures_util::stream::iter(reads.collect::<Vec<_>>())
            .buffer_unordered(AT_ONCE)
            .collect::<Vec<_>>();
        let found = api
            .clock
            .timeout(LONGEST_LOOK, reads)
            .await
            .unwrap_or_default();
        for object in found.into_iter().flatten() {
            self.see(object).await;
        }
    }

    /// Looks why the next objects are not ready; true if for one there is no hope.
    async fn look(&mut self, now: Duration) -> bool {
        let last = self.last.take();
        let (before, after): (Vec<_>, Vec<_>) = self
            .objects
            .keys()
            .partition(|id| Some(*id) <= last.as_ref());
        let ids: Vec<ObjectId> = after
            .into_iter()
            .chain(before)
            .take(MOST_LOOKED_AT)
            .cloned()
            .collect();
        self.last = ids.last().cloned();
        self.look_at(ids, now).await
    }

    /// The first objects of which it is not known why they are not ready.
    fn unexplained(&self) -> Vec<ObjectId> {
        let unexplained = self.objects.iter().filter(|(_, one)| one.cause.is_none());
        unexplained
            .map(|(id, _)| id.clone())
            .take(MOST_EXPLAINED)
            .collect()
    }

    async fn look_at(&mut self, ids: Vec<ObjectId>, now: Duration) -> bool {
        let (api, served) = (self.api, self.served);
        let looks = ids
            .iter()
            .filter_map(|id| self.objects.get(id))
            .map(|one| async move {
                match one.readiness.status {
                    Status::NotFound => Some(Some(cause::gone(&one.object, &one.readiness))),
                    _ => {
                        let look = cause::find(api, served, &one.object, &one.readiness);
                        api.clock.timeout(LONGEST_LOOK, look).await.ok()?.ok()
                    }
                }
            });
        let found = futures_util::future::join_all(looks).await;
        let mut is_hopeless = false;
        for (id, found) in ids.into_iter().zip(found) {
            // What cannot be read in time tells nothing; the deadline does.
            let Some(found) = found else { continue };
            if found.as_ref().is_some_and(Cause::is_of_idle_claim) {
                (self.told)(&format!(
                    "{id} is not waited for: its volume is made when a pod uses it"
                ));
                self.objects.remove(&id);
                continue;
            }
            let others_come = self
                .objects
                .iter()
                .any(|(other, one)| *other != id && one.cause.is_none());
            let Some(one) = self.objects.get_mut(&id) else {
                continue;
            };
            if let Some(words) = one.learn(found, now) {
                (self.told)(&words);
            }
            is_hopeless |= one.is_hopeless(now, others_come);
        }
        is_hopeless
    }

    /// Why each of them is not ready, what is hopeless first.
    fn causes(self) -> Vec<NotReady> {
        let mut all: Vec<NotReady> = self
            .objects
            .into_values()
            .map(|one| NotReady {
                subject: one.object.subject(),
                cause: one
                    .cause
                    .unwrap_or_else(|| cause::unknown(&one.object, &one.readiness)),
                readiness: one.readiness,
            })
            .collect();
        all.sort_by_key(|one| {
            (
                !one.cause.code.hope.is_lost(),
                one.cause.code == cause::code::NOT_READY,
            )
        });
        all
    }
}

/// Whether an object is ready, for those who wait: by the operator's rule, else by kstatus, a Job when it has ended; and
/// by the object's own rule. That alone counts only where the author may relax what others say.
pub async fn readiness(object: &Object, rules: &Rules, now: Timestamp) -> Readiness {
    let may =
        |is_relaxed: bool, key| is_relaxed || is_annotated_by_others(object, key, &rules.manager);
    if object.annotation(ANNOTATION.0) == Some(ANNOTATION.1)
        && may(rules.author_may_skip_wait, ANNOTATION.0)
    {
        let message = "it is not waited for".to_owned();
        return Readiness {
            status: Status::Current,
            message,
            reason: String::new(),
            detail: None,
        };
    }
    let Answers { operator, author } = rules.ask(object).await;
    match author {
        Some(author) if !author.is_current() || may(rules.author_may_replace, rule::ANNOTATION) => {
            author
        }
        author => {
            let found = operator.unwrap_or_else(|| by_itself(object, now));
            author.filter(|_| found.is_current()).unwrap_or(found)
        }
    }
}

/// Whether an object is ready by its own state.
fn by_itself(object: &Object, now: Timestamp) -> Readiness {
    match judge(object, now) {
        Ok(answer) if answer.is_current() && is_running_job(object) => Readiness {
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

fn is_running_job(object: &Object) -> bool {
    if (object.group(), object.kind()) != ("batch", "Job") {
        return false;
    }
    let is_end = |condition: &Value| {
        let text = |member: &str| {
            condition
                .get(member)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        ["Complete", "Failed"].contains(&text("type")) && text("status") == "True"
    };
    !object.conditions().any(is_end)
}

/// A list of objects that are not ready, as a document.
pub fn document(not_ready: &[NotReady]) -> Value {
    json!(not_ready.iter().map(NotReady::document).collect::<Vec<_>>())
}
