//! Why an object does not become ready, as a sentence: from the object down to the pod and container that is
//! at fault, with the cluster's own words, the newest event, the last lines of the log, and what to do.
//!
//! What is read: the owner's conditions, its pods (of a Deployment those of the new ReplicaSet), events, and a
//! log. Nothing is read of objects that are on their way.

pub mod code;

mod container;
mod event;
mod image;
pub mod owned;
mod pod;
mod refusal;
mod scheduling;

use code::{Code, Hope};
use container::LastRun;
use event::Event;
use owned::{is_fine, is_of_now, is_replaced, job_failure, owned_by, telling};
use pod::{PodFault, condition};
use serde_json::{Value, json};

use crate::cluster::client::discovery::Served;
use crate::cluster::client::{Api, ClusterError};
use crate::cluster::health::readiness::{Readiness, Status};
use crate::manifest::Object;

/// Pods of one object that are looked at.
const MOST_PODS: usize = 20;

/// Lines of a log that are told.
const LINES: usize = 10;

/// Characters of the cluster's words that are told.
const LONGEST: usize = 600;

/// Causes that are over with the run of a container, or with its pod.
const RUNS: [&str; 6] = [
    code::CRASHES.word,
    code::OOM_KILLED.word,
    code::EXITS_AT_ONCE.word,
    code::LIVENESS_FAILED.word,
    code::STARTUP_FAILED.word,
    code::POD_DEADLINE.word,
];

/// Why an object is not ready.
#[derive(Debug, Clone, PartialEq)]
pub struct Cause {
    /// The cause.
    pub code: Code,
    /// From the object to what is at fault: `Deployment/shop/web`, `Pod/shop/web-5d…`, `container web`.
    pub chain: Vec<String>,
    /// The cluster's words.
    pub words: String,
    /// The newest event of what is at fault.
    pub event: Option<String>,
    /// The last lines of the container's log. They may hold secrets; whoever shows them masks them.
    pub log: Vec<String>,
}

impl Cause {
    fn new(code: Code, object: &Object, words: &str) -> Self {
        let words = words.chars().take(LONGEST).collect();
        Self {
            code,
            chain: vec![object.subject()],
            words,
            event: None,
            log: Vec::new(),
        }
    }

    /// Whether it is of a claim that no pod uses yet: its volume is made then, and nothing is wrong with it.
    pub fn is_of_idle_claim(&self) -> bool {
        self.code == code::CLAIM_WITHOUT_CONSUMER
    }

    /// The same of what may be replaced before it is repaired.
    fn that_may_heal(self) -> Self {
        Self {
            code: Code {
                hope: Hope::Heals,
                ..self.code
            },
            ..self
        }
    }

    /// `ImageNotFound: Deployment/shop/web → Pod/shop/web-x → container web: …; help: …`.
    pub fn sentence(&self) -> String {
        let chain = self.chain.join(" → ");
        let mut sentence = format!("{}: {chain}: {}", self.code.word, self.words.trim());
        if let Some(last) = self.log.last() {
            sentence.push_str(&format!("; last line of its log: {last}"));
        }
        format!("{sentence}; help: {}", self.code.advice)
    }

    /// The same as a document.
    pub fn document(&self) -> Value {
        json!({
            "code": self.code.word, "chain": self.chain, "message": self.words, "event": self.event, "log": self.log,
            "help": self.code.advice, "hopeless": self.code.hope.is_lost(),
        })
    }
}

/// Looks why an object is not ready. None if nothing is known to be wrong: it is on its way.
///
/// # Errors
/// [`ClusterError`] if what would tell cannot be read.
pub async fn find(
    api: &Api,
    served: &Served,
    object: &Object,
    readiness: &Readiness,
) -> Result<Option<Cause>, ClusterError> {
    let finder = Finder { api, served };
    // Until its controller has seen what is wanted now, all there is to see is of what was wanted before.
    let found = match (object.group(), object.kind()) {
        ("apps" | "batch", _) if is_unseen(object) => None,
        ("apps", "Deployment") => finder.deployment(object).await?,
        ("apps", "StatefulSet" | "DaemonSet" | "ReplicaSet") => {
            finder.owner_of_pods(object, object).await?
        }
        ("batch", "Job") => finder.job(object).await?,
        ("", "Pod") => finder.pod(object, object).await?,
        ("", "PersistentVolumeClaim") => finder.claim(object).await?,
        ("apiextensions.k8s.io", "CustomResourceDefinition") => definition(object),
        _ => None,
    };
    let own_words = readiness.detail.as_ref().unwrap_or(&readiness.message);
    Ok(found.or_else(|| {
        (readiness.status == Status::Failed).then(|| Cause::new(code::STALLED, object, own_words))
    }))
}

