//! Plans what an apply would change. Sends reads and dry runs only.
//!
//! Each entry says who has checked the object: the server, by a dry run; nobody, because the
//! inventory's hashes of the desired and the live fields show that it is unchanged; or this
//! program, because the server cannot check it yet: its CRD, its namespace or its service account
//! is part of the same set.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures_util::StreamExt as _;
use serde_json::{Map, Value};

use crate::cluster::client::api::{Force, Write};
use crate::cluster::client::discovery::Resource;
use crate::cluster::client::{Api, ClusterError};
use crate::cluster::fields::adopt::{taken_over, without_left_behind};
use crate::cluster::fields::diff::{Form, compare};
use crate::cluster::fields::ignore::leave_as_they_are;
use crate::cluster::fields::managed_values::{fingerprint_of, foreseen, touched};
use crate::cluster::fields::policy::FieldPolicy;
use crate::cluster::fields::schema::{Published, faults_by_definition};
use crate::cluster::fields::{marks, render};
use crate::cluster::rollout::annotations::RECREATE;
use crate::cluster::rollout::options::{Conflicts, Options};
use crate::cluster::rollout::prune::Deletion;
use crate::cluster::rollout::snapshot::Snapshot;
use crate::cluster::rollout::{annotations, deny, prune};
use crate::manifest::managed_fields::owners;
use crate::manifest::{Object, ObjectId};
use crate::plan::changeset::{Change, DiffEntry, Op, ResourceDiff};
use crate::plan::contract::{ExpectedObject, PlannedDeletion, SavedPlan, Subject};

/// Maximum number of concurrent dry runs.
const MAX_CONCURRENT: usize = 8;

/// Who has checked an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    /// Nobody had to: the object is known to be unchanged.
    Unchanged,
    /// The server, by a dry run.
    Server,
    /// This program, against the schema of its kind.
    Local,
    /// Nobody: the schema of its kind cannot be read.
    Unchecked,
}

impl Checked {
    /// Returns the words that people read.
    pub fn words(self) -> &'static str {
        match self {
            Self::Unchanged => "known to be unchanged",
            Self::Server => "verified by server",
            Self::Local => "checked here",
            Self::Unchecked => "not checked: the schema of its kind cannot be read",
        }
    }
}

/// A field that another field manager owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedField {
    /// Path of the field.
    pub path: String,
    /// Name of the field manager.
    pub manager: String,
    /// `Apply` or `Update`.
    pub operation: String,
    /// Time of the manager's last write to the object, from `managedFields`.
    pub time: String,
}

/// The planned change of one object.
#[derive(Debug)]
pub struct Entry {
    /// Identity of the object.
    pub id: ObjectId,
    /// The change, as the changeset shows it.
    pub diff: ResourceDiff,
    /// How the object was checked.
    pub checked: Checked,
    /// The managed values of the live object; `Missing` if it does not exist.
    pub managed_values: Option<Object>,
    /// UID of the live object.
    uid: Option<String>,
    /// Hash of the managed values after the apply, from the server's dry run.
    expected_hash: Option<String>,
    /// Whether the object would be deleted and recreated.
    pub recreate: bool,
    /// Fields of other managers that the apply would change and then own.
    pub taken: Vec<OwnedField>,
    /// Fields that other managers have changed since the last deploy; set instead of `taken` if the
    /// desired state is the same as then.
    pub drift: Vec<OwnedField>,
    /// Whether the object is refused by a guard: others own fields of it, or `deploy.deny` forbids
    /// it.
    pub is_guarded: bool,
    /// Whether the server refused it for lack of permission.
    pub is_forbidden: bool,
}

impl Entry {
    /// Returns a sentence for each field in `taken` and `drift`.
    pub fn remarks(&self) -> impl Iterator<Item = String> {
        let taken = self.taken.iter().map(|owned| (owned, "taken from"));
        let all = taken.chain(self.drift.iter().map(|owned| (owned, "changed by")));
        all.map(
            |(
                OwnedField {
                    path,
                    manager,
                    operation,
                    time,
                },
                what,
            )| { format!("{path} is {what} {manager} ({operation}, {time})") },
        )
    }
}

