//! Deletes all objects of a component. Idempotent: an object that is gone counts as deleted.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use crate::cluster::client::{Api, ClusterError};
use crate::cluster::fields::marks::keep_mark;
use crate::cluster::fields::render;
use crate::cluster::rollout::contents::{Contents, ContentsById, Reader, planned_deletion};
use crate::cluster::rollout::delete::{DeletionOutcome, Scope, delete, protected_by};
use crate::cluster::rollout::deploy::with_write_timeout;
use crate::cluster::rollout::inventory::{Claims, Inventory};
use crate::cluster::rollout::item::{Conflict, ConflictKind};
use crate::cluster::rollout::options::Options;
use crate::cluster::rollout::preconditions::environment_conflicts;
use crate::cluster::rollout::prune::execute::release;
use crate::cluster::rollout::prune::{is_ours, why_not_ours};
use crate::cluster::rollout::refusal::Refusal;
use crate::cluster::rollout::saved::subject;
use crate::cluster::rollout::snapshot::Snapshot;
use crate::cluster::rollout::stage::Stage;
use crate::manifest::{Object, ObjectId};
use crate::plan::changeset::{Op, ResourceDiff};
use crate::plan::saved_plan::{PlannedContents, SavedPlan};

/// What a teardown deletes and what it keeps.
#[derive(Debug, Default)]
pub struct Teardown {
    /// Objects to delete, in the order of the set, followed by those that only the inventory
    /// contains.
    pub objects: Vec<Object>,
    /// Objects that existed before the component; our field manager is removed from them.
    adopted: Vec<Object>,
    /// Namespaces and CRDs that stay because objects in them stay; a later teardown may delete
    /// them.
    protected: BTreeSet<ObjectId>,
    /// What is deleted with namespaces and CRDs, although it is not of the component.
    contents: ContentsById,
    claims: Claims,
    /// Notes for the user.
    pub notes: Vec<String>,
}

/// Result of a teardown.
#[derive(Debug, Default)]
pub struct TeardownResult {
    /// What happened to each object to delete.
    pub diffs: Vec<ResourceDiff>,
    /// Objects that were refused or not gone in time, each with the reason.
    pub remaining: Vec<String>,
    /// The most severe refusal.
    pub refusal: Option<Refusal>,
}

/// Whether namespaces and CRDs are deleted although they hold what is not of the component.
#[derive(Debug, Clone, Copy)]
pub enum WithContents<'a> {
    /// They stay.
    Keep,
    /// They are deleted.
    Delete,
    /// They are deleted if a person approves: a plan lists what they hold.
    Propose,
    /// They are deleted if the approved plan lists what they hold. Plans of the Go runner list
    /// nothing.
    Approved(Option<&'a SavedPlan>),
}

impl WithContents<'_> {
    /// Returns why the object stays; `None` if it is deleted.
    fn forbids(self, object: &Object, contents: &Contents) -> Option<String> {
        match self {
            Self::Delete => None,
            Self::Keep => Some(format!("{contents}; --with-contents deletes it with them")),
            Self::Propose => (contents.planned().is_none())
                .then(|| format!("{contents}, too many to be listed by a plan")),
            Self::Approved(plan) => {
                let uid = object.uid().unwrap_or_default();
                let planned = plan.and_then(|plan| plan.deletion(&subject(&object.id()), uid));
                let nothing = PlannedContents::default();
                contents.unapproved_reason(planned.map_or(&nothing, |planned| &planned.contents))
            }
        }
    }
}

