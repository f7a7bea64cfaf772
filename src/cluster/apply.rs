//! Applies a set of objects, in stages: namespaces and definitions first, which are waited for, then
//! the rest. On an error the objects of the same stage are finished, and each is reported.

use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::Value;

use super::api::Write;
use super::discovery::Served;
use super::plan::Surveyed;
use super::stage::Stage;
use super::{Api, ClusterError, lines};
use crate::manifest::Object;
use crate::plan::changeset::{Change, Op, ResourceDiff};

/// Applies at once.
const AT_ONCE: usize = 8;

/// How long a definition may take to be established.
const ESTABLISHED: Duration = Duration::from_secs(60);

/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// What an apply has done.
pub struct Applied {
    /// What became of each object, in the order of the objects.
    pub diffs: Vec<ResourceDiff>,
    /// Why it stopped before all stages were done.
    pub stopped: Option<String>,
}

/// Applies a set. `told` hears of each stage.
pub async fn apply(api: &Api, surveyed: &mut Surveyed, manager: &str, told: &(dyn Fn(&str) + Sync)) -> Applied {
    let mut diffs: Vec<Option<ResourceDiff>> = vec![None; surveyed.objects.len()];
    let mut stopped = None;
    for stage in Stage::ALL {
        let members: Vec<usize> = (0..surveyed.objects.len())
            .filter(|at| surveyed.objects.get(*at).is_some_and(|object| Stage::of(object) == stage))
            .collect();
        if members.is_empty() {
            continue;
        }
        if let Err(error) = refresh(api, surveyed, &members).await {
            stopped = Some(error.to_string());
            break;
        }
        let shared = &*surveyed;
        let applies = members.iter().filter_map(|at| Some((*at, shared.objects.get(*at)?)));
        let applies: Vec<_> =
            applies.map(|(at, object)| async move { (at, apply_one(api, shared, object, manager).await) }).collect();
        let done: Vec<_> = futures_util::stream::iter(applies).buffer_unordered(AT_ONCE).collect().await;
        let failed = done.iter().filter(|(_, diff)| diff.change == Change::Error).count();
        told(&format!(
            "applied {} objects{}",
            done.len() - failed,
            if failed > 0 { format!(", {failed} failed") } else { String::new() }
        ));
        for (at, diff) in done {
            if let Some(slot) = diffs.get_mut(at) {
                *slot = Some(diff);
            }
        }
        if failed > 0 {
            stopped = Some(format!("{failed} of {} objects were refused", members.len()));
            break;
        }
        if stage == Stage::Definitions {
            let waiting = members.iter().filter_map(|at| surveyed.objects.get(*at));
            if let Err(error) = await_definitions(api, &surveyed.served, waiting).await {
                stopped = Some(error.to_string());
                break;
            }
        }
    }
    Applied { diffs: diffs.into_iter().flatten().collect(), stopped }
}

/// Asks again what the cluster serves if a stage has kinds that came with an earlier one.
async fn refresh(api: &Api, surveyed: &mut Surveyed, members: &[usize]) -> Result<(), ClusterError> {
    let unknown = |surveyed: &Surveyed| {
        members
            .iter()
            .filter_map(|at| surveyed.objects.get(*at))
            .find_map(|object| surveyed.served.resource(object).err())
    };
    let end = api.clock.elapsed() + ESTABLISHED;
    while let Some(error) = unknown(surveyed) {
        // An established kind shows up in discovery a moment later.
        surveyed.served = Served::ask(api).await?;
        if unknown(surveyed).is_none() {
            return Ok(());
        }
        if api.clock.elapsed() >= end {
            return Err(error);
        }
        api.clock.sleep(LOOK).await;
    }
    Ok(())
}

async fn apply_one(api: &Api, surveyed: &Surveyed, object: &Object, manager: &str) -> ResourceDiff {
    let resource = match surveyed.served.resource(object) {
        Ok(resource) => resource,
        Err(error) => return lines::failed(None, Op::Apply, object, error.to_string(), false),
    };
    match api.apply(&resource.api, object, manager, Write::Real).await {
        Ok(after) => {
            let before = surveyed.live.get(&object.id());
            lines::resource_diff(Some(resource), Op::Apply, before, Some(&after), false)
        }
        Err(error) => lines::failed(Some(resource), Op::Apply, object, error.to_string(), false),
    }
}

async fn await_definitions(
    api: &Api,
    served: &Served,
    objects: impl Iterator<Item = &Object>,
) -> Result<(), ClusterError> {
    for object in objects.filter(|object| object.is_definition()) {
        let resource = served.resource(object)?;
        let end = api.clock.elapsed() + ESTABLISHED;
        loop {
            let live = api.get(&resource.api, "", object.name()).await?;
            if live.as_ref().is_some_and(is_established) {
                break;
            }
            if api.clock.elapsed() >= end {
                let what = format!("the definition {} was not established", object.name());
                return Err(ClusterError::Timeout { what, waited: ESTABLISHED });
            }
            api.clock.sleep(LOOK).await;
        }
    }
    Ok(())
}

fn is_established(definition: &Object) -> bool {
    let conditions = definition.0.get("status").and_then(|status| status.get("conditions")).and_then(Value::as_array);
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Established" && condition["status"] == "True")
}
