//! Deletes a set of objects, in reverse order, as often as one likes: what is gone is done.

use std::time::Duration;

use super::plan::Surveyed;
use super::{Api, ClusterError, lines};
use crate::manifest::Object;
use crate::plan::changeset::{Change, Op, ResourceDiff};

/// How often it is looked whether objects are gone.
const LOOK: Duration = Duration::from_millis(500);

/// What a teardown would delete: the objects that are there.
pub fn plan(surveyed: &Surveyed) -> Vec<ResourceDiff> {
    let live = surveyed.objects.iter().filter_map(|object| surveyed.live.get(&object.id()));
    live.map(|live| lines::resource_diff(surveyed.served.resource(live).ok(), Op::Delete, Some(live), None, true))
        .collect()
}

/// What a teardown has done.
pub struct TornDown {
    /// What became of each object that was there.
    pub diffs: Vec<ResourceDiff>,
    /// Objects that were not gone in time.
    pub left: Vec<String>,
}

/// Deletes the objects that are there, last ones first, and waits up to `patience` for them to be gone.
pub async fn teardown(api: &Api, surveyed: &Surveyed, patience: Duration) -> TornDown {
    let mut diffs = Vec::new();
    let mut going: Vec<&Object> = Vec::new();
    for object in surveyed.objects.iter().rev() {
        let Some(live) = surveyed.live.get(&object.id()) else { continue };
        let resource = surveyed.served.resource(live);
        let deleted = match &resource {
            Ok(resource) => api.delete(&resource.api, live).await,
            Err(_) => Ok(false),
        };
        let resource = resource.ok();
        diffs.push(match deleted {
            Ok(_) => {
                going.push(live);
                lines::resource_diff(resource, Op::Delete, Some(live), None, false)
            }
            Err(error) => lines::failed(resource, Op::Delete, live, error.to_string(), false),
        });
    }
    let left = await_gone(api, surveyed, going, patience).await;
    TornDown { diffs, left }
}

async fn await_gone(api: &Api, surveyed: &Surveyed, mut going: Vec<&Object>, patience: Duration) -> Vec<String> {
    let end = api.clock.elapsed() + patience;
    loop {
        let mut still = Vec::new();
        for object in going {
            if !is_gone(api, surveyed, object).await.unwrap_or(false) {
                still.push(object);
            }
        }
        if still.is_empty() || api.clock.elapsed() >= end || api.stop.is_stopped() {
            return still.into_iter().map(Object::subject).collect();
        }
        going = still;
        api.clock.sleep(LOOK).await;
    }
}

/// Gone, or another object of the same name.
async fn is_gone(api: &Api, surveyed: &Surveyed, object: &Object) -> Result<bool, ClusterError> {
    let resource = surveyed.served.resource(object)?;
    let live = api.get(&resource.api, object.namespace(), object.name()).await?;
    Ok(live.is_none_or(|live| live.metadata("uid") != object.metadata("uid")))
}

/// The objects that could not be deleted, each with its reason.
pub fn errors(diffs: &[ResourceDiff]) -> usize {
    diffs.iter().filter(|diff| diff.change == Change::Error).count()
}