/// What is told of an object that is not ready in time and of which nothing else is known.
pub fn unknown(object: &Object, readiness: &Readiness) -> Cause {
    let words = readiness.detail.as_ref().unwrap_or(&readiness.message);
    Cause::new(code::NOT_READY, object, words)
}

/// What is told of an object that has gone.
pub fn gone(object: &Object, readiness: &Readiness) -> Cause {
    Cause::new(code::DELETED, object, &readiness.message)
}

struct Finder<'a> {
    api: &'a Api,
    served: &'a Served,
}

impl Finder<'_> {
    async fn deployment(&self, deployment: &Object) -> Result<Option<Cause>, ClusterError> {
        let status = deployment.0.get("status").unwrap_or(&Value::Null);
        let sets = owned_by(self.api, self.served, deployment, "apps/v1", "ReplicaSet").await?;
        let revision = |object: &Object| {
            object
                .annotation("deployment.kubernetes.io/revision")
                .map(str::to_owned)
        };
        let newest = sets
            .iter()
            .find(|set| revision(set).is_some() && revision(set) == revision(deployment));
        let cause = match newest {
            Some(set) => self.owner_of_pods(deployment, set).await?,
            None => None,
        };
        let failed = || condition(status, "Progressing", "False");
        Ok(cause.or_else(|| {
            let message = failed()?;
            let is_late = message.contains("timed out progressing");
            let code = if is_late {
                code::PROGRESS_DEADLINE
            } else {
                refusal::of(message)
            };
            Some(Cause::new(code, deployment, message))
        }))
    }

    /// `object` is what was deployed, `owner` what owns the pods: the same, or a Deployment's ReplicaSet.
    async fn owner_of_pods(
        &self,
        object: &Object,
        owner: &Object,
    ) -> Result<Option<Cause>, ClusterError> {
        let mut cause = None;
        let pods = owned_by(self.api, self.served, owner, "v1", "Pod").await?;
        for pod in telling(owner, &pods).into_iter().take(MOST_PODS) {
            let found = self.pod(object, pod).await?;
            let is_final = is_of_now(owner, pod) && !is_replaced(owner, pod);
            let found = found.map(|cause| {
                if is_final {
                    cause
                } else {
                    cause.that_may_heal()
                }
            });
            // What cannot heal is told before what can.
            if cause.is_none()
                || found
                    .as_ref()
                    .is_some_and(|found| found.code.hope.is_lost())
            {
                cause = found;
            }
            if cause
                .as_ref()
                .is_some_and(|cause: &Cause| cause.code.hope.is_lost())
            {
                break;
            }
        }
        // What is on its way out makes room.
        let makes_room = pods
            .iter()
            .any(|pod| pod.metadata("deletionTimestamp").is_some());
        if let Some(cause) = cause {
            let is_for_room = makes_room && cause.code.hope == Hope::Waits;
            return Ok(Some(if is_for_room {
                cause.that_may_heal()
            } else {
                cause
            }));
        }
        self.no_pods(object, owner).await
    }

    /// Pods that could not be made: the newest event says why, or the condition, which keeps the first reason.
    async fn no_pods(
        &self,
        object: &Object,
        owner: &Object,
    ) -> Result<Option<Cause>, ClusterError> {
        let status = owner.0.get("status").unwrap_or(&Value::Null);
        let count = |value: Option<&Value>| value.and_then(Value::as_i64);
        let wanted = count(owner.0.get("spec").and_then(|spec| spec.get("replicas")));
        let there = count(status.get("replicas"));
        if wanted.is_some() && wanted == there {
            return Ok(None);
        }
        let events = event::of(self.api, self.served, owner).await?;
        let refused = events
            .iter()
            .rev()
            .find(|event| event.reason == "FailedCreate");
        let message = refused
            .map(|event| event.message.as_str())
            .or_else(|| condition(status, "ReplicaFailure", "True"));
        if let Some(message) = message {
            let mut cause = Cause::new(refusal::of(message), object, message);
            if owner.subject() != object.subject() {
                cause.chain.push(owner.subject());
            }
            return Ok(Some(cause));
        }
        self.terminating_namespace(object).await
    }

    /// A namespace that is being deleted refuses new pods, and no controller says a word of it.
    async fn terminating_namespace(&self, object: &Object) -> Result<Option<Cause>, ClusterError> {
        let resource = &self.served.kind("v1", "Namespace")?.api;
        // Who may not read it does not learn it here.
        let namespace = self.api.get(resource, "", object.namespace()).await;
        let Some(namespace) = namespace.ok().flatten() else {
            return Ok(None);
        };
        let is_going = namespace.metadata("deletionTimestamp").is_some();
        Ok(is_going.then(|| {
            Cause::new(
                code::NAMESPACE_TERMINATING,
                object,
                "its namespace is being deleted",
            )
        }))
    }

    async fn pod(&self, object: &Object, pod: &Object) -> Result<Option<Cause>, ClusterError> {
        if is_fine(pod) {
            return Ok(None);
        }
        let events = event::of(self.api, self.served, pod).await?;
        let Some(PodFault {
            code,
            words,
            container,
        }) = pod::fault(pod, &events)
        else {
            return Ok(None);
        };
        let mut cause = Cause::new(code, object, &words);
        if pod.subject() != object.subject() {
            cause.chain.push(pod.subject());
        }
        cause.event = events.last().map(told);
        if let Some((name, log)) = container {
            cause.chain.push(format!("container {name}"));
            if let Some(run) = log {
                cause.log = self.log(pod, &name, run).await;
            }
        }
        if code == code::CLAIM_UNBOUND
            && let Some(claim) = self.unbound_claim(pod).await?
        {
            cause.chain.extend(claim.chain);
            cause = Cause {
                chain: cause.chain,
                ..claim
            };
        }
        Ok(Some(cause))
    }

    /// Why the first claim of a pod that is not bound is not.
    async fn unbound_claim(&self, pod: &Object) -> Result<Option<Cause>, ClusterError> {
        let volumes = pod
            .0
            .get("spec")
            .and_then(|spec| spec.get("volumes"))
            .and_then(Value::as_array);
        let names = volumes
            .into_iter()
            .flatten()
            .filter_map(|volume| volume.pointer("/persistentVolumeClaim/claimName"));
        let resource = &self.served.kind("v1", "PersistentVolumeClaim")?.api;
        for name in names.filter_map(Value::as_str) {
            if let Some(claim) = self.api.get(resource, pod.namespace(), name).await?
                && let Some(cause) = self.claim(&claim).await?
                && !cause.is_of_idle_claim()
            {
                return Ok(Some(cause));
            }
        }
        Ok(None)
    }

    /// pkg/controller/volume/persistentvolume/pv_controller.go
    async fn claim(&self, claim: &Object) -> Result<Option<Cause>, ClusterError> {
        let phase = claim
            .0
            .get("status")
            .and_then(|status| status.get("phase")?.as_str())
            .unwrap_or_default();
        if phase == "Bound" {
            return Ok(None);
        }
        let events = event::of(self.api, self.served, claim).await?;
        let is_begun = events.iter().any(|event| event.reason == "Provisioning");
        let found = events.iter().rev().find_map(|event| {
            let code = match event.reason.as_str() {
                "ProvisioningFailed"
                    if event.message.contains("storageclass")
                        && event.message.contains("not found") =>
                {
                    code::STORAGE_CLASS_MISSING
                }
                // The driver goes on with it.
                "ProvisioningFailed" if event.message.contains("DeadlineExceeded") => Code {
                    hope: Hope::Heals,
                    ..code::PROVISIONING_FAILED
                },
                "ProvisioningFailed" => code::PROVISIONING_FAILED,
                "FailedBinding" => code::NO_STORAGE_CLASS,
                "WaitForFirstConsumer" => code::CLAIM_WITHOUT_CONSUMER,
                "ExternalProvisioning" if is_begun => Code {
                    hope: Hope::Heals,
                    ..code::PROVISIONER_SILENT
                },
                "ExternalProvisioning" => code::PROVISIONER_SILENT,
                "ClaimLost" => code::CLAIM_LOST,
                _ => return None,
            };
            Some((code, event))
        });
        Ok(found.map(|(code, event)| Cause {
            event: Some(told(event)),
            ..Cause::new(code, claim, &event.message)
        }))
    }

    /// pkg/controller/job/job_controller.go
    async fn job(&self, job: &Object) -> Result<Option<Cause>, ClusterError> {
        let pods = self.owner_of_pods(job, job).await?;
        // Until the Job is given up, another run is tried.
        let Some(failed) = job_failure(job) else {
            let may_heal = |cause: Cause| {
                if RUNS.contains(&cause.code.word) {
                    cause.that_may_heal()
                } else {
                    cause
                }
            };
            return Ok(pods.map(may_heal));
        };
        let text = |member: &str| {
            failed
                .get(member)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let code = match text("reason") {
            "BackoffLimitExceeded" => code::JOB_BACKOFF,
            "DeadlineExceeded" => code::JOB_DEADLINE,
            "PodFailurePolicy" => code::JOB_POLICY,
            _ => code::JOB_FAILED,
        };
        let mut cause = Cause::new(code, job, text("message"));
        if let Some(pods) = pods {
            cause.words = format!("{}: {}", cause.words, pods.words);
            cause.chain = pods.chain;
            cause.log = pods.log;
            cause.event = pods.event;
        }
        Ok(Some(cause))
    }

    /// The last lines; none if there are none, or they may not be read.
    async fn log(&self, pod: &Object, container: &str, run: LastRun) -> Vec<String> {
        let of = |ended| {
            self.api
                .log(pod.namespace(), pod.name(), container, ended, LINES)
        };
        let mut text = of(run == LastRun::Ended).await.unwrap_or_default();
        if text.is_empty() && run == LastRun::Ended {
            // A run that was not followed by another is not a previous one.
            text = of(false).await.unwrap_or_default();
        }
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        let first = lines.len().saturating_sub(LINES);
        lines
            .iter()
            .skip(first)
            .map(|line| line.chars().take(300).collect())
            .collect()
    }
}

