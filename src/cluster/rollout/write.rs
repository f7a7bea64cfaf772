//! Writes one object, provided that it is still as it was read.
//!
//! Each write names the resource version that was read, so the server refuses to overwrite a change
//! that nobody has seen. The object is then read again, and written only if its managed fields are
//! still as they were. An object that was absent is only created, never overwritten.

use std::time::Duration;

use serde_json::{Value, json};

use crate::base::poll::Poll;
use crate::cluster::client::api::{Force, NEW, WriteMode};
use crate::cluster::client::discovery::RestResource;
use crate::cluster::client::{Api, ClusterError};
use crate::cluster::fields::adopt::adopted_managed_fields;
use crate::cluster::fields::ignore::keep_live_values;
use crate::cluster::fields::marks::keep_mark;
use crate::cluster::fields::predict::{is_more_than_an_apply, preparation};
use crate::cluster::rollout::item::{Action, Conflict, ConflictKind};
use crate::cluster::rollout::options::{Conflicts, Options};
use crate::cluster::rollout::others::{fields_of_others, owned_by_others};
use crate::cluster::rollout::preconditions::Check;
use crate::cluster::rollout::prune::cascade_reason;
use crate::cluster::rollout::refused::dry_run_recreation;
use crate::cluster::rollout::stage::Provided;
use crate::manifest::Object;
use crate::manifest::managed_fields::is_applied_by;

/// Timeout for a CRD to be established, for a new kind to be served, and for an object to be gone
/// before its recreation.
pub(super) const PREREQUISITE_TIMEOUT: Duration = Duration::from_secs(60);

/// Interval between polls.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Maximum number of times that an object is read again after a conflict.
const MAX_REREADS: usize = 10;

/// Timeout for a changed CRD to take effect: until then the server may refuse new fields as
/// unknown.
const CRD_PROPAGATION_TIMEOUT: Duration = Duration::from_secs(10);

/// Polls for at most [`PREREQUISITE_TIMEOUT`].
pub(super) fn prerequisite_poll(api: &Api) -> Poll<'_> {
    let intervals = (POLL_INTERVAL, POLL_INTERVAL);
    Poll::new(&api.clock, &api.stop, PREREQUISITE_TIMEOUT, intervals)
}

/// Writes objects.
pub struct Writer<'a> {
    /// The API server.
    pub api: &'a Api,
    /// Namespaces and kinds that the set itself defines.
    pub provided: &'a Provided,
    /// How objects are applied.
    pub options: &'a Options,
}

/// Why an object was not written.
pub enum NotWritten {
    Cluster(ClusterError),
    Conflict(Conflict),
}

impl From<ClusterError> for NotWritten {
    fn from(error: ClusterError) -> Self {
        Self::Cluster(error)
    }
}