/// The planned changes of an apply.
#[derive(Debug)]
pub struct Plan {
    /// One entry for each object of the snapshot, in the same order.
    pub entries: Vec<Entry>,
    /// Objects that are no longer part of the component and would be deleted.
    pub deletions: Vec<Deletion>,
    /// Notes for the user.
    pub notes: Vec<String>,
}

impl Plan {
    /// Returns the changeset: every object that changes or fails, deletions last.
    pub fn changes(&self) -> impl Iterator<Item = &ResourceDiff> + Clone {
        let changed = self
            .entries
            .iter()
            .map(|entry| &entry.diff)
            .filter(|diff| diff.change != Change::Unchanged);
        changed.chain(self.deletions.iter().map(|deletion| &deletion.diff))
    }

    /// Returns the changeset and consumes the plan.
    pub fn into_changes(self) -> Vec<ResourceDiff> {
        let changed = self
            .entries
            .into_iter()
            .map(|entry| entry.diff)
            .filter(|diff| diff.change != Change::Unchanged);
        changed
            .chain(self.deletions.into_iter().map(|deletion| deletion.diff))
            .collect()
    }

    /// Returns true if nothing would change.
    pub fn is_noop(&self) -> bool {
        self.changes().next().is_none()
    }

    /// Returns the objects that cannot be applied, each with its reason.
    pub fn errors(&self) -> Vec<String> {
        errors(self.entries.iter().map(|entry| &entry.diff))
    }

    /// Returns the saved plan: what was read of each object, and what would be deleted.
    pub fn saved_plan(&self, snapshot: &Snapshot, options: &Options) -> SavedPlan {
        let objects = self.entries.iter().map(|entry| ExpectedObject {
            subject: subject(&entry.id),
            change: entry.diff.change,
            touched: entry
                .managed_values
                .as_ref()
                .map(|touched| touched.0.clone()),
            uid: entry.uid.clone(),
            expected: entry.expected_hash.clone(),
            recreate: entry.recreate,
        });
        let deletions = self
            .deletions
            .iter()
            .map(|deletion| planned_deletion(&deletion.live));
        SavedPlan {
            cluster: snapshot.cluster_uid.clone(),
            options: Some(options.fingerprint()),
            ..SavedPlan::new(objects.collect(), deletions.collect())
        }
    }
}

/// Converts an identity to its form in saved plans.
pub fn subject(id: &ObjectId) -> Subject {
    let ObjectId {
        group,
        kind,
        namespace,
        name,
    } = id.clone();
    Subject {
        group,
        kind,
        namespace,
        name,
    }
}

/// Converts an object to delete to its form in saved plans.
pub(super) fn planned_deletion(live: &Object) -> PlannedDeletion {
    PlannedDeletion {
        subject: subject(&live.id()),
        uid: live.uid().unwrap_or_default().to_owned(),
    }
}

/// Dry-runs a recreation under a temporary name, so that an invalid object never costs the live
/// one. Returns the result under the object's own name.
///
/// # Errors
/// Fails if the server would not create the object.
pub(super) async fn dry_run_recreation(
    api: &Api,
    resource: &Resource,
    object: &Object,
    manager: &str,
) -> Result<Object, ClusterError> {
    let mut new = object.clone();
    let mut name = |name: String| {
        if let Some(Value::Object(metadata)) = new.0.get_mut("metadata") {
            metadata.insert("name".into(), name.into());
        }
    };
    let start: String = object.name().chars().take(40).collect();
    name(format!("{start}-{:08x}", rand::random::<u32>()));
    let mut made = api
        .apply(&resource.api, &new, manager, Write::DryRun, Force::No)
        .await?;
    if let Some(Value::Object(metadata)) = made.0.get_mut("metadata") {
        metadata.insert("name".into(), object.name().into());
    }
    Ok(made)
}

/// Returns the failed objects of a changeset, each with its reason.
pub fn errors<'a>(diffs: impl Iterator<Item = &'a ResourceDiff>) -> Vec<String> {
    let failed = diffs.filter(|diff| diff.change == Change::Error);
    failed
        .map(|diff| {
            format!(
                "{}: {}",
                diff.subject(),
                diff.error.as_deref().unwrap_or_default()
            )
        })
        .collect()
}

