//! Deletes objects, each only if it still has the UID that was read, and waits until they are gone.
//!
//! Objects that others depend on are deleted later: webhooks first, then custom objects, while the
//! controllers of their finalizers still run and have their permissions, then the rest, then what
//! was applied before the rest, then CRDs, and namespaces last.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::Value;

use crate::base::poll::{Pace, Poll};
use crate::cluster::client::discovery::ServedKinds;
use crate::cluster::client::{Api, ClusterError, live};
use crate::cluster::fields::render;
use crate::cluster::rollout::contents::{Contents, ContentsById, Reader};
use crate::cluster::rollout::refusal::Refusal;
use crate::cluster::rollout::stage::Stage;
use crate::manifest::order::compare;
use crate::manifest::{Object, ObjectId};
use crate::plan::changeset::{Op, ResourceDiff};

/// Maximum number of concurrent deletions.
const MAX_CONCURRENT: usize = 8;

/// Initial and maximum interval between polls for objects to be gone.
const POLL_INTERVALS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Interval between words about what is waited for.
const WORDS_INTERVAL: Duration = Duration::from_secs(10);

/// Outcome of one deletion.
#[derive(Debug, Clone, PartialEq)]
pub enum DeletionOutcome {
    /// The object is gone.
    Gone,
    /// The object still exists, for this reason.
    Remaining(String),
    /// Not tried, because this other object still exists.
    Blocked(ObjectId),
    /// The server refused the deletion.
    Refused {
        /// The server's message.
        message: String,
        /// Who refuses.
        refusal: Refusal,
    },
}

impl DeletionOutcome {
    /// Returns why the object still exists; `None` if it is gone.
    pub fn reason(&self) -> Option<String> {
        match self {
            Self::Gone => None,
            Self::Remaining(reason) => Some(format!("not gone in time: {reason}")),
            Self::Blocked(other) => Some(format!("not tried, because {other} is still there")),
            Self::Refused { message, .. } => Some(message.clone()),
        }
    }

    /// Returns who refused the deletion; `None` if nobody did.
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Refused { refusal, .. } => Some(*refusal),
            _ => None,
        }
    }

    /// Returns the changeset entry for an object that existed.
    pub fn diff(&self, served: &ServedKinds, live: &Object) -> ResourceDiff {
        let plural = served.plural(live);
        match self.reason() {
            None => render::resource_diff(plural, Op::Delete, Some(live), None, false),
            Some(reason) => render::failed(plural, Op::Delete, live, reason, false),
        }
    }
}

/// Returns an object to keep that would be deleted along with this namespace or CRD.
pub fn protected_by<'a>(
    object: &Object,
    mut staying: impl Iterator<Item = &'a ObjectId>,
) -> Option<&'a ObjectId> {
    match object.defined_kind() {
        Some(kind) => staying.find(|id| (id.group.as_str(), id.kind.as_str()) == kind),
        None if object.is_namespace() => staying.find(|id| id.namespace == object.name()),
        None => None,
    }
}

/// What may be deleted with namespaces and CRDs, and where the inventory is.
pub(super) struct Scope<'a> {
    /// The namespace of the inventory, which is deleted last.
    pub inventory_namespace: &'a str,
    /// Reads what a namespace or CRD holds.
    pub reader: Reader<'a>,
    /// What may be deleted with them. What they hold besides keeps them.
    pub allowed: &'a ContentsById,
    /// Takes words about what is waited for.
    pub progress: &'a (dyn Fn(&str) + Sync),
}

impl Scope<'_> {
    /// Returns why a namespace or CRD stays; `None` if it may be deleted.
    async fn forbids(&self, object: &Object) -> Option<DeletionOutcome> {
        let none = Contents::default();
        let allowed = self.allowed.get(&object.id()).unwrap_or(&none);
        match self.reader.read(object).await {
            Ok(contents) => {
                let beyond = contents.beyond(allowed);
                (!beyond.is_empty()).then(|| DeletionOutcome::Refused {
                    message: format!("it stays, because {beyond}"),
                    refusal: Refusal::Guard,
                })
            }
            Err(error) => Some(refused_with(&error)),
        }
    }
}

