//! Deletes and releases the objects that a decision lists.

use std::time::Duration;

use serde_json::{Value, json};

use super::Pruning;
use crate::cluster::client::Api;
use crate::cluster::client::discovery::ServedKinds;
use crate::cluster::rollout::contents::Reader;
use crate::cluster::rollout::delete::{DeletionOutcome, Scope, delete};
use crate::cluster::rollout::inventory::Inventory;
use crate::cluster::rollout::options::Options;
use crate::cluster::rollout::refusal::Refusal;
use crate::manifest::{Object, ObjectId};
use crate::plan::changeset::ResourceDiff;

/// Result of pruning.
#[derive(Debug, Default)]
pub struct Pruned {
    /// What happened to the objects that are gone or that the server refused to delete.
    pub diffs: Vec<ResourceDiff>,
    /// A sentence for each object that is still there.
    pub remaining: Vec<String>,
    /// The most severe refusal.
    pub refusal: Option<Refusal>,
}

/// Deletes the planned objects and updates the inventory in memory. Objects that are gone or no
/// longer ours leave it; objects kept for a rollback are marked; objects that are not yet gone stay
/// in it.
pub async fn prune(
    api: &Api,
    served: &ServedKinds,
    inventory: &mut Inventory,
    pruning: &Pruning,
    options: &Options,
    timeout: Duration,
    progress: &(dyn Fn(&str) + Sync),
) -> Pruned {
    let objects = pruning.deletions.iter();
    let objects = objects.map(|deletion| deletion.live.clone()).collect();
    let own = inventory.uids().collect();
    let allowed = (pruning.deletions.iter())
        .filter_map(|deletion| Some((deletion.id.clone(), deletion.contents.clone()?)))
        .collect();
    let scope = Scope {
        inventory_namespace: &inventory.component.namespace.clone(),
        reader: Reader {
            api,
            served,
            own: &own,
            inventory: Some(inventory.id()),
            claims: &pruning.claims,
        },
        allowed: &allowed,
        progress,
    };
    let outcomes = delete(api, served, objects, &scope, timeout).await;
    let mut pruned = Pruned {
        refusal: outcomes.values().filter_map(DeletionOutcome::refusal).max(),
        ..Pruned::default()
    };
    for deletion in &pruning.deletions {
        match outcomes.get(&deletion.id).unwrap_or(&DeletionOutcome::Gone) {
            // It is being deleted; it stays in the inventory, and the next deploy checks it.
            outcome @ (DeletionOutcome::Remaining(_) | DeletionOutcome::Blocked(_)) => {
                let reason = outcome.reason();
                let reason = reason.map(|reason| format!("{}: {reason}", deletion.id));
                pruned.remaining.extend(reason);
            }
            outcome => pruned.diffs.push(outcome.diff(served, &deletion.live)),
        }
    }
    let (given_back, not_released) = release(api, served, &pruning.adopted, options).await;
    pruned.remaining.extend(not_released);
    let deleted = outcomes
        .iter()
        .filter(|(_, outcome)| **outcome == DeletionOutcome::Gone);
    let leaving = pruning.gone.iter().chain(&pruning.no_longer_ours);
    for id in leaving.chain(&given_back).chain(deleted.map(|(id, _)| id)) {
        inventory.objects.remove(id);
    }
    let now = api.clock.now();
    for id in &pruning.superseded {
        if let Some(record) = inventory.objects.get_mut(id) {
            record.superseded.get_or_insert(now);
        }
    }
    pruned
}

/// Removes our field manager from objects that existed before the component. Returns the objects
/// that were released, and a sentence for each failure.
pub(crate) async fn release(
    api: &Api,
    served: &ServedKinds,
    adopted: &[Object],
    options: &Options,
) -> (Vec<ObjectId>, Vec<String>) {
    let (mut given_back, mut not_released) = (Vec::new(), Vec::new());
    for live in adopted {
        let entries = live
            .metadata("managedFields")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        let is_ours = |entry: &&Value| {
            entry.get("manager").and_then(Value::as_str) == Some(&options.fields.manager)
        };
        let others: Vec<Value> = entries.filter(|entry| !is_ours(entry)).cloned().collect();
        // The server treats an empty list as no change, and a list with one empty entry as no
        // managers.
        let others = if others.is_empty() {
            json!([{}])
        } else {
            Value::Array(others)
        };
        let released = match served.any_version(live.group(), live.kind(), live.version()) {
            Some(resource) => {
                let set = |resource| {
                    let others = others.clone();
                    async move { api.set_managed_fields(&resource, live, others).await }
                };
                let set = api.in_served_version(&resource.api, set).await;
                set.map(drop)
            }
            None => served.resource(live).map(drop),
        };
        match released {
            Ok(()) => given_back.push(live.id()),
            Err(error) if error.is_not_found() => given_back.push(live.id()),
            Err(error) => not_released.push(format!("{}: {error}", live.subject())),
        }
    }
    (given_back, not_released)
}
