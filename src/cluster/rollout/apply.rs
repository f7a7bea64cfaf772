//! Applies a set of objects in stages: namespaces and CRDs first, until the CRDs are established,
//! then classes, service accounts and configuration, then the rest, and webhooks last. A failed
//! object blocks only the objects that depend on it. The result of every object is reported.
//!
//! Each write names the resource version that was read, so that it never overwrites a change that
//! nobody has checked. If the server refuses the write as outdated, the object is read again, and
//! written only if the managed fields are unchanged. An object that was absent is only created,
//! never overwritten.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::Value;

use crate::cluster::client::api::{Force, NEW, Write};
use crate::cluster::client::discovery::{Resource, Served};
use crate::cluster::client::{Api, ClusterError};
use crate::cluster::fields::adopt::taken_over;
use crate::cluster::fields::ignore::leave_as_they_are;
use crate::cluster::fields::managed_values::{fingerprint_of, touched};
use crate::cluster::fields::marks::keep_mark;
use crate::cluster::fields::render;
use crate::cluster::health::readiness::compute_status;
use crate::cluster::rollout::inventory::Record;
use crate::cluster::rollout::options::{Conflicts, Options};
use crate::cluster::rollout::plan::{dry_run_recreation, explain};
use crate::cluster::rollout::preconditions::{Action, Check, Conflict, ConflictKind};
use crate::cluster::rollout::prune::cascade_reason;
use crate::cluster::rollout::snapshot::Snapshot;
use crate::cluster::rollout::stage::Stage;
use crate::manifest::Object;
use crate::manifest::managed_fields::is_applied_by;
use crate::plan::changeset::{Change, Op, ResourceDiff};

/// Maximum number of concurrent applies.
const MAX_CONCURRENT: usize = 8;

/// Maximum number of times that an object is read again after a conflict.
const MAX_REREADS: usize = 10;

/// Timeout for a CRD to be established, for a new kind to be served, and for an object to be gone
/// before its recreation.
const PREREQUISITE_TIMEOUT: Duration = Duration::from_secs(60);

/// Timeout for a changed CRD to take effect: until then the server may refuse new fields as
/// unknown.
const CRD_PROPAGATION_TIMEOUT: Duration = Duration::from_secs(10);

/// Interval between polls.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Result of an apply.
#[derive(Debug, Default)]
pub struct ApplyResult {
    /// What happened to each object, in the order of the objects.
    pub diffs: Vec<ResourceDiff>,
    /// The objects that exist now, as they were last read or written.
    pub objects: Vec<Object>,
    /// Objects whose managed fields have changed since the plan was made.
    pub conflicts: Vec<Conflict>,
    /// Whether an object was refused because other managers own fields of it.
    pub is_owned_by_others: bool,
    /// Whether the server refused an object for lack of permission.
    pub is_forbidden: bool,
    /// The error that ended the apply early.
    pub aborted: Option<ClusterError>,
}

impl ApplyResult {
    /// Returns the error that ended the apply early, and the objects that failed, each with its
    /// reason.
    pub fn errors(&self) -> Vec<String> {
        let broken_off = self.aborted.iter().map(ToString::to_string);
        broken_off
            .chain(crate::cluster::rollout::plan::errors(self.diffs.iter()))
            .collect()
    }
}

