//! Deletes objects, each only if it is still the one that was read, and waits until they are seen gone.
//!
//! What others need goes after them: webhooks first, then custom objects, while what acts on their finalizers still
//! runs and has its rights; then the rest, then what was applied before it, namespaces last.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::Value;

use crate::cluster::client::discovery::Served;
use crate::cluster::client::{Api, ClusterError, live};
use crate::cluster::fields::render;
use crate::cluster::rollout::stage::Stage;
use crate::manifest::order::compare;
use crate::manifest::{Object, ObjectId};
use crate::plan::changeset::{Op, ResourceDiff};

/// Deletions at once.
const AT_ONCE: usize = 8;

/// How often it is looked whether objects are gone: at first, and at most.
const LOOK: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// What became of an object that was to be deleted.
#[derive(Debug, Clone, PartialEq)]
pub enum Fate {
    /// It was seen gone.
    Gone,
    /// It is still there, for this reason.
    Left(String),
    /// It was not tried, because of this object, which is still there.
    Waits(ObjectId),
    /// The server refused, with these words.
    Refused {
        /// Why.
        message: String,
        /// Whether permission is missing.
        is_forbidden: bool,
    },
}

impl Fate {
    /// Why the object is still there; none if it is not.
    pub fn reason(&self) -> Option<String> {
        match self {
            Self::Gone => None,
            Self::Left(reason) => Some(format!("not gone in time: {reason}")),
            Self::Waits(other) => Some(format!("not tried, because {other} is still there")),
            Self::Refused { message, .. } => Some(message.clone()),
        }
    }

    /// Whether permission was missing.
    pub fn is_forbidden(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                is_forbidden: true,
                ..
            }
        )
    }

    /// What became of an object that was there.
    pub fn diff(&self, served: &Served, live: &Object) -> ResourceDiff {
        let plural = served.plural(live);
        match self.reason() {
            None => render::resource_diff(plural, Op::Delete, Some(live), None, false),
            Some(reason) => render::failed(plural, Op::Delete, live, reason, false),
        }
    }
}

/// What of a namespace, or of the kind that is defined, is among objects that stay: with it they would go.
pub fn sheltered<'a>(
    object: &Object,
    mut staying: impl Iterator<Item = &'a ObjectId>,
) -> Option<&'a ObjectId> {
    match object.defines() {
        Some(kind) => staying.find(|id| (id.group.as_str(), id.kind.as_str()) == kind),
        None if object.is_namespace() => staying.find(|id| id.namespace == object.name()),
        None => None,
    }
}

/// Deletes objects turn by turn, and waits up to `patience` for them to be gone; `home` is the namespace that goes
/// last of all. What comes after an object that stays is not tried. As often as one likes: what is gone is done.
pub async fn delete(
    api: &Api,
    served: &Served,
    mut objects: Vec<Object>,
    home: &str,
    patience: Duration,
) -> BTreeMap<ObjectId, Fate> {
    objects.sort_by(|a, b| compare(b, a));
    let mut turns: BTreeMap<Turn, Vec<Object>> = BTreeMap::new();
    for object in objects {
        turns
            .entry(Turn::of(&object, home))
            .or_default()
            .push(object);
    }
    let end = api.clock.elapsed() + patience;
    let mut fates = BTreeMap::new();
    // What stays, and what may not be deleted: with its definition or namespace it would go all the same.
    let (mut left, mut refused): (Option<ObjectId>, Option<ObjectId>) = (None, None);
    for (turn, members) in turns {
        let protected = refused.as_ref().filter(|_| turn >= Turn::Definitions);
        if let Some(blocking) = left.as_ref().or(protected) {
            fates.extend(
                members
                    .iter()
                    .map(|object| (object.id(), Fate::Waits(blocking.clone()))),
            );
            continue;
        }
        let one = |object: Object| async move {
            let result = delete_one(api, served, &object).await;
            (object, result)
        };
        let work: Vec<_> = members.into_iter().map(one).collect();
        let results: Vec<_> = futures_util::stream::iter(work)
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        let mut going = Vec::new();
        for (object, result) in results {
            match result {
                Ok(()) => going.push(object),
                Err(error) => {
                    refused.get_or_insert_with(|| object.id());
                    fates.insert(object.id(), refused_by(&error));
                }
            }
        }
        let seen = await_gone(api, served, going, end).await;
        left = seen
            .iter()
            .find(|(_, fate)| **fate != Fate::Gone)
            .map(|(id, _)| id.clone());
        fates.extend(seen);
    }
    fates
}

/// When an object goes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Webhooks,
    Custom,
    Rest,
    Foundations,
    Definitions,
    Namespaces,
    /// The namespace of the inventory.
    Home,
}

impl Turn {
    fn of(object: &Object, home: &str) -> Self {
        match Stage::of(object) {
            Stage::Webhooks => Self::Webhooks,
            Stage::Foundations => Self::Foundations,
            Stage::Definitions if object.is_definition() => Self::Definitions,
            Stage::Definitions if object.name() == home => Self::Home,
            Stage::Definitions => Self::Namespaces,
            Stage::Rest if is_custom(object) => Self::Custom,
            Stage::Rest => Self::Rest,
        }
    }
}

/// Whether the kind is known to come from a definition: the groups of Kubernetes itself are a word or end in `.k8s.io`,
/// and the few of its projects that do, too, go with the rest.
fn is_custom(object: &Object) -> bool {
    let group = object.group();
    group.contains('.') && !group.ends_with(".k8s.io")
}

/// Another object may have the name by now; then there is nothing to do.
async fn delete_one(api: &Api, served: &Served, object: &Object) -> Result<(), ClusterError> {
    let Ok(resource) = served.resource(object) else {
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

fn refused_by(error: &ClusterError) -> Fate {
    Fate::Refused {
        message: error.to_string(),
        is_forbidden: error.is_forbidden(),
    }
}

async fn await_gone(
    api: &Api,
    served: &Served,
    mut going: Vec<Object>,
    end: Duration,
) -> BTreeMap<ObjectId, Fate> {
    let mut fates = BTreeMap::new();
    let mut look = LOOK.0;
    while !going.is_empty() {
        let wanted = going
            .iter()
            .filter_map(|object| Some((served.resource(object).ok()?.clone(), object.id())));
        let still = match live::read(api, wanted).await {
            Ok(still) => still,
            Err(error) => {
                fates.extend(
                    going
                        .iter()
                        .map(|object| (object.id(), Fate::Left(error.to_string()))),
                );
                return fates;
            }
        };
        let is_it = |object: &Object| {
            still
                .get(&object.id())
                .filter(|live| live.uid() == object.uid())
        };
        let (left, gone): (Vec<_>, Vec<_>) = going
            .into_iter()
            .partition(|object| is_it(object).is_some());
        fates.extend(gone.into_iter().map(|object| (object.id(), Fate::Gone)));
        if api.clock.elapsed() >= end || api.stop.is_stopped() {
            let why = |object: &Object| is_it(object).map_or_else(String::new, blocked_by);
            fates.extend(
                left.iter()
                    .map(|object| (object.id(), Fate::Left(why(object)))),
            );
            return fates;
        }
        going = left;
        if !going.is_empty() {
            api.clock.sleep(look).await;
            look = (look * 2).min(LOOK.1);
        }
    }
    fates
}

/// What keeps an object that is being deleted.
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
            "it waits for the finalizers {list}; their controllers have to act, or somebody \
             removes them"
        );
    }
    "it is still being deleted".into()
}