/// Deletes objects stage by stage and waits until they are gone, at most for `timeout` in total. If
/// an object remains, the later stages are not tried. Idempotent: an object that is gone counts as
/// deleted.
// Long: the stages, and what each may not do.
pub(super) async fn delete(
    api: &Api,
    served: &ServedKinds,
    mut objects: Vec<Object>,
    scope: &Scope<'_>,
    timeout: Duration,
) -> BTreeMap<ObjectId, DeletionOutcome> {
    objects.sort_by(|a, b| compare(b, a));
    let mut stages: BTreeMap<DeletionStage, Vec<Object>> = BTreeMap::new();
    for object in objects {
        stages
            .entry(DeletionStage::of(&object, scope.inventory_namespace))
            .or_default()
            .push(object);
    }
    let end = api.clock.elapsed() + timeout;
    let mut outcomes = BTreeMap::new();
    // The first object that remains, and the first that may not be deleted. A refused object would
    // still be deleted along with its CRD or namespace.
    let (mut left, mut refused): (Option<ObjectId>, Option<ObjectId>) = (None, None);
    for (turn, members) in stages {
        let protected = refused.as_ref().filter(|_| turn >= DeletionStage::Crds);
        if let Some(blocking) = left.as_ref().or(protected) {
            outcomes.extend(
                members
                    .iter()
                    .map(|object| (object.id(), DeletionOutcome::Blocked(blocking.clone()))),
            );
            continue;
        }
        let mut permitted = Vec::new();
        for object in members {
            match scope.forbids(&object).await {
                Some(outcome) => drop(outcomes.insert(object.id(), outcome)),
                None => permitted.push(object),
            }
        }
        let one = |object: Object| async move {
            let result = delete_one(api, served, &object).await;
            (object, result)
        };
        let work: Vec<_> = permitted.into_iter().map(one).collect();
        let results: Vec<_> = futures_util::stream::iter(work)
            .buffer_unordered(MAX_CONCURRENT)
            .collect()
            .await;
        let mut going = Vec::new();
        for (object, result) in results {
            match result {
                Ok(()) => going.push(object),
                Err(error) => {
                    refused.get_or_insert_with(|| object.id());
                    outcomes.insert(object.id(), refused_with(&error));
                }
            }
        }
        let seen = await_gone(api, served, going, end, scope.progress).await;
        left = seen
            .iter()
            .find(|(_, outcome)| **outcome != DeletionOutcome::Gone)
            .map(|(id, _)| id.clone());
        outcomes.extend(seen);
    }
    outcomes
}

/// Stages of a deletion, in order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum DeletionStage {
    Webhooks,
    Custom,
    Rest,
    Foundations,
    Crds,
    Namespaces,
    /// The namespace of the inventory.
    InventoryNamespace,
}

impl DeletionStage {
    fn of(object: &Object, inventory_namespace: &str) -> Self {
        match Stage::of(object) {
            Stage::Webhooks => Self::Webhooks,
            Stage::Foundations => Self::Foundations,
            Stage::Prerequisites if object.is_crd() => Self::Crds,
            Stage::Prerequisites if object.name() == inventory_namespace => {
                Self::InventoryNamespace
            }
            Stage::Prerequisites => Self::Namespaces,
            Stage::Rest if is_custom(object) => Self::Custom,
            Stage::Rest => Self::Rest,
        }
    }
}

/// Returns true if the kind must come from a CRD. Groups of Kubernetes itself are one word or end
/// in `.k8s.io`; kinds of Kubernetes subprojects that also end in `.k8s.io` go with the rest.
fn is_custom(object: &Object) -> bool {
    let group = object.group();
    group.contains('.') && !group.ends_with(".k8s.io")
}

