//! Deletes what is no longer part of a component, and only that: what its inventory holds, what is still the
//! object that we made, what nobody wants to keep, and what no other component has taken.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::client::discovery::Served;
use crate::cluster::client::{Api, ClusterError};
use crate::cluster::fields::marks::kept;
use crate::cluster::fields::render;
use crate::cluster::rollout::delete::{Fate, blocked_by, delete, sheltered};
use crate::cluster::rollout::inventory::{Inventory, Record};
use crate::cluster::rollout::options::Options;
use crate::cluster::rollout::snapshot::Survey;
use crate::manifest::managed_fields::owners;
use crate::manifest::order::compare;
use crate::manifest::{Object, ObjectId};
use crate::plan::changeset::{Op, ResourceDiff};

/// How long the last generation of generated ConfigMaps and Secrets stays for a rollback.
pub const ROLLBACK_WINDOW: Duration = Duration::from_secs(7 * 24 * 3600);

/// An object that goes.
#[derive(Debug, Clone)]
pub struct Deletion {
    /// Which.
    pub id: ObjectId,
    /// The UID that was read.
    pub uid: String,
    /// What is there.
    pub live: Object,
    /// Why it goes only if a plan lists it: with it goes what is not in any manifest.
    pub needs_plan: Option<&'static str>,
    /// As the changeset has it.
    pub diff: ResourceDiff,
}

/// What of the stale objects becomes what.
#[derive(Debug, Default)]
pub struct Pruning {
    /// They go.
    pub deletions: Vec<Deletion>,
    /// They are gone already.
    pub gone: Vec<ObjectId>,
    /// They are not ours any more, and are forgotten.
    pub released: Vec<ObjectId>,
    /// They were there before the component, and are given back.
    pub lent: Vec<Object>,
    /// They stay for a rollback.
    pub superseded: Vec<ObjectId>,
    /// What other components hold, their inventories included.
    held: Vec<ObjectId>,
    /// What people should know.
    pub notes: Vec<String>,
    /// Why deletions need a plan that lists them, whatever they are.
    pub doubt: Option<String>,
}

impl Pruning {
    /// Leaves the namespaces and definitions of all that stays, is wanted, or is held by others, and the inventory's own.
    pub(super) fn shelter(&mut self, survey: &Survey) {
        let going: HashSet<ObjectId> = self
            .deletions
            .iter()
            .map(|deletion| deletion.id.clone())
            .collect();
        let wanted: Vec<ObjectId> = survey.objects.iter().map(Object::id).collect();
        let live = survey.live.keys().filter(|id| !going.contains(*id));
        let staying: Vec<&ObjectId> = live
            .chain(&wanted)
            .chain(&survey.hidden)
            .chain(&self.held)
            .collect();
        let notes = &mut self.notes;
        self.deletions.retain(|deletion| {
            let is_home = deletion.live.is_namespace() && deletion.live.name() == survey.home();
            let reason = match sheltered(&deletion.live, staying.iter().copied()) {
                _ if is_home => Some("the inventory is in it".to_owned()),
                other => other.map(|id| format!("{id} does")),
            };
            notes.extend(
                reason
                    .iter()
                    .map(|reason| format!("{} stays, because {reason}", deletion.id)),
            );
            reason.is_none()
        });
    }
}

/// Sorts the stale objects of a survey.
///
/// # Errors
/// [`ClusterError`] if it cannot be read what other components hold.
pub async fn plan(api: &Api, survey: &Survey, options: &Options) -> Result<Pruning, ClusterError> {
    let mut pruning = Pruning::default();
    let stale = survey.stale();
    let (Some(inventory), false) = (&survey.inventory, stale.is_empty()) else {
        return Ok(pruning);
    };
    pruning.doubt = inventory.doubt(options.signer.as_ref())?;
    let concerned = stale.iter().map(|(id, _)| *id);
    let others = Inventory::held_by_others(Some(inventory), api, &survey.served, concerned).await?;
    let now = api.clock.now();
    // Of what is generated anew at each deploy the last generation alone is kept.
    let replaced: HashSet<(&str, &str, &str)> = stale
        .iter()
        .filter(|(_, record)| record.superseded.is_none())
        .filter_map(|(id, _)| family(id))
        .collect();
    for (id, record) in stale {
        if survey.hidden.contains(id) {
            continue;
        }
        let Some(live) = survey.live.get(id) else {
            pruning.gone.push(id.clone());
            continue;
        };
        if let Some(other) = others.get(id) {
            pruning
                .notes
                .push(format!("{id} is part of {other} now, and is left to it"));
            pruning.released.push(id.clone());
        } else if !is_ours(live, record, options) {
            pruning.notes.push(format!(
                "{id} was made anew by somebody else, and is left alone"
            ));
            pruning.released.push(id.clone());
        } else if record.adopted && !options.prune_adopted {
            pruning.notes.push(format!(
                "{id} was there before the component, and is released (deploy.prune_adopted)"
            ));
            pruning.lent.push(live.clone());
        } else if let Some((key, value)) = kept(live) {
            pruning.notes.push(format!(
                "{id} is no longer part of the component; it stays because of {key}: {value}"
            ));
        } else if live.metadata("deletionTimestamp").is_some() {
            pruning
                .notes
                .push(format!("{id} is still being deleted: {}", blocked_by(live)));
        } else if !options.prune {
            pruning.notes.push(format!(
                "{id} is no longer part of the component; it stays because deploy.prune is off"
            ));
        } else if family(id).is_some_and(|family| stays(record, now, replaced.contains(&family))) {
            pruning.superseded.push(id.clone());
        } else {
            pruning.deletions.push(deletion(survey, id, live));
        }
    }
    pruning.held = others.into_keys().collect();
    pruning.shelter(survey);
    // What was made last goes first.
    pruning.deletions.sort_by(|a, b| compare(&b.live, &a.live));
    Ok(pruning)
}