/// Plans an apply. Errors of single objects are in their entries.
///
/// # Errors
/// Fails if the inventories of other components cannot be read, or this component's inventory was
/// changed by another client.
pub async fn plan(api: &Api, snapshot: &Snapshot, options: &Options) -> Result<Plan, ClusterError> {
    let planner = Planner {
        api,
        snapshot,
        options,
    };
    let entries: Vec<_> = snapshot
        .objects
        .iter()
        .map(|object| planner.entry(object))
        .collect();
    let mut entries: Vec<Entry> = futures_util::stream::iter(entries)
        .buffered(MAX_CONCURRENT)
        .collect()
        .await;
    planner.check_locally(&mut entries).await;
    for (object, reason) in deny::refusals(&snapshot.objects, &options.deny) {
        let id = object.id();
        for entry in entries.iter_mut().filter(|entry| entry.id == id) {
            entry.diff = render::failed(
                snapshot.served.plural(object),
                Op::Apply,
                object,
                reason.clone(),
                true,
            );
            entry.is_guarded = true;
        }
    }
    let pruning = prune::plan(api, snapshot, options).await?;
    let guarded = prune::approval_reason(snapshot, &pruning, options);
    let guarded = guarded
        .map(|reason| format!("{reason}; they are allowed only because this plan lists them"));
    let marks = snapshot
        .objects
        .iter()
        .flat_map(|object| annotations::effects(object, snapshot.live.get(&object.id()), options));
    let notes = pruning
        .notes
        .into_iter()
        .chain(guarded)
        .chain(marks)
        .collect();
    Ok(Plan {
        entries,
        deletions: pruning.deletions,
        notes,
    })
}

/// Returns the objects whose desired state differs from the last deploy's.
pub fn with_new_desired_state<'s>(snapshot: &'s Snapshot, options: &Options) -> Vec<&'s Object> {
    snapshot
        .objects
        .iter()
        .filter(|object| !is_desired_state_unchanged(snapshot, options, object))
        .collect()
}

fn is_desired_state_unchanged(snapshot: &Snapshot, options: &Options, wanted: &Object) -> bool {
    let Some(record) = snapshot.record(&wanted.id()) else {
        return false;
    };
    let now = fingerprint_of(wanted, wanted.is_secret(), options.fields.key.as_deref());
    now.is_some() && record.wanted == now && record.superseded.is_none()
}

struct Planner<'a> {
    api: &'a Api,
    snapshot: &'a Snapshot,
    options: &'a Options,
}

