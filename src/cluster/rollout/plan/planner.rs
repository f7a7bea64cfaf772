//! Plans one object: dry run, local check, and the refusals of both.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Checked, Entry};
use crate::cluster::client::api::Force;
use crate::cluster::client::discovery::RestResource;
use crate::cluster::client::{Api, ClusterError};
use crate::cluster::fields::managed_values::{
    applied_values, expected_hash, managed_values, object_hash,
};
use crate::cluster::fields::normalize::secret_faults;
use crate::cluster::fields::predict::{keep_generated, merged};
use crate::cluster::fields::schema::{PublishedSchemas, faults_by_crd};
use crate::cluster::fields::{marks, render};
use crate::cluster::rollout::annotations::{self, RECREATE};
use crate::cluster::rollout::dry_run::{desired, dry_run, force};
use crate::cluster::rollout::options::Options;
use crate::cluster::rollout::others::{fields_of_others, owned_by_others};
use crate::cluster::rollout::prune;
use crate::cluster::rollout::refusal::Refusal;
use crate::cluster::rollout::refused::{dry_run_recreation, explain};
use crate::cluster::rollout::snapshot::Snapshot;
use crate::manifest::Object;
use crate::plan::changeset::{ChangeKind, Op};

pub(super) struct Planner<'a, 's> {
    pub(super) api: &'a Api,
    pub(super) snapshot: &'s Snapshot,
    pub(super) options: &'a Options,
}