/// Applies a set. `actions` holds one action for each object of the snapshot, in the same order.
/// Reports each stage to `progress`.
///
/// # Errors
/// Fails if the inventory cannot be written before the first apply; then nothing is applied.
pub async fn apply(
    api: &Api,
    snapshot: &mut Snapshot,
    actions: &[Action],
    options: &Options,
    progress: &(dyn Fn(&str) + Sync),
) -> Result<ApplyResult, ClusterError> {
    let mut applied = ApplyResult::default();
    let mut done: Vec<Option<ObjectResult>> = snapshot.objects.iter().map(|_| None).collect();
    let mut failed: Vec<Object> = Vec::new();
    let mut is_intent_recorded = record_intent_if_possible(api, snapshot, actions, options).await?;
    for stage in Stage::ALL {
        let members: Vec<usize> = (0..snapshot.objects.len())
            .filter(|at| snapshot.objects.get(*at).map(Stage::of) == Some(stage))
            .collect();
        if members.is_empty() {
            continue;
        }
        if applied.aborted.is_none() {
            refresh_discovery(api, snapshot, &members, &failed, stage).await;
        }
        let shared = &*snapshot;
        let broken_off = applied.aborted.as_ref();
        let applier = Applier {
            api,
            snapshot: shared,
            options,
        };
        let one = |at: usize| {
            let (object, action) = (shared.objects.get(at), actions.get(at));
            let blocked = object.and_then(|object| failed_dependency(object, stage, &failed));
            let blocked = broken_off
                .map(ToString::to_string)
                .or(blocked.map(|subject| format!("{subject} failed")));
            let applier = &applier;
            async move {
                let (object, action) = object.zip(action)?;
                Some((at, applier.apply_one(object, action, blocked).await))
            }
        };
        let work: Vec<_> = members.iter().map(|at| one(*at)).collect();
        let results: Vec<_> = futures_util::stream::iter(work)
            .buffer_unordered(MAX_CONCURRENT)
            .collect()
            .await;
        let mut refused = 0;
        for (at, result) in results.into_iter().flatten() {
            if result.diff.change == Change::Error {
                refused += 1;
                failed.extend(snapshot.objects.get(at).cloned());
            }
            if let Some(slot) = done.get_mut(at) {
                *slot = Some(result);
            }
        }
        let written = members.len() - refused;
        let failures = if refused > 0 {
            format!(", {refused} failed")
        } else {
            String::new()
        };
        progress(&format!(
            "{}: {written} of {} objects{failures}",
            stage.words(),
            members.len()
        ));
        if stage == Stage::Prerequisites {
            let definitions = members.iter().filter_map(|at| snapshot.objects.get(*at));
            let definitions: Vec<&Object> = definitions
                .filter(|object| object.is_definition() && !failed.contains(object))
                .collect();
            failed.extend(
                await_established(api, &snapshot.served, &definitions)
                    .await
                    .into_iter()
                    .cloned(),
            );
        }
        if !is_intent_recorded && applied.aborted.is_none() {
            match record_intent(api, snapshot, actions, options).await {
                Ok(()) => is_intent_recorded = true,
                Err(error) => applied.aborted = Some(error),
            }
        }
    }
    record_results(snapshot, &done, options);
    for result in done.into_iter().flatten() {
        applied.diffs.push(result.diff);
        applied.objects.extend(result.now);
        applied.conflicts.extend(result.conflict);
        applied.is_owned_by_others |= result.is_owned_by_others;
        applied.is_forbidden |= result.is_forbidden;
    }
    Ok(applied)
}

/// Writes the intended objects to the inventory before anything is applied. Returns false if the
/// inventory's namespace is part of the set and does not exist yet.
async fn record_intent_if_possible(
    api: &Api,
    snapshot: &mut Snapshot,
    actions: &[Action],
    options: &Options,
) -> Result<bool, ClusterError> {
    let Some(inventory) = &snapshot.inventory else {
        return Ok(true);
    };
    let namespace = inventory.component.namespace.as_str();
    let comes_with_the_set = snapshot
        .objects
        .iter()
        .any(|object| object.is_namespace() && object.name() == namespace);
    let is_there = snapshot
        .live
        .values()
        .any(|live| live.is_namespace() && live.name() == namespace);
    if comes_with_the_set && !is_there {
        return Ok(false);
    }
    record_intent(api, snapshot, actions, options).await?;
    Ok(true)
}

/// Adds the intended objects to the inventory and writes it. An object that will be created has no
/// UID yet, even if another object has its name.
async fn record_intent(
    api: &Api,
    snapshot: &mut Snapshot,
    actions: &[Action],
    options: &Options,
) -> Result<(), ClusterError> {
    let Some(inventory) = &mut snapshot.inventory else {
        return Ok(());
    };
    for (object, action) in snapshot.objects.iter().zip(actions) {
        let id = object.id();
        let is_new = !snapshot.live.contains_key(&id)
            || matches!(action, Action::Write { recreate: true, .. });
        if is_new || !inventory.objects.contains_key(&id) {
            // An object that somebody else has created is adopted: the component may release it,
            // but not delete it.
            let live = snapshot
                .live
                .get(&id)
                .filter(|_| !inventory.objects.contains_key(&id));
            let adopted = live.is_some_and(|live| !options.fields.has_applied(live));
            let record = Record {
                version: object.version().to_owned(),
                adopted,
                ..Record::default()
            };
            inventory.objects.insert(id, record);
        }
    }
    inventory
        .write_if_changed(api, &snapshot.served, &options.writer())
        .await
}