impl Planner<'_> {
    async fn entry(&self, object: &Object) -> Entry {
        let live = self.snapshot.live.get(&object.id());
        let mut wanted = object.clone();
        if let Some(live) = live {
            leave_as_they_are(&mut wanted, live, &self.options.fields);
        }
        let mut entry = Entry {
            id: object.id(),
            managed_values: live.map(|live| touched(object, live, &self.options.fields)),
            uid: live.and_then(Object::uid).map(str::to_owned),
            expected_hash: None,
            diff: render::blank("", Op::Apply, Some(&wanted), true),
            checked: Checked::Server,
            recreate: false,
            taken: Vec::new(),
            drift: Vec::new(),
            is_guarded: false,
            is_forbidden: false,
        };
        let Ok(resource) = self.snapshot.served.resource(object) else {
            entry.checked = Checked::Local;
            entry.diff = render::resource_diff("", Op::Apply, None, Some(&wanted), true);
            return entry;
        };
        let same_wanted = is_desired_state_unchanged(self.snapshot, self.options, &wanted);
        if let Some(live) = live
            .filter(|live| same_wanted && self.is_as_deployed(live, entry.managed_values.as_ref()))
        {
            entry.checked = Checked::Unchanged;
            entry.diff = render::unchanged(resource.plural(), live, true);
            return entry;
        }
        let force = match (live, self.options.conflicts) {
            (Some(_), Conflicts::Force) => Force::Yes,
            _ => Force::No,
        };
        match self
            .api
            .apply(
                &resource.api,
                &wanted,
                &self.options.fields.manager,
                Write::DryRun,
                force,
            )
            .await
        {
            Ok(after) => self.verified(&mut entry, resource, &wanted, live, after),
            Err(error) => {
                self.refused(&mut entry, resource, &wanted, live, &error)
                    .await
            }
        }
        if same_wanted {
            entry.drift = std::mem::take(&mut entry.taken);
        }
        entry
    }

    /// Fills the entry from a successful dry run.
    fn verified(
        &self,
        entry: &mut Entry,
        resource: &Resource,
        wanted: &Object,
        live: Option<&Object>,
        mut after: Object,
    ) {
        let FieldPolicy {
            manager,
            adopt_from,
            ..
        } = &self.options.fields;
        if let Some(live) = live {
            if taken_over(live, manager, adopt_from).is_some() {
                without_left_behind(&mut after, wanted, manager, adopt_from);
            }
            entry.taken = self.fields_of_others(live, &after);
        }
        entry.expected_hash = foreseen(
            &touched(wanted, &after, &self.options.fields),
            &self.options.fields,
        );
        entry.diff = render::resource_diff(resource.plural(), Op::Apply, live, Some(&after), true);
    }

    /// Fills the entry after a failed dry run. The object may depend on other objects of the set,
    /// may have to be recreated, or is invalid.
    async fn refused(
        &self,
        entry: &mut Entry,
        resource: &Resource,
        wanted: &Object,
        live: Option<&Object>,
        error: &ClusterError,
    ) {
        let diff = |before, after: &Object| {
            render::resource_diff(resource.plural(), Op::Apply, before, Some(after), true)
        };
        let failed = |message| render::failed(resource.plural(), Op::Apply, wanted, message, true);
        if self.depends_on_set(error, wanted) {
            entry.checked = Checked::Local;
            entry.diff = diff(None, wanted);
        } else if error.is_unknown_field() && self.snapshot.provided.kind(wanted).is_some() {
            // The CRD in the set may define the field.
            entry.checked = Checked::Local;
            let after = live.map_or_else(|| wanted.clone(), |live| merged_locally(live, wanted));
            entry.diff = diff(live, &after);
        } else if error.is_immutable() && live.is_some_and(|live| self.may_recreate(wanted, live)) {
            entry.recreate = true;
            entry.diff =
                match dry_run_recreation(self.api, resource, wanted, &self.options.fields.manager)
                    .await
                {
                    Ok(made) => {
                        entry.expected_hash = foreseen(
                            &touched(wanted, &made, &self.options.fields),
                            &self.options.fields,
                        );
                        let told = "the object is deleted and recreated".to_owned();
                        let mut diff = diff(live, wanted);
                        diff.entries
                            .insert(0, DiffEntry::line(None, Change::Removed, told));
                        diff
                    }
                    Err(error) => failed(error.to_string()),
                };
        } else {
            entry.is_guarded = error.is_owned_by_others();
            entry.is_forbidden = error.is_forbidden();
            entry.diff = failed(explain(error, live.is_some()));
        }
    }

    /// Returns true if the managed values are as the last deploy left them.
    fn is_as_deployed(&self, live: &Object, touched: Option<&Object>) -> bool {
        let Some((record, touched)) = self.snapshot.record(&live.id()).zip(touched) else {
            return false;
        };
        let seen = fingerprint_of(
            touched,
            live.is_secret(),
            self.options.fields.key.as_deref(),
        );
        seen.is_some() && record.seen == seen && live.uid() == Some(&record.uid)
    }

    /// Returns the fields that an apply would change and that other managers own.
    fn fields_of_others(&self, live: &Object, after: &Object) -> Vec<OwnedField> {
        let owners = owners(live);
        let mut owned = Vec::new();
        for difference in compare(live, after, Form::Ours) {
            let owner = owners.iter().find(|owner| {
                !self.options.fields.is_ours(owner.manager) && owner.owns(live, &difference.pointer)
            });
            owned.extend(owner.map(|owner| OwnedField {
                path: difference.path,
                manager: owner.manager.to_owned(),
                operation: owner.operation.to_owned(),
                time: owner.time.to_owned(),
            }));
        }
        owned
    }

    /// Returns true if the server refused the object only because another object of the set does
    /// not exist yet.
    fn depends_on_set(&self, error: &ClusterError, object: &Object) -> bool {
        let ClusterError::Refused { message, code, .. } = error else {
            return false;
        };
        if self.snapshot.is_in_provided_namespace(object) && error.is_not_found() {
            return true;
        }
        let namespace = object.namespace();
        if *code == 403 && message.contains("error looking up service account") {
            let account = message.rsplit('"').nth(1).unwrap_or_default();
            return self.snapshot.provides("ServiceAccount", namespace, account);
        }
        let role = |member: &str| object.0.get("roleRef")?.get(member)?.as_str();
        match (role("kind"), role("name")) {
            (Some(kind), Some(name)) => {
                error.is_not_found() && self.snapshot.provides(kind, namespace, name)
            }
            _ => false,
        }
    }

    /// Returns true if the object may be deleted and recreated: the setting allows it, or the
    /// annotation where authors may use it. Never true if the deletion would take other objects or
    /// data along, or a keep annotation is set on the live object.
    fn may_recreate(&self, object: &Object, live: &Object) -> bool {
        let is_annotated = object
            .annotation(RECREATE)
            .is_some_and(|text| text == "allowed");
        let is_allowed =
            self.options.recreate || (is_annotated && self.options.author_may.recreate);
        is_allowed && prune::cascade_reason(object).is_none() && marks::keep_mark(live).is_none()
    }

    async fn published(&self, versions: BTreeSet<String>) -> Result<Published, ClusterError> {
        let mut documents = HashMap::new();
        for api_version in versions {
            let document = self.api.schema(&api_version).await?;
            documents.insert(api_version, document);
        }
        Ok(Published(documents))
    }

    /// Checks the objects that the server could not check, against the schemas of their kinds.
    async fn check_locally(&self, entries: &mut [Entry]) {
        let definitions: BTreeMap<(&str, &str), &Object> = self
            .snapshot
            .objects
            .iter()
            .filter_map(|object| Some((object.defines()?, object)))
            .collect();
        let definition =
            |object: &Object| definitions.get(&(object.group(), object.kind())).copied();
        let objects = self.snapshot.objects.iter();
        let unchecked = objects
            .clone()
            .zip(entries.iter())
            .filter(|(_, entry)| entry.checked == Checked::Local);
        let published: BTreeSet<String> = unchecked
            .filter(|(object, _)| definition(object).is_none())
            .map(|(object, _)| object.api_version().to_owned())
            .collect();
        let published = self.published(published).await.ok();
        for (object, entry) in objects
            .zip(entries)
            .filter(|(_, entry)| entry.checked == Checked::Local)
        {
            let faults = match (definition(object), &published) {
                (Some(definition), _) => faults_by_definition(object, definition),
                (None, Some(published)) => published.faults(object),
                (None, None) => {
                    entry.checked = Checked::Unchecked;
                    continue;
                }
            };
            if !faults.is_empty() {
                entry.diff.change = Change::Error;
                entry.diff.error = Some(faults.join("; "));
                entry.diff.entries.clear();
            }
        }
    }
}