fn deletion(survey: &Survey, id: &ObjectId, live: &Object) -> Deletion {
    let plural = survey.served.plural(live);
    let needs_plan = goes_with(live);
    let uid = live.uid().unwrap_or_default().to_owned();
    let diff = render::resource_diff(plural, Op::Delete, Some(live), None, true);
    Deletion {
        id: id.clone(),
        uid,
        live: live.clone(),
        needs_plan,
        diff,
    }
}

/// What goes with an object, for those that must not go unless a plan says so.
pub(super) fn goes_with(object: &Object) -> Option<&'static str> {
    match object {
        object if object.is_namespace() => Some("everything in a namespace goes with it"),
        object if object.is_definition() => Some("all objects of its kind go with a definition"),
        object if object.kind() == "PersistentVolumeClaim" && object.group().is_empty() => {
            Some("its data go with a volume")
        }
        _ => None,
    }
}

/// Whether it is still the object that we made: with the UID that was noted, and managed by us or by one whom we take
/// over from; if the deploy that was to make it did not live to note one, applied by a runner.
pub(super) fn is_ours(live: &Object, record: &Record, options: &Options) -> bool {
    if record.uid.is_empty() {
        return options.fields.has_applied(live);
    }
    // Of what has no fields but its name nobody is the manager.
    let owners = owners(live);
    let is_managed = owners.is_empty()
        || owners
            .iter()
            .any(|owner| options.fields.is_ours(owner.manager));
    is_managed && live.uid() == Some(&record.uid)
}

/// What a generated ConfigMap or Secret has in common with its earlier generations: kind, namespace, and name
/// without the hash that kustomize puts behind it. None for what is not generated.
fn family(id: &ObjectId) -> Option<(&str, &str, &str)> {
    let (name, hash) = id.name.rsplit_once('-')?;
    let is_hash = hash.len() == 10 && hash.chars().all(|c| "bcdfghkmt2456789".contains(c));
    let is_kind = id.group.is_empty() && ["ConfigMap", "Secret"].contains(&id.kind.as_str());
    (is_kind && is_hash).then_some((&id.kind, &id.namespace, name))
}

/// Whether a generation stays for a rollback: it has gone out of use only now, or not long ago and no newer one
/// since.
fn stays(record: &Record, now: jiff::Timestamp, is_replaced: bool) -> bool {
    let Some(since) = record.superseded else {
        return true;
    };
    !is_replaced && now.duration_since(since) < ROLLBACK_WINDOW.try_into().unwrap_or_default()
}

/// Why deletions need a plan that lists them; none if they may be done.
pub fn guard(survey: &Survey, pruning: &Pruning, options: &Options) -> Option<String> {
    let had = survey
        .inventory
        .as_ref()
        .map_or(0, |inventory| inventory.objects.len());
    let going = pruning.deletions.len();
    if going == 0 {
        return None;
    }
    if let Some(doubt) = &pruning.doubt {
        return Some(format!("{going} objects would be deleted, and {doubt}"));
    }
    let limits = options.limits;
    if survey.objects.is_empty() {
        return Some(format!(
            "the set is empty, and all {going} objects of the component would be deleted"
        ));
    }
    if going > limits.objects {
        return Some(format!(
            "{going} objects would be deleted, more than {} (deploy.prune_limit)",
            limits.objects
        ));
    }
    // One of two is half of them and no mass deletion, unless nothing may go at all.
    if (going > 2 || limits.percent == 0) && going * 100 > had * limits.percent {
        return Some(format!(
            "{going} of {had} objects would be deleted, more than {} per cent \
             (deploy.prune_percent)",
            limits.percent
        ));
    }
    None
}