/// Records in the inventory the desired and the live state of the objects that we have applied. For
/// the others, the inventory keeps only the intent.
fn record_results(snapshot: &mut Snapshot, done: &[Option<ObjectResult>], options: &Options) {
    let Some(inventory) = &mut snapshot.inventory else {
        return;
    };
    let key = options.fields.key.as_deref();
    for (object, done) in snapshot.objects.iter().zip(done) {
        let Some(ObjectResult {
            now: Some(now),
            is_ours: true,
            ..
        }) = done
        else {
            continue;
        };
        let mut wanted = object.clone();
        leave_as_they_are(&mut wanted, now, &options.fields);
        let is_secret = wanted.is_secret();
        let adopted = inventory
            .objects
            .get(&object.id())
            .is_some_and(|known| known.adopted);
        let record = Record {
            version: now.version().to_owned(),
            adopted,
            uid: now.uid().unwrap_or_default().to_owned(),
            wanted: fingerprint_of(&wanted, is_secret, key),
            seen: fingerprint_of(&touched(object, now, &options.fields), is_secret, key),
            superseded: None,
        };
        inventory.objects.insert(object.id(), record);
    }
}

/// Returns the failed object that this object depends on: the CRD of its kind, its namespace, or an
/// object of an earlier stage that it names.
fn failed_dependency(object: &Object, stage: Stage, failed: &[Object]) -> Option<String> {
    let blocks = |other: &&Object| {
        if other.is_definition() {
            return other.defines() == Some((object.group(), object.kind()));
        }
        if other.is_namespace() {
            return other.name() == object.namespace();
        }
        let is_near = other.namespace() == object.namespace() || other.namespace().is_empty();
        let mut content = object.0.iter().filter(|(member, _)| *member != "metadata");
        Stage::of(other) < stage
            && is_near
            && content.any(|(_, value)| mentions(value, other.name()))
    };
    failed.iter().find(blocks).map(Object::subject)
}

/// Returns true if a string in the value equals the name.
fn mentions(value: &Value, name: &str) -> bool {
    match value {
        Value::String(text) => text == name,
        Value::Array(items) => items.iter().any(|item| mentions(item, name)),
        Value::Object(map) => map.values().any(|member| mentions(member, name)),
        _ => false,
    }
}

/// Refreshes discovery for the kinds of this stage that are not served yet, until all are or the
/// timeout ends.
async fn refresh_discovery(
    api: &Api,
    snapshot: &mut Snapshot,
    members: &[usize],
    failed: &[Object],
    stage: Stage,
) {
    let unknown = |snapshot: &Snapshot| -> BTreeSet<String> {
        let objects = members.iter().filter_map(|at| snapshot.objects.get(*at));
        let unknown = objects.filter(|object| snapshot.served.resource(object).is_err());
        let unknown = unknown.filter(|object| failed_dependency(object, stage, failed).is_none());
        unknown
            .map(|object| object.api_version().to_owned())
            .collect()
    };
    let end = api.clock.elapsed() + PREREQUISITE_TIMEOUT;
    // The server serves a kind a moment after its CRD is established.
    loop {
        let missing = unknown(snapshot);
        if missing.is_empty() || api.clock.elapsed() >= end || api.stop.is_stopped() {
            return;
        }
        for api_version in missing {
            // A group that is not served yet is requested again in the next round.
            if let Err(error) = snapshot.served.learn(api, &api_version).await {
                tracing::debug!(%error, "is not served yet");
            }
        }
        if !unknown(snapshot).is_empty() {
            api.clock.sleep(POLL_INTERVAL).await;
        }
    }
}

/// Waits for CRDs to be established. Returns those that are not in time.
async fn await_established<'a>(
    api: &Api,
    served: &Served,
    definitions: &[&'a Object],
) -> Vec<&'a Object> {
    let mut waiting = definitions.to_vec();
    let end = api.clock.elapsed() + PREREQUISITE_TIMEOUT;
    loop {
        let mut still = Vec::new();
        for definition in waiting {
            let Ok(resource) = served.resource(definition) else {
                continue;
            };
            let live = api.get(&resource.api, "", definition.name()).await;
            let is_established = |live: &Object| {
                compute_status(live, api.clock.now()).is_ok_and(|found| found.is_current())
            };
            if !live.is_ok_and(|live| live.as_ref().is_some_and(is_established)) {
                still.push(definition);
            }
        }
        if still.is_empty() || api.clock.elapsed() >= end || api.stop.is_stopped() {
            return still;
        }
        waiting = still;
        api.clock.sleep(POLL_INTERVAL).await;
    }
}