/// Merges the desired object into the live one: an approximation of server-side apply for objects
/// that the server cannot check.
fn merged_locally(live: &Object, wanted: &Object) -> Object {
    fn overlay(live: &mut Map<String, Value>, wanted: &Map<String, Value>) {
        for (key, wanted) in wanted {
            match (live.get_mut(key), wanted) {
                (Some(Value::Object(live)), Value::Object(wanted)) => overlay(live, wanted),
                _ => drop(live.insert(key.clone(), wanted.clone())),
            }
        }
    }
    let mut object = live.0.clone();
    overlay(&mut object, &wanted.0);
    Object(object)
}

/// Formats the reason why an object was refused, with advice.
pub(super) fn explain(error: &ClusterError, exists: bool) -> String {
    let owned = error.owned_by_others();
    if !owned.is_empty() {
        let fields: Vec<String> = owned
            .iter()
            .map(|cause| format!("{} ({})", cause.field, cause.message))
            .collect();
        return format!(
            "other managers own {}; leave the fields out, ignore them ({}), or set \
             deploy.conflicts to force",
            fields.join(", "),
            crate::cluster::fields::ignore::ANNOTATION
        );
    }
    if exists && error.is_immutable() {
        return format!(
            "{error}; an immutable field can change only in a new object: give it another name, or allow it to be deleted and recreated, by the setting deploy.recreate, or by the annotation {RECREATE}: allowed where deploy.author_may has recreate"
        );
    }
    error.to_string()
}
