//! Applies a set of objects, in stages: namespaces and definitions first, which are waited for, then classes,
//! accounts and configuration, then the rest, webhooks last. What can go on without a failed object goes on; every object is
//! reported with what happened to it.
//!
//! Each write names the version of the object that was read, so that nothing is written over a change that
//! nobody has looked at: a write that comes too late is refused by the server, the object is read again, and
//! only if the fields that are touched are still as they were is it written. What was read as absent is only
//! made, never written over.

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
use crate::cluster::fields::marks::kept;
use crate::cluster::fields::render;
use crate::cluster::health::readiness::judge;
use crate::cluster::rollout::inventory::Record;
use crate::cluster::rollout::options::{Conflicts, Options};
use crate::cluster::rollout::plan::{explain, try_as_new};
use crate::cluster::rollout::preconditions::{Action, Breach, How, Standing};
use crate::cluster::rollout::prune::goes_with;
use crate::cluster::rollout::snapshot::Survey;
use crate::cluster::rollout::stage::Stage;
use crate::manifest::Object;
use crate::manifest::managed_fields::is_applied_by;
use crate::plan::changeset::{Change, Op, ResourceDiff};

/// Applies at once.
const AT_ONCE: usize = 8;

/// How often an object is read again because it has moved.
const MOST_READS: usize = 10;

/// How long a definition may take to be established, and a deleted object to be gone.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long it may take until a changed definition counts.
const SOON: Duration = Duration::from_secs(10);

/// How often it is looked whether something has come, or gone.
const LOOK: Duration = Duration::from_millis(200);

/// What an apply has done.
#[derive(Debug, Default)]
pub struct Applied {
    /// What became of each object, in the order of the objects.
    pub diffs: Vec<ResourceDiff>,
    /// The objects as they are now, for those that are there.
    pub objects: Vec<Object>,
    /// The objects whose touched fields were not any more what the plan had read.
    pub breaches: Vec<Breach>,
    /// Whether an object was refused because others own fields of it.
    pub is_owned_by_others: bool,
    /// Whether permission was missing.
    pub is_forbidden: bool,
    /// Why it was broken off.
    pub broken_off: Option<ClusterError>,
}

impl Applied {
    /// Why it was broken off, and the objects that could not be applied, each with its reason.
    pub fn errors(&self) -> Vec<String> {
        let broken_off = self.broken_off.iter().map(ToString::to_string);
        broken_off
            .chain(crate::cluster::rollout::plan::errors(self.diffs.iter()))
            .collect()
    }
}

