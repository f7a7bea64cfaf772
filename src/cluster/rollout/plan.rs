//! What an apply would change. Sends reads and dry runs only.
//!
//! Of each object it is said who has checked it: the server, by a dry run; nobody, because it is known to be
//! unchanged (the inventory remembers what was wanted of it and seen in it, and both are still so); or this
//! program, where the server cannot yet: the object's definition, its namespace or its account comes with the
//! same set.

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
use crate::cluster::rollout::snapshot::Survey;
use crate::cluster::rollout::{annotations, deny, prune};
use crate::manifest::managed_fields::owners;
use crate::manifest::{Object, ObjectId};
use crate::plan::changeset::{Change, DiffEntry, Op, ResourceDiff};
use crate::plan::contract::{Contract, Doomed, Promise, Subject};

/// Dry runs at once.
const AT_ONCE: usize = 8;

/// Who has checked an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    /// It is known to be unchanged.
    Known,
    /// The server.
    Server,
    /// This program, against the schema of the kind.
    Here,
    /// Nobody: what would tell cannot be read.
    Nobody,
}

impl Checked {
    /// As it is told.
    pub fn words(self) -> &'static str {
        match self {
            Self::Known => "known to be unchanged",
            Self::Server => "verified by server",
            Self::Here => "checked here",
            Self::Nobody => "not checked: the schema of its kind cannot be read",
        }
    }
}

/// A field whose value another manager has set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owned {
    /// The field.
    pub path: String,
    /// The manager.
    pub manager: String,
    /// `Apply` or `Update`.
    pub operation: String,
    /// When it last wrote to the object, as the server says.
    pub time: String,
}

/// What becomes of one object.
#[derive(Debug)]
pub struct Entry {
    /// Which.
    pub id: ObjectId,
    /// What becomes of it.
    pub diff: ResourceDiff,
    /// Who has checked it.
    pub checked: Checked,
    /// What is there in the fields that it touches; none if it is not there.
    pub touched: Option<Object>,
    /// Its UID.
    uid: Option<String>,
    /// What the server says that will be in these fields.
    expected: Option<String>,
    /// Whether it would be deleted and made again.
    pub recreate: bool,
    /// Fields that others own and that would become ours.
    pub taken: Vec<Owned>,
    /// If nothing else is wanted of it than at the last deploy: who has changed the fields that differ.
    pub drift: Vec<Owned>,
    /// Whether it is refused because others own fields of it.
    pub by_guard: bool,
    /// Whether permission is missing.
    pub is_forbidden: bool,
}

