//! The objects that are waited for, and why they are not ready yet.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::StreamExt as _;

use super::{
    DIAGNOSIS_TIMEOUT, MAX_CONCURRENT, MAX_DIAGNOSED, MAX_DIAGNOSED_AT_END, MAX_NAMED, NotReady,
    PRE_DEPLOY_GRACE, UNAUTHORIZED_GRACE, readiness,
};
use crate::cluster::client::discovery::ServedKinds;
use crate::cluster::client::{Api, ClusterError};
use crate::cluster::health::cause::StatusCause;
use crate::cluster::health::job::JobEnd;
use crate::cluster::health::readiness::{Readiness, Status};
use crate::cluster::health::rule::Rules;
use crate::cluster::health::{cause, job};
use crate::manifest::{Object, ObjectId};

/// The objects that are not ready yet, with what is needed to diagnose them.
pub(super) struct Pending<'a> {
    /// The last object that was diagnosed; the next diagnosis starts after it.
    pub(super) last: Option<ObjectId>,
    pub(super) api: &'a Api,
    pub(super) served: &'a ServedKinds,
    pub(super) rules: &'a Rules,
    pub(super) progress: &'a (dyn Fn(&str) + Sync),
    pub(super) objects: BTreeMap<ObjectId, PendingObject>,
    /// Jobs that succeeded.
    pub(super) finished: BTreeSet<ObjectId>,
    /// Since when reads are refused for lack of authentication, and the first refusal.
    pub(super) unauthorized: Option<(Duration, ClusterError)>,
}

pub(super) struct PendingObject {
    object: Object,
    readiness: Readiness,
    cause: Option<StatusCause>,
    /// Since when the current cause is known.
    since: Option<Duration>,
    /// Until when causes are tolerated, because they may predate the deploy: the controller had
    /// observed this generation before.
    tolerated_until: Option<Duration>,
}

impl PendingObject {
    /// Stores the result of a diagnosis. Returns a sentence if the reason is new.
    fn set_cause(&mut self, found: Option<StatusCause>, now: Duration) -> Option<String> {
        let of = |cause: &Option<StatusCause>| {
            let cause = cause.as_ref()?;
            Some((
                cause.code.reason,
                cause.code.recoverability.grace().is_some(),
                cause.chain.get(1).cloned(),
            ))
        };
        let word = |cause: &Option<StatusCause>| cause.as_ref().map(|cause| cause.code.reason);
        let is_new = word(&found) != word(&self.cause);
        if of(&found) != of(&self.cause) {
            self.since = found.as_ref().map(|_| now);
        }
        self.cause = found;
        self.cause
            .as_ref()
            .filter(|_| is_new)
            .map(StatusCause::sentence)
    }

    /// Returns true if the wait should give up on this object. Tolerates causes that other pending
    /// objects may resolve, and causes that may predate the deploy until their grace period ends.
    fn is_unrecoverable(&self, now: Duration, others_come: bool) -> bool {
        let (Some(cause), Some(since)) = (&self.cause, self.since) else {
            return false;
        };
        let Some(patience) = cause.code.recoverability.grace() else {
            return false;
        };
        let may_be_helped = others_come && cause.code.recoverability.may_be_resolved_by_others();
        let is_borne = self.tolerated_until.is_some_and(|until| now < until);
        !may_be_helped && !is_borne && now.saturating_sub(since) >= patience
    }
}