impl Writer<'_> {
    /// Applies an object, provided that its managed fields are as they were read.
    // Long: what one attempt finds changes the next.
    pub async fn write(
        &self,
        resource: &RestResource,
        object: &Object,
        action: &Action,
        mut live: Option<Object>,
    ) -> Result<Object, NotWritten> {
        let mut reads = 0;
        let mut recreate = matches!(action, Action::Write { recreate: true, .. });
        let mut is_new = live.is_none();
        let propagation_deadline = self.api.clock.elapsed() + CRD_PROPAGATION_TIMEOUT;
        // A changed CRD of the same set takes effect with a delay: until then the server may not
        // know a field.
        let is_unpropagated = |error: &ClusterError| {
            error.is_unknown_field()
                && self.provided.kind(object).is_some()
                && self.api.clock.elapsed() < propagation_deadline
        };
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
                    Err(error) if is_unpropagated(&error) => {
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
                Err(error) if is_unpropagated(&error) => {
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
            let check = self.check(resource, object, action, live.as_ref(), is_new);
            match check.await? {
                Check::Unchanged => {}
                Check::AlreadyApplied => recreate = false,
                Check::Conflicting(breach) => return Err(NotWritten::Conflict(breach)),
            }
        }
    }

    /// Checks an object that has changed against the approved plan. Without a plan it may be
    /// overwritten, unless it was absent and somebody else has created it.
    async fn check(
        &self,
        resource: &RestResource,
        object: &Object,
        action: &Action,
        live: Option<&Object>,
        is_new: bool,
    ) -> Result<Check, ClusterError> {
        if let Action::Write {
            expected: Some(promised),
            ..
        } = action
        {
            let resource = Some(resource);
            return Check::with_server(self.api, resource, object, promised, live, self.options)
                .await;
        }
        Ok(match live {
            Some(live) if is_new && !is_applied_by(live, &self.options.fields.manager) => {
                Check::Conflicting(Conflict {
                    subject: object.subject(),
                    kind: ConflictKind::Appeared,
                })
            }
            _ => Check::Unchanged,
        })
    }

    async fn try_write(
        &self,
        resource: &RestResource,
        object: &Object,
        live: Option<Object>,
    ) -> Result<Object, ClusterError> {
        let (api, manager) = (self.api, self.options.fields.manager.as_str());
        let mut wanted = object.clone();
        let Some(mut live) = live else {
            set_resource_version(&mut wanted, NEW.into());
            return api
                .apply(&resource.api, &wanted, manager, WriteMode::Real, Force::No)
                .await;
        };
        let fields = &self.options.fields;
        keep_live_values(&mut wanted, &live, fields);
        let adopted = |live: &Object| adopted_managed_fields(live, manager, &fields.adopt_from);
        // No request can be an apply and remove members of others: the patch makes the whole change,
        // the apply makes it ours.
        if is_more_than_an_apply(&wanted, &live, fields)
            && let Some(patch) = preparation(&wanted, &live, adopted(&live), fields)
        {
            live = self.patch(resource, &live, patch).await?;
        }
        if let Some(owners) = adopted(&live) {
            live = api.set_managed_fields(&resource.api, &live, owners).await?;
        }
        if let Some(version) = live.metadata("resourceVersion") {
            set_resource_version(&mut wanted, version.clone());
        }
        let force = if self.options.conflicts == Conflicts::Force {
            Force::Yes
        } else {
            Force::No
        };
        api.apply(&resource.api, &wanted, manager, WriteMode::Real, force)
            .await
    }

    /// Patches the object if it still has the version that was read, and if no field of another
    /// manager changes that may not be taken over.
    async fn patch(
        &self,
        resource: &RestResource,
        live: &Object,
        mut patch: Value,
    ) -> Result<Object, ClusterError> {
        let fields = &self.options.fields;
        let version = live.metadata("resourceVersion").cloned();
        let metadata = patch
            .as_object_mut()
            .map(|patch| patch.entry("metadata").or_insert(json!({})));
        if let (Some(Value::Object(metadata)), Some(version)) = (metadata, version) {
            metadata.insert("resourceVersion".into(), version);
        }
        let send = |write| {
            self.api
                .patch(&resource.api, live, &patch, &fields.manager, write)
        };
        if self.options.conflicts == Conflicts::Refuse {
            let after = send(WriteMode::DryRun).await?;
            let taken = fields_of_others(live, &after, fields);
            if !taken.is_empty() {
                return Err(ClusterError::Guarded(owned_by_others(&taken)));
            }
        }
        send(WriteMode::Real).await
    }

    async fn await_gone(&self, resource: &RestResource, live: &Object) -> Result<(), ClusterError> {
        let mut poll = prerequisite_poll(self.api);
        while poll.next_check().await {
            let found = self.api.get(&resource.api, live.namespace(), live.name());
            if found.await?.is_none() {
                return Ok(());
            }
        }
        Err(ClusterError::Timeout {
            what: format!("{}, which is to be recreated, was not gone", live.subject()),
            waited: PREREQUISITE_TIMEOUT,
        })
    }
}

/// Makes the server refuse the write if the object has another resource version.
fn set_resource_version(object: &mut Object, version: Value) {
    if let Some(Value::Object(metadata)) = object.0.get_mut("metadata") {
        metadata.insert("resourceVersion".into(), version);
    }
}
