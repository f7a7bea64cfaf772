//! Deletes the objects that are no longer part of a component: only those that are in its
//! inventory, are still the objects that we created, have no keep annotation, and belong to no
//! other component.

pub mod execute;

use std::collections::HashSet;
use std::time::Duration;

use crate::base::counted::counted;
use crate::cluster::client::{Api, ClusterError};
use crate::cluster::fields::marks::keep_mark;
use crate::cluster::fields::render;
use crate::cluster::rollout::contents::{Contents, Reader};
use crate::cluster::rollout::delete::{blocked_by, protected_by};
use crate::cluster::rollout::inventory::{Claims, Inventory, Record};
use crate::cluster::rollout::options::Options;
use crate::cluster::rollout::saved::subject;
use crate::cluster::rollout::snapshot::Snapshot;
use crate::manifest::managed_fields::field_managers;
use crate::manifest::order::compare;
use crate::manifest::{Object, ObjectId};
use crate::plan::changeset::{Op, ResourceDiff};
use crate::plan::saved_plan::SavedPlan;

/// How long the previous generation of generated ConfigMaps and Secrets is kept for a rollback.
pub const ROLLBACK_WINDOW: Duration = Duration::from_secs(7 * 24 * 3600);

/// An object to delete.
#[derive(Debug, Clone)]
pub struct Deletion {
    /// Identity of the object.
    pub id: ObjectId,
    /// UID of the live object; empty if it has none.
    pub uid: String,
    /// The live object.
    pub live: Object,
    /// Why the object is deleted only if a plan lists it: the deletion takes along objects or data
    /// that are in no manifest.
    pub needs_plan: Option<&'static str>,
    /// The deletion, as the changeset shows it.
    pub diff: ResourceDiff,
    /// What is deleted with a namespace or CRD, although it is not of the component.
    pub contents: Option<Contents>,
}

impl Deletion {
    /// Returns why a saved plan does not allow the deletion; `None` if it does.
    pub(super) fn unapproved_reason(&self, saved_plan: &SavedPlan) -> Option<String> {
        let Some(planned) = saved_plan.deletion(&subject(&self.id), &self.uid) else {
            return Some("the approved plan does not list it".to_owned());
        };
        self.contents.as_ref()?.unapproved_reason(&planned.contents)
    }
}

/// Decisions about the stale objects.
#[derive(Debug, Default)]
pub struct Pruning {
    /// Objects to delete, in order of deletion.
    pub deletions: Vec<Deletion>,
    /// Objects that no longer exist.
    pub gone: Vec<ObjectId>,
    /// Objects that are not ours any more; they leave the inventory.
    pub no_longer_ours: Vec<ObjectId>,
    /// Objects that existed before the component; our field manager is removed from them.
    pub adopted: Vec<Object>,
    /// Objects that are kept for a rollback.
    pub superseded: Vec<ObjectId>,
    /// Objects of other components.
    claims: Claims,
    /// Notes for the user.
    pub notes: Vec<String>,
    /// Why every deletion needs a plan that lists it: the inventory is not signed by this runner.
    pub unsigned_reason: Option<String>,
}

impl Pruning {
    /// Drops the deletions that `forbid` returns a reason against, and notes the reasons.
    pub(super) fn restrict(
        &mut self,
        snapshot: &Snapshot,
        forbid: impl Fn(&Deletion) -> Option<String>,
    ) {
        let notes = &mut self.notes;
        self.deletions.retain(|deletion| match forbid(deletion) {
            None => true,
            Some(reason) => {
                notes.push(format!("{} stays, because {reason}", deletion.id));
                false
            }
        });
        // Objects that stay also keep their namespace and CRD.
        self.protect(snapshot);
    }

    /// Reads what the namespaces and CRDs hold that is not of the component. They stay if that is
    /// too much for a plan to list.
    async fn read_contents(&mut self, api: &Api, snapshot: &Snapshot) -> Result<(), ClusterError> {
        let own = snapshot.recorded_uids().collect();
        let reader = Reader {
            api,
            served: &snapshot.served,
            own: &own,
            inventory: snapshot.inventory.as_ref().map(Inventory::id),
            claims: &self.claims,
        };
        let mut all = reader
            .read_all(self.deletions.iter().map(|deletion| &deletion.live))
            .await?;
        let notes = &mut self.notes;
        self.deletions.retain_mut(|deletion| {
            let Some(contents) = all.remove(&deletion.id) else {
                return true;
            };
            let id = &deletion.id;
            if contents.planned().is_none() {
                notes.push(format!(
                    "{id} stays, because {contents}, too many to be listed by a plan"
                ));
                return false;
            }
            notes.push(format!("{id}: {contents}; all of it is deleted with it"));
            deletion.diff.entries.splice(0..0, contents.lines());
            deletion.contents = Some(contents);
            true
        });
        Ok(())
    }