impl Pending<'_> {
    pub(super) async fn update(&mut self, object: Object) {
        let id = object.id();
        // A Job is removed soon after its end.
        let object = job::without_removal(object);
        let readiness = readiness(&object, self.rules, self.api.clock.now()).await;
        let known = self.objects.remove(&id);
        if readiness.is_current() {
            if job::end(&object) == Some(JobEnd::Complete) {
                self.finished.insert(id.clone());
            }
            if known.is_some() {
                (self.progress)(&format!("{id} is ready: {}", readiness.message));
            }
            return;
        }
        let one = match known {
            Some(one) => PendingObject {
                object,
                readiness,
                ..one
            },
            None => {
                let observed = object
                    .0
                    .get("status")
                    .and_then(|status| status.get("observedGeneration"));
                let is_old = observed.is_some() && observed == object.metadata("generation");
                let borne_until = is_old.then(|| self.api.clock.elapsed() + PRE_DEPLOY_GRACE);
                PendingObject {
                    object,
                    readiness,
                    cause: None,
                    since: None,
                    tolerated_until: borne_until,
                }
            }
        };
        self.objects.insert(id, one);
    }

    /// Handles a deletion. A Job that was seen to succeed is done, and one that was seen to fail
    /// has failed; of one whose end was not seen nobody knows.
    pub(super) fn handle_deletion(&mut self, id: &ObjectId, object: Option<&Object>) {
        let known = self.objects.get(id);
        let has_failed = known.is_some_and(|one| job::end(&one.object) == Some(JobEnd::Failed));
        if has_failed || self.finished.contains(id) {
            return;
        }
        let Some(object) = object else { return };
        let message = match job::is_job(object) {
            true => {
                "it was deleted before its end was seen; set ttlSecondsAfterFinished to a minute or more"
            }
            false => "it was deleted during the wait",
        };
        let readiness = Readiness {
            status: Status::NotFound,
            message: message.into(),
            reason: "Deleted".into(),
            detail: None,
        };
        let one = PendingObject {
            object: object.clone(),
            readiness,
            cause: None,
            since: None,
            tolerated_until: None,
        };
        self.objects.insert(id.clone(), one);
    }

    /// Formats one line that names the objects still pending.
    pub(super) fn progress_line(&self) -> String {
        let count = self.objects.len();
        let named = self.objects.iter().take(MAX_NAMED);
        let named: Vec<String> = named
            .map(|(id, one)| format!("{id} ({})", one.readiness.message))
            .collect();
        let more = if count > MAX_NAMED {
            format!(" and {} more", count - MAX_NAMED)
        } else {
            String::new()
        };
        format!("still waiting for {}{more}", named.join(", "))
    }

    /// Reads the first pending objects again.
    pub(super) async fn reread(&mut self, count: usize) {
        let (api, served) = (self.api, self.served);
        let objects: Vec<Object> = self
            .objects
            .values()
            .take(count)
            .map(|one| one.object.clone())
            .collect();
        let reads = objects.into_iter().map(|object| async move {
            let resource = served.resource(&object)?;
            api.get(&resource.api, object.namespace(), object.name())
                .await
        });
        let reads = futures_util::stream::iter(reads.collect::<Vec<_>>())
            .buffer_unordered(MAX_CONCURRENT)
            .collect::<Vec<_>>();
        let found = api
            .clock
            .timeout(DIAGNOSIS_TIMEOUT, reads)
            .await
            .unwrap_or_default();
        for read in found {
            match read {
                Ok(object) => {
                    self.unauthorized = None;
                    if let Some(object) = object {
                        self.update(object).await;
                    }
                }
                Err(error) => self.note(error),
            }
        }
    }

    /// Diagnoses the next objects in turn. Returns true if one of them should be given up.
    pub(super) async fn diagnose_next(&mut self, now: Duration) -> bool {
        let last = self.last.take();
        let (before, after): (Vec<_>, Vec<_>) = self
            .objects
            .keys()
            .partition(|id| Some(*id) <= last.as_ref());
        let ids: Vec<ObjectId> = after
            .into_iter()
            .chain(before)
            .take(MAX_DIAGNOSED)
            .cloned()
            .collect();
        self.last = ids.last().cloned();
        self.diagnose(ids, now).await
    }

    /// Returns the first objects that have no cause yet.
    pub(super) fn unexplained(&self) -> Vec<ObjectId> {
        let unexplained = self.objects.iter().filter(|(_, one)| one.cause.is_none());
        unexplained
            .map(|(id, _)| id.clone())
            .take(MAX_DIAGNOSED_AT_END)
            .collect()
    }

    pub(super) async fn diagnose(&mut self, ids: Vec<ObjectId>, now: Duration) -> bool {
        let (api, served) = (self.api, self.served);
        let looks = ids
            .iter()
            .filter_map(|id| self.objects.get(id))
            .map(|one| async move {
                match one.readiness.status {
                    Status::NotFound => Some(Ok(Some(cause::deleted(&one.object, &one.readiness)))),
                    _ => {
                        let look = cause::find(api, served, &one.object, &one.readiness);
                        api.clock.timeout(DIAGNOSIS_TIMEOUT, look).await.ok()
                    }
                }
            });
        let found = futures_util::future::join_all(looks).await;
        let mut is_hopeless = false;
        for (id, found) in ids.into_iter().zip(found) {
            // A failed or late diagnosis changes nothing; the deadline still applies.
            let found = match found {
                Some(Ok(found)) => found,
                Some(Err(error)) => {
                    self.note(error);
                    continue;
                }
                None => continue,
            };
            if found.as_ref().is_some_and(StatusCause::is_unused_claim) {
                (self.progress)(&format!(
                    "{id} is not waited for: its volume is provisioned when a pod uses it"
                ));
                self.objects.remove(&id);
                continue;
            }
            let others_come = self
                .objects
                .iter()
                .any(|(other, one)| *other != id && one.cause.is_none());
            let Some(one) = self.objects.get_mut(&id) else {
                continue;
            };
            if let Some(words) = one.set_cause(found, now) {
                (self.progress)(&words);
            }
            is_hopeless |= one.is_unrecoverable(now, others_come);
        }
        is_hopeless
    }

    /// Remembers since when the credentials are refused.
    fn note(&mut self, error: ClusterError) {
        if error.is_unauthorized() {
            let now = self.api.clock.elapsed();
            self.unauthorized.get_or_insert((now, error));
        }
    }

    /// Takes the refusal of the credentials, if they have been refused for long and still are.
    pub(super) async fn unauthorized(&mut self, now: Duration) -> Option<ClusterError> {
        let (since, _) = self.unauthorized.as_ref()?;
        if now.saturating_sub(*since) < UNAUTHORIZED_GRACE {
            return None;
        }
        self.reread(1).await;
        self.unauthorized.take().map(|(_, error)| error)
    }

    /// Takes the pending objects, with their causes, those that cannot recover first.
    pub(super) fn causes(&mut self) -> Vec<NotReady> {
        let mut all: Vec<NotReady> = std::mem::take(&mut self.objects)
            .into_values()
            .map(|one| NotReady {
                subject: one.object.subject(),
                cause: one
                    .cause
                    .unwrap_or_else(|| cause::not_ready(&one.object, &one.readiness)),
                readiness: one.readiness,
            })
            .collect();
        all.sort_by_key(|one| {
            (
                !one.cause.code.recoverability.is_unrecoverable(),
                one.cause.code == cause::code::NOT_READY,
            )
        });
        all
    }
}