impl Entry {
    /// A sentence on each field that would be taken from others, or that they have changed.
    pub fn remarks(&self) -> impl Iterator<Item = String> {
        let taken = self.taken.iter().map(|owned| (owned, "taken from"));
        let all = taken.chain(self.drift.iter().map(|owned| (owned, "changed by")));
        all.map(
            |(
                Owned {
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

/// What an apply would change.
#[derive(Debug)]
pub struct Plan {
    /// Of each object, in their order.
    pub entries: Vec<Entry>,
    /// Objects that are no longer part of the component, and go.
    pub deletions: Vec<Deletion>,
    /// What people should know.
    pub notes: Vec<String>,
}

impl Plan {
    /// The changeset: every object that something happens to, deletions last.
    pub fn changes(&self) -> impl Iterator<Item = &ResourceDiff> + Clone {
        let changed = self
            .entries
            .iter()
            .map(|entry| &entry.diff)
            .filter(|diff| diff.change != Change::Unchanged);
        changed.chain(self.deletions.iter().map(|deletion| &deletion.diff))
    }

    /// The changeset, of a plan that is used no more.
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

    /// Whether nothing would change.
    pub fn is_noop(&self) -> bool {
        self.changes().next().is_none()
    }

    /// The objects that cannot be applied, each with its reason.
    pub fn errors(&self) -> Vec<String> {
        errors(self.entries.iter().map(|entry| &entry.diff))
    }

    /// What the plan promises of its objects and deletions.
    pub fn contract(&self, survey: &Survey, options: &Options) -> Contract {
        let objects = self.entries.iter().map(|entry| Promise {
            subject: subject(&entry.id),
            change: entry.diff.change,
            touched: entry.touched.as_ref().map(|touched| touched.0.clone()),
            uid: entry.uid.clone(),
            expected: entry.expected.clone(),
            recreate: entry.recreate,
        });
        let deletions = self.deletions.iter().map(|deletion| doomed(&deletion.live));
        Contract {
            cluster: survey.cluster.clone(),
            options: Some(options.fingerprint()),
            ..Contract::new(objects.collect(), deletions.collect())
        }
    }
}

/// An identity as documents have it.
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

/// An object that goes, as documents have it.
pub(super) fn doomed(live: &Object) -> Doomed {
    Doomed {
        subject: subject(&live.id()),
        uid: live.uid().unwrap_or_default().to_owned(),
    }
}

/// The server's answer to the question whether it would take an object that is to be made again, asked under another
/// name: an object that is invalid must not cost the one that is there.
///
/// # Errors
/// [`ClusterError`] if it would not.
pub(super) async fn try_as_new(
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

/// The objects that a changeset says cannot be applied, each with its reason.
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

/// Plans an apply. What is wrong with an object is in its entry.
///
/// # Errors
/// [`ClusterError`] if what others hold cannot be read.
pub async fn plan(api: &Api, survey: &Survey, options: &Options) -> Result<Plan, ClusterError> {
    let planner = Planner {
        api,
        survey,
        options,
    };
    let entries: Vec<_> = survey
        .objects
        .iter()
        .map(|object| planner.entry(object))
        .collect();
    let mut entries: Vec<Entry> = futures_util::stream::iter(entries)
        .buffered(AT_ONCE)
        .collect()
        .await;
    planner.check_here(&mut entries).await;
    for (object, reason) in deny::refusals(&survey.objects, &options.deny) {
        let id = object.id();
        for entry in entries.iter_mut().filter(|entry| entry.id == id) {
            entry.diff = render::failed(
                survey.served.plural(object),
                Op::Apply,
                object,
                reason.clone(),
                true,
            );
            entry.by_guard = true;
        }
    }
    let pruning = prune::plan(api, survey, options).await?;
    let guarded = prune::guard(survey, &pruning, options);
    let guarded =
        guarded.map(|reason| format!("{reason}: it is done only because this plan lists them"));
    let marks = survey
        .objects
        .iter()
        .flat_map(|object| annotations::effects(object, survey.live.get(&object.id()), options));
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

/// The objects of which something else is wanted than at the last deploy.
pub fn newly_wanted<'s>(survey: &'s Survey, options: &Options) -> Vec<&'s Object> {
    survey
        .objects
        .iter()
        .filter(|object| !is_wanted_as_before(survey, options, object))
        .collect()
}

fn is_wanted_as_before(survey: &Survey, options: &Options, wanted: &Object) -> bool {
    let Some(record) = survey.record(&wanted.id()) else {
        return false;
    };
    let now = fingerprint_of(wanted, wanted.is_secret(), options.fields.key.as_deref());
    now.is_some() && record.wanted == now && record.superseded.is_none()
}

struct Planner<'a> {
    api: &'a Api,
    survey: &'a Survey,
    options: &'a Options,
}

impl Planner<'_> {
    async fn entry(&self, object: &Object) -> Entry {
        let live = self.survey.live.get(&object.id());
        let mut wanted = object.clone();
        if let Some(live) = live {
            leave_as_they_are(&mut wanted, live, &self.options.fields);
        }
        let mut entry = Entry {
            id: object.id(),
            touched: live.map(|live| touched(object, live, &self.options.fields)),
            uid: live.and_then(Object::uid).map(str::to_owned),
            expected: None,
            diff: render::blank("", Op::Apply, Some(&wanted), true),
            checked: Checked::Server,
            recreate: false,
            taken: Vec::new(),
            drift: Vec::new(),
            by_guard: false,
            is_forbidden: false,
        };
        let Ok(resource) = self.survey.served.resource(object) else {
            entry.checked = Checked::Here;
            entry.diff = render::resource_diff("", Op::Apply, None, Some(&wanted), true);
            return entry;
        };
        let same_wanted = is_wanted_as_before(self.survey, self.options, &wanted);
        if let Some(live) =
            live.filter(|live| same_wanted && self.is_as_left(live, entry.touched.as_ref()))
        {
            entry.checked = Checked::Known;
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

    /// The server has said what it would make of the object.
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
            entry.taken = self.others(live, &after);
        }
        entry.expected = foreseen(
            &touched(wanted, &after, &self.options.fields),
            &self.options.fields,
        );
        entry.diff = render::resource_diff(resource.plural(), Op::Apply, live, Some(&after), true);
    }

    /// The server has refused the object: it may wait for what comes with the set, be made again, or be wrong.
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
        if self.waits_for_the_set(error, wanted) {
            entry.checked = Checked::Here;
            entry.diff = diff(None, wanted);
        } else if error.is_unknown_field() && self.survey.brought.kind(wanted).is_some() {
            // The definition in the set may have the field.
            entry.checked = Checked::Here;
            let after = live.map_or_else(|| wanted.clone(), |live| overlaid(live, wanted));
            entry.diff = diff(live, &after);
        } else if error.is_immutable() && live.is_some_and(|live| self.may_recreate(wanted, live)) {
            entry.recreate = true;
            entry.diff =
                match try_as_new(self.api, resource, wanted, &self.options.fields.manager).await {
                    Ok(made) => {
                        entry.expected = foreseen(
                            &touched(wanted, &made, &self.options.fields),
                            &self.options.fields,
                        );
                        let told = "the object is deleted and made again".to_owned();
                        let mut diff = diff(live, wanted);
                        diff.entries
                            .insert(0, DiffEntry::line(None, Change::Removed, told));
                        diff
                    }
                    Err(error) => failed(error.to_string()),
                };
        } else {
            entry.by_guard = error.is_owned_by_others();
            entry.is_forbidden = error.is_forbidden();
            entry.diff = failed(explain(error, live.is_some()));
        }
    }

    /// Whether the touched fields are as the last deploy left them.
    fn is_as_left(&self, live: &Object, touched: Option<&Object>) -> bool {
        let Some((record, touched)) = self.survey.record(&live.id()).zip(touched) else {
            return false;
        };
        let seen = fingerprint_of(
            touched,
            live.is_secret(),
            self.options.fields.key.as_deref(),
        );
        seen.is_some() && record.seen == seen && live.uid() == Some(&record.uid)
    }

    /// The fields that an apply would change and that other managers own.
    fn others(&self, live: &Object, after: &Object) -> Vec<Owned> {
        let owners = owners(live);
        let mut owned = Vec::new();
        for difference in compare(live, after, Form::Ours) {
            let owner = owners.iter().find(|owner| {
                !self.options.fields.is_ours(owner.manager) && owner.owns(live, &difference.pointer)
            });
            owned.extend(owner.map(|owner| Owned {
                path: difference.path,
                manager: owner.manager.to_owned(),
                operation: owner.operation.to_owned(),
                time: owner.time.to_owned(),
            }));
        }
        owned
    }

    /// Whether the server refused only because something that comes with the set is not there yet.
    fn waits_for_the_set(&self, error: &ClusterError, object: &Object) -> bool {
        let ClusterError::Refused { message, code, .. } = error else {
            return false;
        };
        if self.survey.is_in_new_namespace(object) && error.is_not_found() {
            return true;
        }
        let namespace = object.namespace();
        if *code == 403 && message.contains("error looking up service account") {
            let account = message.rsplit('"').nth(1).unwrap_or_default();
            return self.survey.brings("ServiceAccount", namespace, account);
        }
        let role = |member: &str| object.0.get("roleRef")?.get(member)?.as_str();
        match (role("kind"), role("name")) {
            (Some(kind), Some(name)) => {
                error.is_not_found() && self.survey.brings(kind, namespace, name)
            }
            _ => false,
        }
    }

    /// By annotation, where the author may say so, or by setting; never where more goes with the object, or somebody keeps
    /// it.
    fn may_recreate(&self, object: &Object, live: &Object) -> bool {
        let is_annotated = object
            .annotation(RECREATE)
            .is_some_and(|text| text == "allowed");
        let is_allowed =
            self.options.recreate || (is_annotated && self.options.author_may.recreate);
        is_allowed && prune::goes_with(object).is_none() && marks::kept(live).is_none()
    }

    async fn published(&self, versions: BTreeSet<String>) -> Result<Published, ClusterError> {
        let mut documents = HashMap::new();
        for api_version in versions {
            let document = self.api.schema(&api_version).await?;
            documents.insert(api_version, document);
        }
        Ok(Published(documents))
    }

    /// Checks the objects that the server could not, against the schemas of their kinds.
    async fn check_here(&self, entries: &mut [Entry]) {
        let definitions: BTreeMap<(&str, &str), &Object> = self
            .survey
            .objects
            .iter()
            .filter_map(|object| Some((object.defines()?, object)))
            .collect();
        let definition =
            |object: &Object| definitions.get(&(object.group(), object.kind())).copied();
        let objects = self.survey.objects.iter();
        let unchecked = objects
            .clone()
            .zip(entries.iter())
            .filter(|(_, entry)| entry.checked == Checked::Here);
        let published: BTreeSet<String> = unchecked
            .filter(|(object, _)| definition(object).is_none())
            .map(|(object, _)| object.api_version().to_owned())
            .collect();
        let published = self.published(published).await.ok();
        for (object, entry) in objects
            .zip(entries)
            .filter(|(_, entry)| entry.checked == Checked::Here)
        {
            let faults = match (definition(object), &published) {
                (Some(definition), _) => faults_by_definition(object, definition),
                (None, Some(published)) => published.faults(object),
                (None, None) => {
                    entry.checked = Checked::Nobody;
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

/// A live object with what is wanted of it, as near as can be told without the server.
fn overlaid(live: &Object, wanted: &Object) -> Object {
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

/// Why an object is refused, and what to do.
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
            "{error}; a field that cannot be changed needs a new object: give it another name, or \
             allow that it is deleted and made again, by the setting deploy.recreate, or by the \
             annotation {RECREATE}: allowed where deploy.author_may has recreate"
        );
    }
    error.to_string()
}