impl Teardown {
    /// Decides what to delete: live objects that are in the component's inventory, are still ours,
    /// and belong to no other component. Components deployed by the Go runner have no inventory:
    /// the manifest lists the objects, and the field manager proves ownership.
    ///
    /// # Errors
    /// Fails if the inventories of other components cannot be read, or this component's inventory
    /// was changed by another client.
    // Long: one condition after the other.
    pub async fn plan(
        api: &Api,
        snapshot: &Snapshot,
        options: &Options,
        with_contents: WithContents<'_>,
    ) -> Result<Self, ClusterError> {
        let mut teardown = Self::default();
        let (own, concerned) = (snapshot.inventory.as_ref(), snapshot.live.keys());
        let claims = Inventory::claims_of_others(own, api, &snapshot.served, concerned).await?;
        if let Some(doubt) = own
            .map(|own| own.unsigned_reason(options.signer.as_ref()))
            .transpose()?
            .flatten()
        {
            teardown.notes.push(doubt);
        }
        for (id, live) in &snapshot.live {
            let record = snapshot
                .inventory
                .as_ref()
                .map(|inventory| inventory.objects.get(id));
            let is_lent = record
                .flatten()
                .is_some_and(|record| record.adopted && !options.prune_adopted);
            let holder = claims.holder(id, live.uid());
            let reason = match record {
                _ if holder.is_some() => holder.map(|other| format!("it is part of {other}")),
                None | Some(None) if !options.fields.has_applied(live) => Some(
                    "it is in no inventory of this component, and was not deployed by a runner"
                        .to_owned(),
                ),
                Some(Some(record)) if !is_ours(live, record, options) => {
                    Some(why_not_ours(live, record, options).to_owned())
                }
                _ => keep_mark(live)
                    .map(|(key, value)| format!("of {key}: {value}; it leaves the component")),
            };
            match reason {
                Some(reason) => teardown.notes.push(format!("{id} stays, because {reason}")),
                None if is_lent => {
                    let why =
                        "it existed before the component, and is released (deploy.prune_adopted)";
                    teardown.notes.push(format!("{id} stays, because {why}"));
                    teardown.adopted.push(live.clone());
                }
                None => teardown.objects.push(live.clone()),
            }
        }
        teardown.protect(snapshot);
        teardown.claims = claims;
        teardown.contents = teardown
            .reader(api, snapshot, &teardown.own_uids(snapshot))
            .read_all(teardown.objects.iter())
            .await?;
        teardown.restrict(with_contents);
        let places: HashMap<ObjectId, usize> = snapshot
            .objects
            .iter()
            .enumerate()
            .map(|(at, object)| (object.id(), at))
            .collect();
        let place = |id: &ObjectId| places.get(id).copied().unwrap_or(usize::MAX);
        teardown
            .objects
            .sort_by_cached_key(|object| (place(&object.id()), object.id()));
        teardown.notes.sort();
        Ok(teardown)
    }

    /// Keeps the namespaces and CRDs of objects that stay.
    fn protect(&mut self, snapshot: &Snapshot) {
        let going: BTreeSet<ObjectId> = self.objects.iter().map(Object::id).collect();
        let staying: Vec<&ObjectId> = snapshot
            .live
            .keys()
            .filter(|id| !going.contains(*id))
            .collect();
        let (notes, protected) = (&mut self.notes, &mut self.protected);
        self.objects.retain(|object| {
            let dependent = protected_by(object, staying.iter().copied());
            protected.extend(dependent.map(|_| object.id()));
            notes.extend(
                dependent.map(|id| format!("{} stays, because {id} does", object.subject())),
            );
            dependent.is_none()
        });
    }

    /// Keeps the namespaces and CRDs that must not be deleted with what they hold.
    fn restrict(&mut self, with_contents: WithContents<'_>) {
        let Self {
            objects,
            protected,
            contents,
            notes,
            ..
        } = self;
        objects.retain(|object| {
            let Some(held) = contents.get(&object.id()) else {
                return true;
            };
            let subject = object.subject();
            if let Some(reason) = with_contents.forbids(object, held) {
                notes.push(format!("{subject} stays, because {reason}"));
                protected.insert(object.id());
                return false;
            }
            notes.push(format!("{subject}: {held}; all of it is deleted with it"));
            true
        });
        contents.retain(|id, _| !protected.contains(id));
    }

    /// Returns the UIDs of the objects of the component.
    fn own_uids(&self, snapshot: &Snapshot) -> HashSet<String> {
        let going = self.objects.iter().filter_map(Object::uid);
        going
            .map(str::to_owned)
            .chain(snapshot.recorded_uids())
            .collect()
    }

    fn reader<'a>(
        &'a self,
        api: &'a Api,
        snapshot: &'a Snapshot,
        own: &'a HashSet<String>,
    ) -> Reader<'a> {
        Reader {
            api,
            served: &snapshot.served,
            own,
            inventory: snapshot.inventory.as_ref().map(Inventory::id),
            claims: &self.claims,
        }
    }

    /// Returns the saved plan of the teardown, which allows these deletions and no others.
    pub fn saved_plan(&self, snapshot: &Snapshot) -> SavedPlan {
        let planned = |live: &Object| planned_deletion(live, self.contents.get(&live.id()));
        let deletions = self.objects.iter().filter_map(planned).collect();
        SavedPlan {
            cluster: snapshot.cluster_uid.clone(),
            ..SavedPlan::new(Vec::new(), deletions)
        }
    }

    /// Returns a conflict for each object that the approved teardown does not list, or lists with
    /// another UID, and one if it was made for another cluster. Teardown plans do not record the
    /// settings.
    pub fn unapproved(
        &self,
        saved_plan: &SavedPlan,
        snapshot: &Snapshot,
        options: &Options,
    ) -> Vec<Conflict> {
        let foreign = environment_conflicts(saved_plan, snapshot, options);
        let is_unlisted = |live: &&Object| {
            let uid = live.uid().unwrap_or_default();
            saved_plan.deletion(&subject(&live.id()), uid).is_none()
        };
        let unlisted = self.objects.iter().filter(is_unlisted);
        let unlisted = unlisted.map(|live| Conflict {
            subject: live.subject(),
            kind: ConflictKind::Unplanned,
        });
        foreign.into_iter().chain(unlisted).collect()
    }

    /// Returns the changeset: the objects that would be deleted.
    pub fn changes(&self, snapshot: &Snapshot) -> Vec<ResourceDiff> {
        let diff = |live: &Object| {
            let plural = snapshot.served.plural(live);
            let mut diff = render::resource_diff(plural, Op::Delete, Some(live), None, true);
            if let Some(contents) = self.contents.get(&live.id()) {
                diff.entries.splice(0..0, contents.lines());
            }
            diff
        };
        self.objects.iter().map(diff).collect()
    }
}