/// Result of one object.
struct ObjectResult {
    diff: ResourceDiff,
    now: Option<Object>,
    /// Whether the object exists as we have applied it.
    is_ours: bool,
    conflict: Option<Conflict>,
    is_owned_by_others: bool,
    is_forbidden: bool,
}

impl ObjectResult {
    fn applied(diff: ResourceDiff, now: Object) -> Self {
        Self {
            now: Some(now),
            is_ours: true,
            ..Self::not_applied(diff, None)
        }
    }

    /// Result of an object that was not applied.
    fn not_applied(diff: ResourceDiff, now: Option<Object>) -> Self {
        Self {
            diff,
            now,
            is_ours: false,
            conflict: None,
            is_owned_by_others: false,
            is_forbidden: false,
        }
    }
}

struct Applier<'a> {
    api: &'a Api,
    snapshot: &'a Snapshot,
    options: &'a Options,
}

/// Why an object was not written.
enum Refusal {
    Cluster(ClusterError),
    Conflict(Conflict),
}

impl From<ClusterError> for Refusal {
    fn from(error: ClusterError) -> Self {
        Self::Cluster(error)
    }
}

impl Applier<'_> {
    async fn apply_one(
        &self,
        object: &Object,
        action: &Action,
        blocked: Option<String>,
    ) -> ObjectResult {
        let live = self.snapshot.live.get(&object.id());
        let resource = match self.snapshot.served.resource(object) {
            Ok(resource) => resource,
            Err(error) => {
                return ObjectResult::not_applied(
                    render::failed("", Op::Apply, object, error.to_string(), false),
                    live.cloned(),
                );
            }
        };
        if let Some(blocked) = blocked {
            let message = format!("not tried, because {blocked}");
            return ObjectResult::not_applied(
                render::failed(resource.plural(), Op::Apply, object, message, false),
                live.cloned(),
            );
        }
        if let (Action::Leave, Some(live)) = (action, live) {
            return ObjectResult::applied(
                render::unchanged(resource.plural(), live, false),
                live.clone(),
            );
        }
        match self.write(resource, object, action, live.cloned()).await {
            Ok(after) => ObjectResult::applied(
                render::resource_diff(resource.plural(), Op::Apply, live, Some(&after), false),
                after,
            ),
            Err(Refusal::Conflict(breach)) => {
                let diff = render::failed(
                    resource.plural(),
                    Op::Apply,
                    object,
                    breach.to_string(),
                    false,
                );
                ObjectResult {
                    conflict: Some(breach),
                    ..ObjectResult::not_applied(diff, live.cloned())
                }
            }
            Err(Refusal::Cluster(error)) => {
                let diff = render::failed(
                    resource.plural(),
                    Op::Apply,
                    object,
                    explain(&error, live.is_some()),
                    false,
                );
                ObjectResult {
                    is_owned_by_others: error.is_owned_by_others(),
                    is_forbidden: error.is_forbidden(),
                    ..ObjectResult::not_applied(diff, live.cloned())
                }
            }
        }
    }

    /// Applies an object, provided that its managed fields are as they were read.
    async fn write(
        &self,
        resource: &Resource,
        object: &Object,
        action: &Action,
        mut live: Option<Object>,
    ) -> Result<Object, Refusal> {
        let mut reads = 0;
        let mut recreate = matches!(action, Action::Write { recreate: true, .. });
        let mut is_new = live.is_none();
        let propagation_deadline = self.api.clock.elapsed() + CRD_PROPAGATION_TIMEOUT;
        loop {
            if recreate && let Some(old) = &live {
                // The keep annotation may have been set since the plan was made.
                let mark = keep_mark(old).map(|(key, value)| format!("of {key}: {value}"));
                if let Some(reason) = mark.or_else(|| cascade_reason(old).map(str::to_owned)) {
                    let reason = format!(
                        "{} is not deleted and recreated, because {reason}",
                        old.subject()
                    );
                    return Err(ClusterError::Guarded(reason).into());
                }
                match dry_run_recreation(self.api, resource, object, &self.options.fields.manager)
                    .await
                {
                    Err(error)
                        if self.may_become_known(object, &error)
                            && self.api.clock.elapsed() < propagation_deadline =>
                    {
                        self.api.clock.sleep(POLL_INTERVAL).await;
                        continue;
                    }
                    other => drop(other?),
                }
                self.api.delete(&resource.api, old, None).await?;
                self.await_gone(resource, old).await?;
                (live, recreate, is_new) = (None, false, true);
            }
            let refused = match self.try_write(resource, object, live.clone()).await {
                Ok(after) => return Ok(after),
                // Keep the state that was read, so that the server refuses to overwrite another
                // one.
                Err(error)
                    if self.may_become_known(object, &error)
                        && self.api.clock.elapsed() < propagation_deadline =>
                {
                    self.api.clock.sleep(POLL_INTERVAL).await;
                    continue;
                }
                Err(error)
                    if (error.is_conflict() || is_new && error.is_owned_by_others())
                        && reads < MAX_REREADS =>
                {
                    error
                }
                Err(error) => return Err(error.into()),
            };
            reads += 1;
            tracing::debug!(object = object.subject(), %refused, "the object has changed; reading it again");
            live = self
                .api
                .get(&resource.api, object.namespace(), object.name())
                .await?;
            match self.check(object, action, live.as_ref(), is_new) {
                Check::Unchanged => {}
                Check::AlreadyApplied => recreate = false,
                Check::Conflicting(breach) => return Err(Refusal::Conflict(breach)),
            }
        }
    }

    /// Returns true if the server does not know a field that a CRD of the same set may define. A
    /// changed CRD takes effect with a delay.
    fn may_become_known(&self, object: &Object, error: &ClusterError) -> bool {
        error.is_unknown_field() && self.snapshot.provided.kind(object).is_some()
    }

    /// Checks an object that has changed against the approved plan. Without a plan it may be
    /// overwritten, unless it was absent and somebody else has created it.
    fn check(
        &self,
        object: &Object,
        action: &Action,
        live: Option<&Object>,
        is_new: bool,
    ) -> Check {
        if let Action::Write {
            expected: Some(promised),
            ..
        } = action
        {
            return Check::of(object, promised, live, self.options);
        }
        match live {
            Some(live) if is_new && !is_applied_by(live, &self.options.fields.manager) => {
                Check::Conflicting(Conflict {
                    subject: object.subject(),
                    kind: ConflictKind::Appeared,
                })
            }
            _ => Check::Unchanged,
        }
    }

    async fn try_write(
        &self,
        resource: &Resource,
        object: &Object,
        live: Option<Object>,
    ) -> Result<Object, ClusterError> {
        let (api, manager) = (self.api, self.options.fields.manager.as_str());
        let mut wanted = object.clone();
        let Some(mut live) = live else {
            set_resource_version(&mut wanted, NEW.into());
            return api
                .apply(&resource.api, &wanted, manager, Write::Real, Force::No)
                .await;
        };
        if let Some(owners) = taken_over(&live, manager, &self.options.fields.adopt_from) {
            live = api.set_owners(&resource.api, &live, owners).await?;
        }
        leave_as_they_are(&mut wanted, &live, &self.options.fields);
        if let Some(version) = live.metadata("resourceVersion") {
            set_resource_version(&mut wanted, version.clone());
        }
        let force = if self.options.conflicts == Conflicts::Force {
            Force::Yes
        } else {
            Force::No
        };
        api.apply(&resource.api, &wanted, manager, Write::Real, force)
            .await
    }

    async fn await_gone(&self, resource: &Resource, live: &Object) -> Result<(), ClusterError> {
        let end = self.api.clock.elapsed() + PREREQUISITE_TIMEOUT;
        while self
            .api
            .get(&resource.api, live.namespace(), live.name())
            .await?
            .is_some()
        {
            if self.api.clock.elapsed() >= end || self.api.stop.is_stopped() {
                let what = format!("{}, which is to be recreated, was not gone", live.subject());
                return Err(ClusterError::Timeout {
                    what,
                    waited: PREREQUISITE_TIMEOUT,
                });
            }
            self.api.clock.sleep(POLL_INTERVAL).await;
        }
        Ok(())
    }
}

/// Makes the server refuse the write if the object has another resource version.
fn set_resource_version(object: &mut Object, version: Value) {
    if let Some(Value::Object(metadata)) = object.0.get_mut("metadata") {
        metadata.insert("resourceVersion".into(), version);
    }
}