impl<'s> Planner<'_, 's> {
    pub(super) async fn entry(&self, object: &'s Object) -> Entry<'s> {
        let live = self.snapshot.live.get(&object.id());
        let wanted = desired(object, live, self.options);
        let mut entry = Entry::new(object, live, self.options);
        if let Some(reason) = self.snapshot.unreadable.get(&object.id()) {
            entry.checked = Checked::Unread;
            let reason = format!("it cannot be read: {reason}");
            entry.diff = render::failed("", Op::Apply, object, reason, true);
            return entry;
        }
        let Ok(resource) = self.snapshot.served.resource(object) else {
            self.unchecked(&mut entry, "", &wanted, live);
            return entry;
        };
        let fault = match secret_fault(object) {
            None => annotations::fault(object).await,
            fault => fault,
        };
        if let Some(reason) = fault {
            entry.refuse(resource.plural(), reason, Refusal::Server);
            return entry;
        }
        if self.snapshot.has_finished(object, self.options) {
            entry.checked = Checked::Unchanged;
            entry.diff = render::unchanged(resource.plural(), object, true);
            return entry;
        }
        let same_wanted = self
            .snapshot
            .is_desired_state_unchanged(&wanted, self.options);
        if let Some(live) = live
            .filter(|live| same_wanted && self.is_as_deployed(live, entry.managed_values.as_ref()))
        {
            entry.checked = Checked::Unchanged;
            entry.diff = render::unchanged(resource.plural(), live, true);
            return entry;
        }
        match dry_run(self.api, resource, &wanted, live, self.options).await {
            Ok(after) => {
                self.verified(&mut entry, resource, &wanted, live, after);
                if force(live, self.options) == Force::No && !entry.taken.is_empty() {
                    let reason = owned_by_others(&entry.taken);
                    entry.refuse(resource.plural(), reason, Refusal::Guard);
                }
            }
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
        entry: &mut Entry<'s>,
        resource: &RestResource,
        wanted: &Object,
        live: Option<&Object>,
        after: Object,
    ) {
        if let Some(live) = live {
            entry.taken = fields_of_others(live, &after, &self.options.fields);
        }
        entry.expected_hash = expected_hash(
            &applied_values(wanted, &after, &self.options.fields),
            &self.options.fields,
        );
        entry.diff = render::resource_diff(resource.plural(), Op::Apply, live, Some(&after), true);
    }

    /// Fills the entry after a failed dry run. The object may depend on other objects of the set,
    /// may have to be recreated, or is invalid.
    pub(super) async fn refused(
        &self,
        entry: &mut Entry<'s>,
        resource: &RestResource,
        wanted: &Object,
        live: Option<&Object>,
        error: &ClusterError,
    ) {
        let diff = |before, after: &Object| {
            render::resource_diff(resource.plural(), Op::Apply, before, Some(after), true)
        };
        if self.depends_on_set(error, wanted) {
            entry.checked = Checked::Local;
            entry.diff = diff(None, wanted);
        } else if error.is_unknown_field() && self.snapshot.provided.kind(wanted).is_some() {
            // The CRD in the set may define the field.
            self.unchecked(entry, resource.plural(), wanted, live);
        } else if error.is_immutable() && live.is_some_and(|live| self.may_recreate(wanted, live)) {
            entry.recreate = true;
            let manager = &self.options.fields.manager;
            match dry_run_recreation(self.api, resource, wanted, manager).await {
                Ok(made) => {
                    let values = managed_values(wanted, &made, &self.options.fields);
                    entry.expected_hash = expected_hash(&values, &self.options.fields);
                    let after = live.map_or(made.clone(), |live| {
                        keep_generated(&made, live, wanted, &self.options.fields)
                    });
                    entry.diff = diff(live, &after);
                    entry.diff.change = ChangeKind::Modified;
                    entry.diff.mark_recreated();
                }
                Err(error) => {
                    entry.refuse(resource.plural(), error.to_string(), Refusal::from(&error));
                }
            }
        } else {
            let reason = explain(error, live, &self.options.fields);
            // What the server says about a Secret may quote its values.
            let own = match wanted.is_secret() {
                true => self.schema_faults(wanted).await,
                false => None,
            };
            let reason = own.unwrap_or(reason);
            entry.refuse(resource.plural(), reason, Refusal::from(error));
        }
    }

    /// Fills the entry of an object that the server cannot check before another object of the set is
    /// applied: what the apply leaves is computed here.
    fn unchecked(
        &self,
        entry: &mut Entry<'s>,
        plural: &str,
        wanted: &Object,
        live: Option<&Object>,
    ) {
        entry.checked = Checked::Local;
        let after = live.map_or_else(|| wanted.clone(), |live| merged(live, wanted));
        if live.is_some() {
            let values = applied_values(wanted, &after, &self.options.fields);
            entry.expected_hash = expected_hash(&values, &self.options.fields);
        }
        entry.diff = render::resource_diff(plural, Op::Apply, live, Some(&after), true);
    }

    /// Returns true if the managed values are as the last deploy left them.
    fn is_as_deployed(&self, live: &Object, values: Option<&Object>) -> bool {
        let Some((record, values)) = self.snapshot.record(&live.id()).zip(values) else {
            return false;
        };
        let seen = object_hash(values, live.is_secret(), self.options.fields.key.as_deref());
        seen.is_some() && record.seen == seen && live.uid() == Some(&record.uid)
    }

    /// Returns true if the server refused the object only because another object of the set does
    /// not exist yet.
    fn depends_on_set(&self, error: &ClusterError, object: &Object) -> bool {
        let ClusterError::Refused { message, code, .. } = error else {
            return false;
        };
        if self.snapshot.is_new_namespace(object.namespace()) && error.is_not_found() {
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

    /// Returns what is wrong with an object by the schema that the server publishes, without its
    /// values; `None` if nothing is, or the schema cannot be read.
    async fn schema_faults(&self, object: &Object) -> Option<String> {
        let versions = BTreeSet::from([object.api_version().to_owned()]);
        let faults = self.published(versions).await.ok()?.faults(object);
        (!faults.is_empty()).then(|| faults.join("; "))
    }

    async fn published(
        &self,
        versions: BTreeSet<String>,
    ) -> Result<PublishedSchemas, ClusterError> {
        let mut documents = HashMap::new();
        for api_version in versions {
            let document = self.api.openapi_document(&api_version).await?;
            documents.insert(api_version, document);
        }
        Ok(PublishedSchemas(documents))
    }

    /// Checks the objects that the server could not check, against the schemas of their kinds.
    pub(super) async fn check_locally(&self, entries: &mut [Entry<'s>]) {
        let definitions: BTreeMap<(&str, &str), &Object> = self
            .snapshot
            .objects
            .iter()
            .filter_map(|object| Some((object.defined_kind()?, object)))
            .collect();
        let definition =
            |object: &Object| definitions.get(&(object.group(), object.kind())).copied();
        let mut unchecked: Vec<&mut Entry<'s>> = entries
            .iter_mut()
            .filter(|entry| entry.checked == Checked::Local)
            .collect();
        let versions: BTreeSet<String> = unchecked
            .iter()
            .filter(|entry| definition(entry.object).is_none())
            .map(|entry| entry.object.api_version().to_owned())
            .collect();
        let published = self.published(versions).await.ok();
        for entry in &mut unchecked {
            let faults = match (definition(entry.object), &published) {
                (Some(definition), _) => faults_by_crd(entry.object, definition),
                (None, Some(published)) => published.faults(entry.object),
                (None, None) => {
                    entry.checked = Checked::Unchecked;
                    continue;
                }
            };
            if !faults.is_empty() {
                entry.diff.change = ChangeKind::Error;
                entry.diff.error = Some(faults.join("; "));
                entry.diff.entries.clear();
                entry.refusal = Some(Refusal::Server);
            }
        }
    }
}

/// Returns why a Secret cannot be stored; `None` if it can, or is another kind.
fn secret_fault(object: &Object) -> Option<String> {
    let faults = match object.is_secret() {
        true => secret_faults(object),
        false => Vec::new(),
    };
    (!faults.is_empty()).then(|| faults.join("; "))
}