    /// Keeps the namespaces and CRDs of objects that stay or are desired, and the namespace of the
    /// inventory.
    pub(super) fn protect(&mut self, snapshot: &Snapshot) {
        let going: HashSet<ObjectId> = self
            .deletions
            .iter()
            .map(|deletion| deletion.id.clone())
            .collect();
        let wanted: Vec<ObjectId> = snapshot.objects.iter().map(Object::id).collect();
        let live = snapshot.live.keys().filter(|id| !going.contains(*id));
        let staying: Vec<&ObjectId> = live
            .chain(&wanted)
            .chain(snapshot.unreadable.keys())
            .collect();
        let notes = &mut self.notes;
        self.deletions.retain(|deletion| {
            let is_home = deletion.live.is_namespace()
                && deletion.live.name() == snapshot.inventory_namespace();
            let reason = match protected_by(&deletion.live, staying.iter().copied()) {
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

/// Decides what happens to each stale object of a snapshot. Decided once for a plan or a deploy.
///
/// # Errors
/// Fails if this component's inventory was changed by another client, or the job was stopped.
// Long: one condition after the other, in an order that matters.
pub async fn decide(
    api: &Api,
    snapshot: &Snapshot,
    options: &Options,
    claims: Claims,
) -> Result<Pruning, ClusterError> {
    let mut pruning = Pruning::default();
    let stale = snapshot.stale();
    let (Some(inventory), false) = (&snapshot.inventory, stale.is_empty()) else {
        return Ok(pruning);
    };
    pruning.unsigned_reason = inventory.unsigned_reason(options.signer.as_ref())?;
    let now = api.clock.now();
    // Of objects that are generated anew for each deploy, only the previous generation is kept.
    let replaced: HashSet<(&str, &str, &str)> = stale
        .iter()
        .filter(|(_, record)| record.superseded.is_none())
        .filter_map(|(id, _)| generator_key(id))
        .collect();
    for (id, record) in stale {
        if snapshot.unreadable.contains_key(id) {
            continue;
        }
        let Some(live) = snapshot.live.get(id) else {
            pruning.gone.push(id.clone());
            continue;
        };
        if let Some(other) = claims.holder(id, live.uid()) {
            pruning
                .notes
                .push(format!("{id} is part of {other} now, and is not deleted"));
            pruning.no_longer_ours.push(id.clone());
        } else if !is_ours(live, record, options) {
            let why = why_not_ours(live, record, options);
            pruning.notes.push(format!("{id} is not deleted: {why}"));
            pruning.no_longer_ours.push(id.clone());
        } else if snapshot.is_incomplete {
            pruning.notes.push(format!(
                "{id} is not in the set; it stays, because documents were left out"
            ));
        } else if record.adopted && !options.prune_adopted {
            pruning.notes.push(format!(
                "{id} existed before the component, and is released (deploy.prune_adopted)"
            ));
            pruning.adopted.push(live.clone());
        } else if let Some((key, value)) = keep_mark(live) {
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
        } else if generator_key(id)
            .is_some_and(|family| is_kept_for_rollback(record, now, replaced.contains(&family)))
        {
            let is_new = record.superseded.is_none();
            let note = format!("{id} is replaced, and stays for a rollback");
            pruning.notes.extend(is_new.then_some(note));
            pruning.superseded.push(id.clone());
        } else {
            pruning.deletions.push(deletion(snapshot, id, live));
        }
    }
    pruning.claims = claims;
    pruning.protect(snapshot);
    pruning.read_contents(api, snapshot).await?;
    // Delete in the reverse order of creation.
    pruning.deletions.sort_by(|a, b| compare(&b.live, &a.live));
    Ok(pruning)
}

fn deletion(snapshot: &Snapshot, id: &ObjectId, live: &Object) -> Deletion {
    let plural = snapshot.served.plural(live);
    let needs_plan = cascade_reason(live);
    let uid = live.uid().unwrap_or_default().to_owned();
    let diff = render::resource_diff(plural, Op::Delete, Some(live), None, true);
    Deletion {
        id: id.clone(),
        uid,
        live: live.clone(),
        needs_plan,
        diff,
        contents: None,
    }
}

/// Returns what a deletion takes along, for objects that are deleted only if a plan lists them.
pub(super) fn cascade_reason(object: &Object) -> Option<&'static str> {
    match object {
        object if object.is_namespace() => Some("deleting a namespace deletes everything in it"),
        object if object.is_crd() => Some("deleting a CRD deletes all objects of its kind"),
        object if object.kind() == "PersistentVolumeClaim" && object.group().is_empty() => {
            Some("deleting a PersistentVolumeClaim can delete its data")
        }
        _ => None,
    }
}

/// Returns true if the live object is the one that we created: a record is about it, and its manager
/// is ours or one that we take over from.
pub(super) fn is_ours(live: &Object, record: &Record, options: &Options) -> bool {
    // An object without fields has no `managedFields` entry.
    let managers = field_managers(live);
    let is_managed = managers.is_empty()
        || managers
            .iter()
            .any(|owner| options.fields.is_ours(owner.manager));
    is_recorded(live, record, options) && (record.uid.is_empty() || is_managed)
}

/// Says why a live object is not ours, though a record has its name.
pub(super) fn why_not_ours(live: &Object, record: &Record, options: &Options) -> &'static str {
    match is_recorded(live, record, options) {
        true => "no field of it is ours any more: other managers have them",
        false => "it was recreated by another client",
    }
}

/// Returns true if a record is about this live object: by its UID, or, if none was recorded because
/// the deploy died before, because a runner has applied the object.
pub(super) fn is_recorded(live: &Object, record: &Record, options: &Options) -> bool {
    match record.uid.as_str() {
        "" => options.fields.has_applied(live),
        uid => live.uid() == Some(uid),
    }
}

/// Returns the key that all generations of a generated ConfigMap or Secret share: kind, namespace,
/// and the name without kustomize's hash suffix. Returns `None` for other objects.
fn generator_key(id: &ObjectId) -> Option<(&str, &str, &str)> {
    let (name, hash) = id.name.rsplit_once('-')?;
    let is_hash = hash.len() == 10 && hash.chars().all(|c| "bcdfghkmt2456789".contains(c));
    let is_kind = id.group.is_empty() && ["ConfigMap", "Secret"].contains(&id.kind.as_str());
    (is_kind && is_hash).then_some((&id.kind, &id.namespace, name))
}

/// Returns true if a generation is kept for a rollback: it became stale in this deploy, or it
/// became stale within [`ROLLBACK_WINDOW`] and no newer generation has since.
fn is_kept_for_rollback(record: &Record, now: jiff::Timestamp, is_replaced: bool) -> bool {
    let Some(since) = record.superseded else {
        return true;
    };
    !is_replaced && now.duration_since(since) < ROLLBACK_WINDOW.try_into().unwrap_or_default()
}

/// Returns why the deletions need a plan that lists them; `None` if they may be done without one.
pub fn approval_reason(
    snapshot: &Snapshot,
    pruning: &Pruning,
    options: &Options,
) -> Option<String> {
    let had = snapshot
        .inventory
        .as_ref()
        .map_or(0, |inventory| inventory.objects.len());
    let going = pruning.deletions.len();
    if going == 0 {
        return None;
    }
    let objects = counted(going, "object");
    if let Some(doubt) = &pruning.unsigned_reason {
        return Some(format!("{objects} would be deleted, and {doubt}"));
    }
    let limits = options.limits;
    if snapshot.objects.is_empty() {
        return Some(format!(
            "the set is empty, and all of the component would be deleted, {objects}"
        ));
    }
    let knows = |object: &Object| snapshot.record(&object.id()).is_some();
    if !snapshot.objects.iter().any(knows) {
        return Some(format!(
            "no object of the set is of the component yet, and {objects} of it would be deleted: is it the \
             right component?"
        ));
    }
    if going > limits.objects {
        return Some(format!(
            "{objects} would be deleted, more than {} (deploy.prune_limit)",
            limits.objects
        ));
    }
    // The percentage counts from three deletions on, unless the limit is 0.
    if (going > 2 || limits.percent == 0) && going * 100 > had * limits.percent {
        return Some(format!(
            "{going} of {had} objects would be deleted, more than {} percent (deploy.prune_percent)",
            limits.percent
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

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
                generator_key(&object.id()).map(|(_, _, base)| base),
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
        assert!(
            is_kept_for_rollback(&Record::default(), now, true),
            "out of use only now"
        );
        assert!(is_kept_for_rollback(&ago(hour), now, false));
        assert!(
            !is_kept_for_rollback(&ago(hour), now, true),
            "there is a newer one"
        );
        assert!(!is_kept_for_rollback(
            &ago(ROLLBACK_WINDOW + hour),
            now,
            false
        ));
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
