//! What an apply would change: every object is dry-run by the server and compared with what is
//! there. Sends reads and dry runs only.

use std::collections::HashMap;

use futures_util::StreamExt as _;

use super::api::Write;
use super::discovery::Served;
use super::stage::{Brought, place};
use super::{Api, ClusterError, lines, live};
use crate::manifest::{Object, ObjectId};
use crate::plan::changeset::{Change, Op, ResourceDiff};

/// Dry runs at once.
const AT_ONCE: usize = 8;

/// A set of objects, looked up in a cluster.
pub struct Surveyed {
    /// What the cluster serves.
    pub served: Served,
    /// The objects, each in its namespace.
    pub objects: Vec<Object>,
    /// Those of them that are there.
    pub live: HashMap<ObjectId, Object>,
    pub(super) brought: Brought,
}

/// Looks a set of objects up. A kind that neither the cluster nor the set has is an error.
///
/// # Errors
/// [`ClusterError`].
pub async fn survey(api: &Api, mut objects: Vec<Object>, namespace: &str) -> Result<Surveyed, ClusterError> {
    let served = Served::ask(api).await?;
    let brought = Brought::by(&objects);
    place(&mut objects, namespace, &served, &brought);
    let mut wanted = Vec::new();
    for object in &objects {
        match served.resource(object) {
            Ok(_) => wanted.push(object),
            Err(_) if brought.kind(object).is_some() => {}
            Err(error) => return Err(error),
        }
    }
    let live = live::read(api, &served, &wanted).await?;
    Ok(Surveyed { served, objects, live, brought })
}

/// The changeset of an apply, in the order of the objects. An object that the server refuses has
/// the kind of change *error*.
///
/// # Errors
/// Never: each object's error is its own.
pub async fn plan(api: &Api, surveyed: &Surveyed, manager: &str) -> Vec<ResourceDiff> {
    let plans: Vec<_> = surveyed.objects.iter().map(|object| plan_one(api, surveyed, object, manager)).collect();
    futures_util::stream::iter(plans).buffered(AT_ONCE).collect().await
}

async fn plan_one(api: &Api, surveyed: &Surveyed, object: &Object, manager: &str) -> ResourceDiff {
    let Ok(resource) = surveyed.served.resource(object) else {
        // Its definition comes with the set; only the real apply can ask the server.
        return lines::resource_diff(None, Op::Apply, None, Some(object), true);
    };
    let live = surveyed.live.get(&object.id());
    match api.apply(&resource.api, object, manager, Write::DryRun).await {
        Ok(after) => lines::resource_diff(Some(resource), Op::Apply, live, Some(&after), true),
        Err(error) if error.is_not_found() && is_in_new_namespace(surveyed, object) => {
            lines::resource_diff(Some(resource), Op::Apply, None, Some(object), true)
        }
        Err(error) => lines::failed(Some(resource), Op::Apply, object, error.to_string(), true),
    }
}

/// Whether the object's namespace comes with the set and is not there yet.
fn is_in_new_namespace(surveyed: &Surveyed, object: &Object) -> bool {
    let namespace = object.namespace();
    let is_brought = surveyed.brought.namespaces.iter().any(|name| name == namespace);
    let is_live = surveyed.live.values().any(|live| live.is_namespace() && live.name() == namespace);
    is_brought && !is_live
}

/// The objects that a changeset says cannot be applied, each with its reason.
pub fn errors(diffs: &[ResourceDiff]) -> Vec<String> {
    let failed = diffs.iter().filter(|diff| diff.change == Change::Error);
    failed.map(|diff| format!("{}/{}: {}", diff.kind, diff.name, diff.error.as_deref().unwrap_or_default())).collect()
}