/// Deletes what was planned, and settles the inventory: what is gone, or no longer ours, leaves it; what stays for
/// a rollback is marked; what is not seen gone stays in it, and is told of. Says also whether permission was missing.
pub async fn prune(
    api: &Api,
    survey: &mut Survey,
    pruning: &Pruning,
    options: &Options,
    patience: Duration,
) -> (Vec<ResourceDiff>, Vec<String>, bool) {
    let objects: Vec<Object> = pruning
        .deletions
        .iter()
        .map(|deletion| deletion.live.clone())
        .collect();
    let fates = delete(api, &survey.served, objects, survey.home(), patience).await;
    let fate = |deletion: &Deletion| fates.get(&deletion.id).unwrap_or(&Fate::Gone);
    let (mut diffs, mut still) = (Vec::new(), Vec::new());
    for deletion in &pruning.deletions {
        match fate(deletion) {
            // It is on its way, stays known, and is looked at by the next deploy.
            fate @ (Fate::Left(_) | Fate::Waits(_)) => {
                still.extend(
                    fate.reason()
                        .map(|reason| format!("{}: {reason}", deletion.id)),
                );
            }
            fate => diffs.push(fate.diff(&survey.served, &deletion.live)),
        }
    }
    let is_forbidden = fates.values().any(Fate::is_forbidden);
    let (given_back, kept) = give_back(api, &survey.served, &pruning.lent, options).await;
    still.extend(kept);
    let Some(inventory) = &mut survey.inventory else {
        return (diffs, still, is_forbidden);
    };
    for id in pruning
        .gone
        .iter()
        .chain(&pruning.released)
        .chain(&given_back)
    {
        inventory.objects.remove(id);
    }
    for (id, _) in fates.iter().filter(|(_, fate)| **fate == Fate::Gone) {
        inventory.objects.remove(id);
    }
    let now = api.clock.now();
    for id in &pruning.superseded {
        if let Some(record) = inventory.objects.get_mut(id) {
            record.superseded.get_or_insert(now);
        }
    }
    (diffs, still, is_forbidden)
}

/// Takes our field manager off objects that were there before the component. Returns the objects that were given back, and
/// a sentence for each of the others.
pub(super) async fn give_back(
    api: &Api,
    served: &Served,
    lent: &[Object],
    options: &Options,
) -> (Vec<ObjectId>, Vec<String>) {
    let (mut given_back, mut kept) = (Vec::new(), Vec::new());
    for live in lent {
        let entries = live
            .metadata("managedFields")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        let is_ours = |entry: &&Value| {
            entry.get("manager").and_then(Value::as_str) == Some(&options.fields.manager)
        };
        let others: Vec<Value> = entries.filter(|entry| !is_ours(entry)).cloned().collect();
        // The server takes an empty list for no change, and one of an empty entry for no managers.
        let others = if others.is_empty() {
            json!([{}])
        } else {
            Value::Array(others)
        };
        let released = match served.resource(live) {
            Ok(resource) => api.set_owners(&resource.api, live, others).await.map(drop),
            Err(error) => Err(error),
        };
        match released {
            Ok(()) => given_back.push(live.id()),
            Err(error) if error.is_not_found() => given_back.push(live.id()),
            Err(error) => kept.push(format!("{}: {error}", live.subject())),
        }
    }
    (given_back, kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Object {
        Object(value.as_object().unwrap().clone())
    }

    #[test]
    fn generated_names_end_in_a_hash_of_kustomize() {
        for (kind, name, base) in [
            ("ConfigMap", "settings-g4hk9g2ff8", Some("settings")),
            ("Secret", "s-24bkf9bdm5", Some("s")),
            ("ConfigMap", "settings", None),
            ("ConfigMap", "my-settings", None),
            ("Deployment", "settings-g4hk9g2ff8", None),
        ] {
            let object =
                object(json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}}));
            assert_eq!(
                family(&object.id()).map(|(_, _, base)| base),
                base,
                "{kind}/{name}"
            );
        }
    }

    #[test]
    fn one_generation_stays_and_not_for_ever() {
        let now = jiff::Timestamp::UNIX_EPOCH;
        let ago = |time: Duration| Record {
            superseded: Some(now.checked_sub(time).unwrap()),
            ..Record::default()
        };
        let hour = Duration::from_secs(3600);
        assert!(stays(&Record::default(), now, true), "out of use only now");
        assert!(stays(&ago(hour), now, false));
        assert!(!stays(&ago(hour), now, true), "there is a newer one");
        assert!(!stays(&ago(ROLLBACK_WINDOW + hour), now, false));
    }

    #[test]
    fn an_object_is_ours_by_its_uid_and_its_manager() {
        let live = |manager: &str| {
            let managed = json!([{"manager": manager, "operation": "Apply"}]);
            object(json!({"metadata": {"uid": "a", "managedFields": managed}}))
        };
        let record = |uid: &str| Record {
            uid: uid.into(),
            ..Record::default()
        };
        let (ours, theirs, options) = (live("nuon-runner"), live("another"), Options::default());
        assert!(is_ours(&ours, &record("a"), &options));
        assert!(!is_ours(&ours, &record("b"), &options), "made anew");
        assert!(
            is_ours(&ours, &record(""), &options),
            "the deploy died before it noted the UID"
        );
        assert!(!is_ours(&theirs, &record(""), &options));
        assert!(
            !is_ours(&theirs, &record("a"), &options),
            "whoever writes an inventory owns nothing by that"
        );
    }
}