/// Deletes one object. If another object has the name by now, there is nothing to do.
async fn delete_one(api: &Api, served: &ServedKinds, object: &Object) -> Result<(), ClusterError> {
    let (group, kind, version) = (object.group(), object.kind(), object.version());
    let Some(resource) = served.any_version(group, kind, version) else {
        return Ok(());
    };
    match api.delete(&resource.api, object, None).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_conflict() => {
            let now = api
                .get(&resource.api, object.namespace(), object.name())
                .await?;
            let is_it = |now: &Object| now.uid() == object.uid();
            let stays =
                now.is_some_and(|now| is_it(&now) && now.metadata("deletionTimestamp").is_none());
            if stays { Err(error) } else { Ok(()) }
        }
        Err(error) => Err(error),
    }
}

fn refused_with(error: &ClusterError) -> DeletionOutcome {
    DeletionOutcome::Refused {
        message: error.to_string(),
        refusal: Refusal::from(error),
    }
}

async fn await_gone(
    api: &Api,
    served: &ServedKinds,
    mut going: Vec<Object>,
    end: Duration,
    progress: &(dyn Fn(&str) + Sync),
) -> BTreeMap<ObjectId, DeletionOutcome> {
    let mut outcomes = BTreeMap::new();
    let mut still = HashMap::new();
    let mut failure = None;
    let timeout = end.saturating_sub(api.clock.elapsed());
    let mut poll = Poll::new(&api.clock, &api.stop, timeout, POLL_INTERVALS);
    let mut pace = Pace::new(&api.clock, WORDS_INTERVAL);
    while !going.is_empty() && failure.is_none() && poll.next_check().await {
        let wanted = going.iter().filter_map(|object| {
            let (group, kind) = (object.group(), object.kind());
            let resource = served.any_version(group, kind, object.version())?;
            Some((resource.clone(), object.id()))
        });
        match live::read(api, wanted).await {
            // An object that cannot be read may still be there.
            Ok(read) if !read.unreadable.is_empty() => {
                failure = read.unreadable.into_values().next();
                continue;
            }
            Ok(read) => still = read.objects,
            Err(error) => {
                failure = Some(error.to_string());
                continue;
            }
        }
        let (left, gone): (Vec<_>, Vec<_>) = going
            .into_iter()
            .partition(|object| is_same(object, &still));
        outcomes.extend(
            gone.into_iter()
                .map(|object| (object.id(), DeletionOutcome::Gone)),
        );
        going = left;
        let first = going.first().and_then(|object| still.get(&object.id()));
        if let (Some(first), true) = (first, pace.is_due()) {
            progress(&waiting_words(first, going.len()));
        }
    }
    outcomes.extend(going.iter().map(|object| {
        let live = still.get(&object.id());
        let why = failure
            .clone()
            .unwrap_or_else(|| live.map_or_else(String::new, blocked_by));
        (object.id(), DeletionOutcome::Remaining(why))
    }));
    outcomes
}

/// Returns a line about the objects that are not gone yet.
fn waiting_words(first: &Object, count: usize) -> String {
    let (subject, reason) = (first.subject(), blocked_by(first));
    let more = match count {
        1 => String::new(),
        count => format!(", and for {} more", count - 1),
    };
    format!("waiting for {subject} to be gone: {reason}{more}")
}

/// Returns true if an object of a snapshot still exists.
fn is_same(object: &Object, live: &HashMap<ObjectId, Object>) -> bool {
    live.get(&object.id())
        .is_some_and(|live| live.uid() == object.uid())
}

/// Returns why an object that is being deleted still exists.
pub fn blocked_by(live: &Object) -> String {
    let texts = |list: Option<&Value>| -> Vec<String> {
        list.and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|text| Some(text.as_str()?.to_owned()))
            .collect()
    };
    let remaining: Vec<&str> = live
        .conditions()
        .filter(|condition| {
            condition
                .get("status")
                .is_some_and(|status| status == "True")
        })
        .filter_map(|condition| condition.get("message")?.as_str())
        .collect();
    if live.is_namespace() && !remaining.is_empty() {
        return format!("the namespace is not empty: {}", remaining.join(" "));
    }
    let finalizers = texts(live.metadata("finalizers"));
    if !finalizers.is_empty() {
        let list = finalizers.join(", ");
        return format!(
            "it waits for the finalizers {list}; their controllers must remove them, or somebody removes them by hand"
        );
    }
    "it is still being deleted".into()
}