/// Deletes the objects of a teardown and waits at most `timeout` until they are gone. Objects that
/// are gone leave the inventory; an empty inventory is deleted. Reports what is waited for to
/// `progress`.
// Long: the stages of a teardown, in order.
pub async fn teardown(
    api: &Api,
    snapshot: &Snapshot,
    teardown: &Teardown,
    options: &Options,
    timeout: Duration,
    progress: &(dyn Fn(&str) + Sync),
) -> TeardownResult {
    let objects = match snapshot.unreadable.keys().next() {
        // An object that cannot be read may be in one of the namespaces, or would be lost with the
        // inventory.
        Some(_) => teardown
            .objects
            .iter()
            .filter(|object| Stage::of(object) != Stage::Prerequisites)
            .cloned()
            .collect(),
        None => teardown.objects.clone(),
    };
    let own = teardown.own_uids(snapshot);
    let scope = Scope {
        inventory_namespace: snapshot.inventory_namespace(),
        reader: teardown.reader(api, snapshot, &own),
        allowed: &teardown.contents,
        progress,
    };
    let outcomes = delete(api, &snapshot.served, objects, &scope, timeout).await;
    let mut torn = result_of(snapshot, teardown, &outcomes);
    torn.remaining.extend(
        snapshot
            .unreadable
            .iter()
            .map(|(id, reason)| format!("{id}: it cannot be read: {reason}")),
    );
    let (given_back, not_released) =
        release(api, &snapshot.served, &teardown.adopted, options).await;
    torn.remaining.extend(not_released);
    let going: BTreeSet<ObjectId> = teardown.objects.iter().map(Object::id).collect();
    let adopted: BTreeSet<ObjectId> = teardown.adopted.iter().map(Object::id).collect();
    if let Some(mut inventory) = snapshot.inventory.clone() {
        let stays = |id: &ObjectId| {
            if adopted.contains(id) {
                return !given_back.contains(id);
            }
            let is_left = going.contains(id)
                && outcomes
                    .get(id)
                    .is_none_or(|outcome| *outcome != DeletionOutcome::Gone);
            is_left || snapshot.unreadable.contains_key(id) || teardown.protected.contains(id)
        };
        inventory.objects.retain(|id, _| stays(id));
        let api = &api.to_the_end();
        let settled = settle(api, snapshot, inventory.clone(), options).await;
        match settled {
            // The inventory is gone, or about to be, with its namespace.
            Err(error) if error.is_not_found() || is_namespace_deleted(&inventory, &outcomes) => {
                tracing::debug!(%error, "the inventory goes with its namespace");
            }
            Err(error) => torn.remaining.push(error.to_string()),
            Ok(()) => {}
        }
    }
    torn
}

/// Writes an inventory, or removes it if it is empty.
async fn settle(
    api: &Api,
    snapshot: &Snapshot,
    mut inventory: Inventory,
    options: &Options,
) -> Result<(), ClusterError> {
    if !inventory.is_stored() {
        return Ok(());
    }
    if inventory.objects.is_empty() {
        return with_write_timeout(api, inventory.remove(api, &snapshot.served)).await;
    }
    let writer = options.writer();
    with_write_timeout(api, inventory.write(api, &snapshot.served, &writer)).await
}

fn is_namespace_deleted(
    inventory: &Inventory,
    outcomes: &BTreeMap<ObjectId, DeletionOutcome>,
) -> bool {
    outcomes
        .keys()
        .any(|id| id.kind == "Namespace" && id.name == inventory.component.namespace)
}

fn result_of(
    snapshot: &Snapshot,
    teardown: &Teardown,
    outcomes: &BTreeMap<ObjectId, DeletionOutcome>,
) -> TeardownResult {
    let mut torn = TeardownResult::default();
    for live in &teardown.objects {
        // An object that was not tried stays because another one cannot be read.
        let untried =
            || DeletionOutcome::Remaining("not tried while another object cannot be read".into());
        let outcome = &outcomes.get(&live.id()).cloned().unwrap_or_else(untried);
        torn.refusal = torn.refusal.max(outcome.refusal());
        torn.remaining.extend(
            outcome
                .reason()
                .map(|reason| format!("{}: {reason}", live.subject())),
        );
        torn.diffs.push(outcome.diff(&snapshot.served, live));
    }
    torn
}