/// Whether the controller of an object has not seen its last change.
fn is_unseen(object: &Object) -> bool {
    let observed = object
        .0
        .get("status")
        .and_then(|status| status.get("observedGeneration"));
    observed.is_some_and(|observed| Some(observed) != object.metadata("generation"))
}

fn told(event: &Event) -> String {
    let text = format!("{}: {}", event.reason, event.message);
    text.chars().take(LONGEST).collect()
}

/// staging/src/k8s.io/apiextensions-apiserver/pkg/controller/status/naming_controller.go
fn definition(definition: &Object) -> Option<Cause> {
    let status = definition.0.get("status")?;
    if let Some(message) = condition(status, "NamesAccepted", "False") {
        return Some(Cause::new(code::NAMES_CONFLICT, definition, message));
    }
    let refused = definition.conditions().find(|condition| {
        let text = |member: &str| {
            condition
                .get(member)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        text("type") == "Established" && text("status") == "False" && text("reason") != "Installing"
    })?;
    let message = refused
        .get("message")
        .and_then(Value::as_str)
        .unwrap_or_default();
    Some(Cause::new(code::DEFINITION_REFUSED, definition, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_one_sentence() {
        let cause = Cause {
            code: code::IMAGE_NOT_FOUND,
            chain: vec![
                "Deployment/shop/web".into(),
                "Pod/shop/web-1".into(),
                "container web".into(),
            ],
            words: "manifest unknown".into(),
            event: None,
            log: Vec::new(),
        };
        assert_eq!(
            cause.sentence(),
            "ImageNotFound: Deployment/shop/web → Pod/shop/web-1 → container web: manifest \
             unknown; help: correct the tag or digest, or push the image"
        );
    }

    fn object(value: Value) -> Object {
        Object(value.as_object().unwrap().clone())
    }

    #[test]
    fn a_controller_that_has_not_looked_yet_tells_nothing() {
        let of =
            |observed: Value| object(json!({"metadata": {"generation": 3}, "status": observed}));
        assert!(is_unseen(&of(json!({"observedGeneration": 2}))));
        assert!(!is_unseen(&of(json!({"observedGeneration": 3}))));
        assert!(!is_unseen(&of(json!({}))), "a Job has no such thing");
    }
}
