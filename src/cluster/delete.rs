//! Deletes objects, each only if it is still the one that was read, and waits until they are seen gone.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::Value;

use super::discovery::Served;
use super::stage::Stage;
use super::{Api, ClusterError, live};
use crate::manifest::order::compare;
use crate::manifest::{Object, ObjectId};

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
    /// The server refused, with these words.
    Refused {
        /// Why.
        message: String,
        /// Whether permission is missing.
        is_forbidden: bool,
    },
}

/// Deletes objects, those that were applied last first, and waits up to `patience` for them to be gone. As often
/// as one likes: what is gone is done.
pub async fn delete(
    api: &Api,
    served: &Served,
    mut objects: Vec<Object>,
    patience: Duration,
) -> BTreeMap<ObjectId, Fate> {
    objects.sort_by(|a, b| compare(b, a));
    let mut fates = BTreeMap::new();
    let mut going: Vec<Object> = Vec::new();
    for stage in Stage::ALL.into_iter().rev() {
        let (members, rest): (Vec<_>, Vec<_>) = objects.into_iter().partition(|object| Stage::of(object) == stage);
        objects = rest;
        let one = |object: Object| async move {
            let refused = match served.resource(&object) {
                Ok(resource) => api.delete(&resource.api, &object).await.err(),
                Err(_) => None,
            };
            (object, refused)
        };
        let work: Vec<_> = members.into_iter().map(one).collect();
        let results: Vec<_> = futures_util::stream::iter(work).buffer_unordered(AT_ONCE).collect().await;
        for (object, refused) in results {
            match refused {
                // Another object has its name by now.
                Some(error) if error.is_conflict() => drop(fates.insert(object.id(), Fate::Gone)),
                Some(error) => drop(fates.insert(object.id(), refused_by(&error))),
                None => going.push(object),
            }
        }
    }
    fates.extend(await_gone(api, served, going, patience).await);
    fates
}

fn refused_by(error: &ClusterError) -> Fate {
    Fate::Refused { message: error.to_string(), is_forbidden: error.is_forbidden() }
}

async fn await_gone(
    api: &Api,
    served: &Served,
    mut going: Vec<Object>,
    patience: Duration,
) -> BTreeMap<ObjectId, Fate> {
    let end = api.clock.elapsed() + patience;
    let mut fates = BTreeMap::new();
    let mut look = LOOK.0;
    while !going.is_empty() {
        let wanted = going.iter().filter_map(|object| Some((served.resource(object).ok()?.clone(), object.id())));
        let still = match live::read(api, wanted).await {
            Ok(still) => still,
            Err(error) => {
                fates.extend(going.iter().map(|object| (object.id(), Fate::Left(error.to_string()))));
                return fates;
            }
        };
        let is_it =
            |object: &Object| still.get(&object.id()).filter(|live| live.metadata("uid") == object.metadata("uid"));
        let (left, gone): (Vec<_>, Vec<_>) = going.into_iter().partition(|object| is_it(object).is_some());
        fates.extend(gone.into_iter().map(|object| (object.id(), Fate::Gone)));
        if api.clock.elapsed() >= end || api.stop.is_stopped() {
            let why = |object: &Object| is_it(object).map_or_else(String::new, blocked_by);
            fates.extend(left.iter().map(|object| (object.id(), Fate::Left(why(object)))));
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
fn blocked_by(live: &Object) -> String {
    let texts = |list: Option<&Value>| -> Vec<String> {
        list.and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|text| Some(text.as_str()?.to_owned()))
            .collect()
    };
    let remaining = live.0.get("status").and_then(|status| status.get("conditions")).and_then(Value::as_array);
    let remaining: Vec<&str> = remaining
        .into_iter()
        .flatten()
        .filter(|condition| condition.get("status").is_some_and(|status| status == "True"))
        .filter_map(|condition| condition.get("message")?.as_str())
        .collect();
    if live.is_namespace() && !remaining.is_empty() {
        return format!("the namespace is not empty: {}", remaining.join(" "));
    }
    let finalizers = texts(live.metadata("finalizers"));
    if !finalizers.is_empty() {
        let list = finalizers.join(", ");
        return format!("it waits for the finalizers {list}; their controllers have to act, or somebody removes them");
    }
    "it is still being deleted".into()
}