/// Applies a set. `actions` says for each object what is done with it; `told` hears of each stage.
///
/// # Errors
/// [`ClusterError`] if the inventory cannot be written before anything is: then nothing is applied.
pub async fn apply(
    api: &Api,
    survey: &mut Survey,
    actions: &[Action],
    options: &Options,
    told: &(dyn Fn(&str) + Sync),
) -> Result<Applied, ClusterError> {
    let mut applied = Applied::default();
    let mut done: Vec<Option<Done>> = survey.objects.iter().map(|_| None).collect();
    let mut failed: Vec<Object> = Vec::new();
    let mut is_announced = announce_if_possible(api, survey, actions, options).await?;
    for stage in Stage::ALL {
        let members: Vec<usize> = (0..survey.objects.len())
            .filter(|at| survey.objects.get(*at).map(Stage::of) == Some(stage))
            .collect();
        if members.is_empty() {
            continue;
        }
        if applied.broken_off.is_none() {
            refresh(api, survey, &members, &failed, stage).await;
        }
        let shared = &*survey;
        let broken_off = applied.broken_off.as_ref();
        let applier = Applier {
            api,
            survey: shared,
            options,
        };
        let one = |at: usize| {
            let (object, action) = (shared.objects.get(at), actions.get(at));
            let blocked = object.and_then(|object| blocking(object, stage, &failed));
            let blocked = broken_off
                .map(ToString::to_string)
                .or(blocked.map(|subject| format!("{subject} failed")));
            let applier = &applier;
            async move {
                let (object, action) = object.zip(action)?;
                Some((at, applier.one(object, action, blocked).await))
            }
        };
        let work: Vec<_> = members.iter().map(|at| one(*at)).collect();
        let results: Vec<_> = futures_util::stream::iter(work)
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        let mut refused = 0;
        for (at, result) in results.into_iter().flatten() {
            if result.diff.change == Change::Error {
                refused += 1;
                failed.extend(survey.objects.get(at).cloned());
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
        told(&format!(
            "{}: {written} of {} objects{failures}",
            stage.words(),
            members.len()
        ));
        if stage == Stage::Definitions {
            let definitions = members.iter().filter_map(|at| survey.objects.get(*at));
            let definitions: Vec<&Object> = definitions
                .filter(|object| object.is_definition() && !failed.contains(object))
                .collect();
            failed.extend(
                unestablished(api, &survey.served, &definitions)
                    .await
                    .into_iter()
                    .cloned(),
            );
        }
        if !is_announced && applied.broken_off.is_none() {
            match announce(api, survey, actions, options).await {
                Ok(()) => is_announced = true,
                Err(error) => applied.broken_off = Some(error),
            }
        }
    }
    note(survey, &done, options);
    for result in done.into_iter().flatten() {
        applied.diffs.push(result.diff);
        applied.objects.extend(result.now);
        applied.breaches.extend(result.breach);
        applied.is_owned_by_others |= result.is_owned_by_others;
        applied.is_forbidden |= result.is_forbidden;
    }
    Ok(applied)
}

/// Writes what will be into the inventory before anything is written, unless its namespace is still to come.
async fn announce_if_possible(
    api: &Api,
    survey: &mut Survey,
    actions: &[Action],
    options: &Options,
) -> Result<bool, ClusterError> {
    let Some(inventory) = &survey.inventory else {
        return Ok(true);
    };
    let namespace = inventory.component.namespace.as_str();
    let comes_with_the_set = survey
        .objects
        .iter()
        .any(|object| object.is_namespace() && object.name() == namespace);
    let is_there = survey
        .live
        .values()
        .any(|live| live.is_namespace() && live.name() == namespace);
    if comes_with_the_set && !is_there {
        return Ok(false);
    }
    announce(api, survey, actions, options).await?;
    Ok(true)
}

/// What will be made has no UID yet, also if there was another object of its name.
async fn announce(
    api: &Api,
    survey: &mut Survey,
    actions: &[Action],
    options: &Options,
) -> Result<(), ClusterError> {
    let Some(inventory) = &mut survey.inventory else {
        return Ok(());
    };
    for (object, action) in survey.objects.iter().zip(actions) {
        let id = object.id();
        let is_new = !survey.live.contains_key(&id)
            || matches!(action, Action::Write { recreate: true, .. });
        if is_new || !inventory.objects.contains_key(&id) {
            // What somebody else has made is only borrowed.
            let live = survey
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
        .settle(api, &survey.served, &options.writer())
        .await
}

/// Notes in the inventory what was wanted and what is there of the objects that are ours now. Of others nothing is
/// noted but that they were wanted.
fn note(survey: &mut Survey, done: &[Option<Done>], options: &Options) {
    let Some(inventory) = &mut survey.inventory else {
        return;
    };
    let key = options.fields.key.as_deref();
    for (object, done) in survey.objects.iter().zip(done) {
        let Some(Done {
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

/// What an object of this stage waits for in vain: the definition of its kind, its namespace, or what was to come
/// before and is named in it.
fn blocking(object: &Object, stage: Stage, failed: &[Object]) -> Option<String> {
    let blocks = |other: &&Object| {
        if other.is_definition() {
            return other.defines() == Some((object.group(), object.kind()));
        }
        if other.is_namespace() {
            return other.name() == object.namespace();
        }
        let is_near = other.namespace() == object.namespace() || other.namespace().is_empty();
        let mut content = object.0.iter().filter(|(member, _)| *member != "metadata");
        Stage::of(other) < stage && is_near && content.any(|(_, value)| names(value, other.name()))
    };
    failed.iter().find(blocks).map(Object::subject)
}

/// Whether a text in a value is this name.
fn names(value: &Value, name: &str) -> bool {
    match value {
        Value::String(text) => text == name,
        Value::Array(items) => items.iter().any(|item| names(item, name)),
        Value::Object(map) => map.values().any(|member| names(member, name)),
        _ => false,
    }
}

/// Asks what the cluster serves in the groups of kinds that came with an earlier stage.
async fn refresh(
    api: &Api,
    survey: &mut Survey,
    members: &[usize],
    failed: &[Object],
    stage: Stage,
) {
    let unknown = |survey: &Survey| -> BTreeSet<String> {
        let objects = members.iter().filter_map(|at| survey.objects.get(*at));
        let unknown = objects.filter(|object| survey.served.resource(object).is_err());
        let unknown = unknown.filter(|object| blocking(object, stage, failed).is_none());
        unknown
            .map(|object| object.api_version().to_owned())
            .collect()
    };
    let end = api.clock.elapsed() + PATIENCE;
    // An established kind is served a moment later.
    loop {
        let missing = unknown(survey);
        if missing.is_empty() || api.clock.elapsed() >= end || api.stop.is_stopped() {
            return;
        }
        for api_version in missing {
            // A group that is not there yet is asked for again.
            if let Err(error) = survey.served.learn(api, &api_version).await {
                tracing::debug!(%error, "is not served yet");
            }
        }
        if !unknown(survey).is_empty() {
            api.clock.sleep(LOOK).await;
        }
    }
}

/// The definitions that are not established in time.
async fn unestablished<'a>(
    api: &Api,
    served: &Served,
    definitions: &[&'a Object],
) -> Vec<&'a Object> {
    let mut waiting = definitions.to_vec();
    let end = api.clock.elapsed() + PATIENCE;
    loop {
        let mut still = Vec::new();
        for definition in waiting {
            let Ok(resource) = served.resource(definition) else {
                continue;
            };
            let live = api.get(&resource.api, "", definition.name()).await;
            let is_established =
                |live: &Object| judge(live, api.clock.now()).is_ok_and(|found| found.is_current());
            if !live.is_ok_and(|live| live.as_ref().is_some_and(is_established)) {
                still.push(definition);
            }
        }
        if still.is_empty() || api.clock.elapsed() >= end || api.stop.is_stopped() {
            return still;
        }
        waiting = still;
        api.clock.sleep(LOOK).await;
    }
}

/// What became of one object.
struct Done {
    diff: ResourceDiff,
    now: Option<Object>,
    /// Whether it is there by our hand.
    is_ours: bool,
    breach: Option<Breach>,
    is_owned_by_others: bool,
    is_forbidden: bool,
}

impl Done {
    fn ours(diff: ResourceDiff, now: Object) -> Self {
        Self {
            now: Some(now),
            is_ours: true,
            ..Self::not(diff, None)
        }
    }

    /// Nothing was done.
    fn not(diff: ResourceDiff, now: Option<Object>) -> Self {
        Self {
            diff,
            now,
            is_ours: false,
            breach: None,
            is_owned_by_others: false,
            is_forbidden: false,
        }
    }
}

struct Applier<'a> {
    api: &'a Api,
    survey: &'a Survey,
    options: &'a Options,
}

/// Why an object was not written.
enum Refusal {
    Cluster(ClusterError),
    Moved(Breach),
}

impl From<ClusterError> for Refusal {
    fn from(error: ClusterError) -> Self {
        Self::Cluster(error)
    }
}

impl Applier<'_> {
    async fn one(&self, object: &Object, action: &Action, blocked: Option<String>) -> Done {
        let live = self.survey.live.get(&object.id());
        let resource = match self.survey.served.resource(object) {
            Ok(resource) => resource,
            Err(error) => {
                return Done::not(
                    render::failed("", Op::Apply, object, error.to_string(), false),
                    live.cloned(),
                );
            }
        };
        if let Some(blocked) = blocked {
            let message = format!("not tried, because {blocked}");
            return Done::not(
                render::failed(resource.plural(), Op::Apply, object, message, false),
                live.cloned(),
            );
        }
        if let (Action::Leave, Some(live)) = (action, live) {
            return Done::ours(
                render::unchanged(resource.plural(), live, false),
                live.clone(),
            );
        }
        match self.write(resource, object, action, live.cloned()).await {
            Ok(after) => Done::ours(
                render::resource_diff(resource.plural(), Op::Apply, live, Some(&after), false),
                after,
            ),
            Err(Refusal::Moved(breach)) => {
                let diff = render::failed(
                    resource.plural(),
                    Op::Apply,
                    object,
                    breach.to_string(),
                    false,
                );
                Done {
                    breach: Some(breach),
                    ..Done::not(diff, live.cloned())
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
                Done {
                    is_owned_by_others: error.is_owned_by_others(),
                    is_forbidden: error.is_forbidden(),
                    ..Done::not(diff, live.cloned())
                }
            }
        }
    }

    /// Writes an object, as long as what it touches is as it was read.
    async fn write(
        &self,
        resource: &Resource,
        object: &Object,
        action: &Action,
        mut live: Option<Object>,
    ) -> Result<Object, Refusal> {
        let mut reads = 0;
        let mut recreate = matches!(action, Action::Write { recreate: true, .. });
        let mut is_to_be_new = live.is_none();
        let soon = self.api.clock.elapsed() + SOON;
        loop {
            if recreate && let Some(old) = &live {
                // It may have been marked since it was planned.
                let mark = kept(old).map(|(key, value)| format!("of {key}: {value}"));
                if let Some(reason) = mark.or_else(|| goes_with(old).map(str::to_owned)) {
                    let reason = format!(
                        "{} is not deleted and made again, because {reason}",
                        old.subject()
                    );
                    return Err(ClusterError::Guarded(reason).into());
                }
                match try_as_new(self.api, resource, object, &self.options.fields.manager).await {
                    Err(error)
                        if self.may_be_known_soon(object, &error)
                            && self.api.clock.elapsed() < soon =>
                    {
                        self.api.clock.sleep(LOOK).await;
                        continue;
                    }
                    other => drop(other?),
                }
                self.api.delete(&resource.api, old, None).await?;
                self.await_gone(resource, old).await?;
                (live, recreate, is_to_be_new) = (None, false, true);
            }
            let refused = match self.try_write(resource, object, live.clone()).await {
                Ok(after) => return Ok(after),
                // What was read is kept, so that a write over another state is refused.
                Err(error)
                    if self.may_be_known_soon(object, &error)
                        && self.api.clock.elapsed() < soon =>
                {
                    self.api.clock.sleep(LOOK).await;
                    continue;
                }
                Err(error)
                    if (error.is_conflict() || is_to_be_new && error.is_owned_by_others())
                        && reads < MOST_READS =>
                {
                    error
                }
                Err(error) => return Err(error.into()),
            };
            reads += 1;
            tracing::debug!(object = object.subject(), %refused, "reads again what has moved");
            live = self
                .api
                .get(&resource.api, object.namespace(), object.name())
                .await?;
            match self.standing(object, action, live.as_ref(), is_to_be_new) {
                Standing::AsRead => {}
                Standing::Done => recreate = false,
                Standing::Breached(breach) => return Err(Refusal::Moved(breach)),
            }
        }
    }

    /// Whether a field is unknown that the definition of the same set may bring: it counts a moment after it is there.
    fn may_be_known_soon(&self, object: &Object, error: &ClusterError) -> bool {
        error.is_unknown_field() && self.survey.brought.kind(object).is_some()
    }

    /// How an object that has moved stands to what was approved. Without an approval it may be written over, unless
    /// somebody else has made it where there was none.
    fn standing(
        &self,
        object: &Object,
        action: &Action,
        live: Option<&Object>,
        is_to_be_new: bool,
    ) -> Standing {
        if let Action::Write {
            promised: Some(promised),
            ..
        } = action
        {
            return Standing::of(object, promised, live, self.options);
        }
        match live {
            Some(live) if is_to_be_new && !is_applied_by(live, &self.options.fields.manager) => {
                Standing::Breached(Breach {
                    subject: object.subject(),
                    how: How::Appeared,
                })
            }
            _ => Standing::AsRead,
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
            in_version(&mut wanted, NEW.into());
            return api
                .apply(&resource.api, &wanted, manager, Write::Real, Force::No)
                .await;
        };
        if let Some(owners) = taken_over(&live, manager, &self.options.fields.adopt_from) {
            live = api.set_owners(&resource.api, &live, owners).await?;
        }
        leave_as_they_are(&mut wanted, &live, &self.options.fields);
        if let Some(version) = live.metadata("resourceVersion") {
            in_version(&mut wanted, version.clone());
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
        let end = self.api.clock.elapsed() + PATIENCE;
        while self
            .api
            .get(&resource.api, live.namespace(), live.name())
            .await?
            .is_some()
        {
            if self.api.clock.elapsed() >= end || self.api.stop.is_stopped() {
                let what = format!(
                    "{}, which is to be made again, was not gone",
                    live.subject()
                );
                return Err(ClusterError::Timeout {
                    what,
                    waited: PATIENCE,
                });
            }
            self.api.clock.sleep(LOOK).await;
        }
        Ok(())
    }
}

/// Lets an object be written only in a version.
fn in_version(object: &mut Object, version: Value) {
    if let Some(Value::Object(metadata)) = object.0.get_mut("metadata") {
        metadata.insert("resourceVersion".into(), version);
    }
}
