//! Diagnoses why an object does not become ready. The result names the path from the object down to
//! the failing pod and container, the cluster's message, the newest event, the last lines of the
//! log, and advice.
//!
//! It reads the object's conditions, its pods (for a Deployment, those of the newest ReplicaSet),
//! events, and one log. It reads nothing for workloads and Jobs whose controller has not observed
//! their current generation.

mod claim;
pub mod code;
mod crd;
mod deployment;
mod job;

mod container;
mod event;
mod image;
pub mod owned;
mod pod;
mod refusal;
mod scheduling;
#[cfg(test)]
mod wording;

use code::{CauseCode, Recoverability};
use container::LogRun;
use crd::custom_resource_definition;
use event::ClusterEvent;
use owned::{is_current_revision, is_healthy, is_replaced, owned_by, pods_to_diagnose};
use pod::{PodFault, condition};
use serde_json::{Value, json};

use crate::cluster::client::discovery::ServedKinds;
use crate::cluster::client::{Api, ClusterError};
use crate::cluster::health::readiness::{Readiness, Status};
use crate::cluster::health::rule;
use crate::manifest::Object;

/// Maximum number of pods of one object to inspect.
const MAX_PODS: usize = 20;

/// Maximum number of log lines to report.
const MAX_LOG_LINES: usize = 10;

/// Maximum length of a message from the cluster, in characters.
const MAX_MESSAGE_CHARS: usize = 600;

/// Reasons that end with one run of a container, or with its pod. A Job may still retry after them.
const PER_RUN_REASONS: [&str; 6] = [
    code::CRASHES.reason,
    code::OOM_KILLED.reason,
    code::EXITS_AT_ONCE.reason,
    code::LIVENESS_FAILED.reason,
    code::STARTUP_FAILED.reason,
    code::POD_DEADLINE.reason,
];

/// The diagnosis of an object that is not ready.
#[derive(Debug, Clone, PartialEq)]
pub struct StatusCause {
    /// Reason, recoverability and advice.
    pub code: CauseCode,
    /// Path from the object to the failing part: `Deployment/shop/web`, `Pod/shop/web-5d…`,
    /// `container web`.
    pub chain: Vec<String>,
    /// The cluster's message.
    pub message: String,
    /// Newest event of the failing part.
    pub event: Option<String>,
    /// Last lines of the container's log. They may contain secrets; the code that shows them must
    /// mask them.
    pub log: Vec<String>,
}

impl StatusCause {
    fn new(code: CauseCode, object: &Object, message: &str) -> Self {
        let words = message.chars().take(MAX_MESSAGE_CHARS).collect();
        Self {
            code,
            chain: vec![object.subject()],
            message: words,
            event: None,
            log: Vec::new(),
        }
    }

    /// Returns true for a claim that no pod uses yet. Its volume is provisioned at first use, so
    /// nothing is wrong.
    pub fn is_unused_claim(&self) -> bool {
        self.code == code::CLAIM_WITHOUT_CONSUMER
    }

    /// Returns the cause marked as recoverable, because the pod may be replaced.
    fn into_recoverable(self) -> Self {
        Self {
            code: CauseCode {
                recoverability: Recoverability::Recovers,
                ..self.code
            },
            ..self
        }
    }

    /// Formats the cause in one line, such as `ImageNotFound: Deployment/shop/web → Pod/shop/web-x
    /// → container web: …; help: …`.
    pub fn sentence(&self) -> String {
        let chain = self.chain.join(" → ");
        let mut sentence = format!("{}: {chain}: {}", self.code.reason, self.message.trim());
        if let Some(last) = self.log.last() {
            sentence.push_str(&format!("; last line of its log: {last}"));
        }
        format!("{sentence}; help: {}", self.code.advice)
    }

    /// Returns the cause as a JSON document.
    pub fn document(&self) -> Value {
        json!({
            "code": self.code.reason, "chain": self.chain, "message": self.message, "event": self.event, "log": self.log,
            "help": self.code.advice, "hopeless": self.code.recoverability.is_unrecoverable(),
        })
    }
}

/// Diagnoses an object that is not ready. Returns `None` if no fault is found, so that it may still
/// become ready.
///
/// # Errors
/// Fails if pods, claims or events cannot be read. Events that may not be read (403) count as none.
pub async fn find(
    api: &Api,
    served: &ServedKinds,
    object: &Object,
    readiness: &Readiness,
) -> Result<Option<StatusCause>, ClusterError> {
    let finder = Finder { api, served };
    // Until the controller has observed the current generation, its status and pods belong to the
    // previous one.
    let found = match (object.group(), object.kind()) {
        ("apps" | "batch", _) if is_generation_unobserved(object) => None,
        ("apps", "Deployment") => finder.deployment(object).await?,
        ("apps", "StatefulSet" | "DaemonSet" | "ReplicaSet") => {
            finder.owner_of_pods(object, object).await?
        }
        ("batch", "Job") => finder.job(object).await?,
        ("", "Pod") => finder.pod(object, object).await?,
        ("", "PersistentVolumeClaim") => finder.claim(object).await?,
        ("apiextensions.k8s.io", "CustomResourceDefinition") => custom_resource_definition(object),
        _ => None,
    };
    Ok(
        found
            .or_else(|| (readiness.status == Status::Failed).then(|| of_status(object, readiness))),
    )
}

/// Returns the cause that the status itself tells: that of a readiness rule, or of the object's
/// controller.
fn of_status(object: &Object, readiness: &Readiness) -> StatusCause {
    let code = match readiness.reason.as_str() {
        rule::INVALID | rule::TOO_EXPENSIVE => code::RULE_INVALID,
        rule::NOT_MET => code::RULE_NOT_MET,
        _ if readiness.status == Status::Failed => code::STALLED,
        _ => code::NOT_READY,
    };
    let words = readiness.detail.as_ref().unwrap_or(&readiness.message);
    StatusCause::new(code, object, words)
}

/// Returns the cause for an object that is not ready in time and for which no fault is found.
pub fn not_ready(object: &Object, readiness: &Readiness) -> StatusCause {
    of_status(object, readiness)
}

/// Returns the cause for an object that was deleted during the wait.
pub fn deleted(object: &Object, readiness: &Readiness) -> StatusCause {
    StatusCause::new(code::DELETED, object, &readiness.message)
}

struct Finder<'a> {
    api: &'a Api,
    served: &'a ServedKinds,
}

impl Finder<'_> {
    /// Diagnoses the pods of an owner. `object` is the deployed object; `owner` owns the pods and
    /// is either the same object or a Deployment's ReplicaSet.
    async fn owner_of_pods(
        &self,
        object: &Object,
        owner: &Object,
    ) -> Result<Option<StatusCause>, ClusterError> {
        let mut cause = None;
        let pods = owned_by(self.api, self.served, owner, "v1", "Pod").await?;
        for pod in pods_to_diagnose(owner, &pods).into_iter().take(MAX_PODS) {
            let found = self.pod(object, pod).await?;
            let is_current = is_current_revision(owner, pod);
            let is_final = is_current && !is_replaced(owner, pod);
            let blocks = object.kind() == "StatefulSet" && !is_current;
            let found = found.map(|mut cause| {
                if blocks {
                    let why = "the update waits for this pod of the old revision";
                    cause.message = format!("{why}: {}", cause.message);
                }
                if is_final {
                    cause
                } else {
                    cause.into_recoverable()
                }
            });
            // A cause that cannot recover takes precedence.
            if cause.is_none()
                || found
                    .as_ref()
                    .is_some_and(|found| found.code.recoverability.is_unrecoverable())
            {
                cause = found;
            }
            if cause
                .as_ref()
                .is_some_and(|cause: &StatusCause| cause.code.recoverability.is_unrecoverable())
            {
                break;
            }
        }
        // A pod that is terminating will free its resources.
        let makes_room = pods
            .iter()
            .any(|pod| pod.metadata("deletionTimestamp").is_some());
        if let Some(cause) = cause {
            let is_for_room =
                makes_room && cause.code.recoverability == Recoverability::NeedsOthers;
            return Ok(Some(if is_for_room {
                cause.into_recoverable()
            } else {
                cause
            }));
        }
        self.no_pods(object, owner).await
    }

    /// Diagnoses missing pods. The newest event has the current reason; the condition keeps the
    /// first one.
    async fn no_pods(
        &self,
        object: &Object,
        owner: &Object,
    ) -> Result<Option<StatusCause>, ClusterError> {
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
            let mut cause = StatusCause::new(refusal::of(message), object, message);
            if owner.subject() != object.subject() {
                cause.chain.push(owner.subject());
            }
            return Ok(Some(cause));
        }
        self.terminating_namespace(object).await
    }

    /// A terminating namespace refuses new pods, and no controller reports it.
    async fn terminating_namespace(
        &self,
        object: &Object,
    ) -> Result<Option<StatusCause>, ClusterError> {
        let resource = &self.served.kind("v1", "Namespace")?.api;
        // If the namespace may not be read, this cause is not detected.
        let namespace = self.api.get(resource, "", object.namespace()).await;
        let Some(namespace) = namespace.ok().flatten() else {
            return Ok(None);
        };
        let is_going = namespace.metadata("deletionTimestamp").is_some();
        Ok(is_going.then(|| {
            StatusCause::new(
                code::NAMESPACE_TERMINATING,
                object,
                "its namespace is being deleted",
            )
        }))
    }

    async fn pod(
        &self,
        object: &Object,
        pod: &Object,
    ) -> Result<Option<StatusCause>, ClusterError> {
        if is_healthy(pod) {
            return Ok(None);
        }
        let events = event::of(self.api, self.served, pod).await?;
        let Some(PodFault {
            code,
            message: words,
            container,
        }) = pod::fault(pod, &events)
        else {
            return Ok(None);
        };
        let mut cause = StatusCause::new(code, object, &words);
        if pod.subject() != object.subject() {
            cause.chain.push(pod.subject());
        }
        cause.event = events.last().map(event_line);
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
            cause = StatusCause {
                chain: cause.chain,
                ..claim
            };
        }
        Ok(Some(cause))
    }

    /// Returns the last lines of the log; empty if there are none, or the log may not be read.
    async fn log(&self, pod: &Object, container: &str, run: LogRun) -> Vec<String> {
        let of = |ended| {
            self.api
                .log(pod.namespace(), pod.name(), container, ended, MAX_LOG_LINES)
        };
        let mut text = of(run == LogRun::Ended).await.unwrap_or_default();
        if text.is_empty() && run == LogRun::Ended {
            // If the container has not restarted, the ended run is the current one, not the
            // previous one.
            text = of(false).await.unwrap_or_default();
        }
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        let first = lines.len().saturating_sub(MAX_LOG_LINES);
        lines
            .iter()
            .skip(first)
            .map(|line| line.chars().take(300).collect())
            .collect()
    }
}

/// Returns true if the controller has not observed the object's current generation.
fn is_generation_unobserved(object: &Object) -> bool {
    let observed = object
        .0
        .get("status")
        .and_then(|status| status.get("observedGeneration"));
    observed.is_some_and(|observed| Some(observed) != object.metadata("generation"))
}

fn event_line(event: &ClusterEvent) -> String {
    let text = format!("{}: {}", event.reason, event.message);
    text.chars().take(MAX_MESSAGE_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_one_sentence() {
        let cause = StatusCause {
            code: code::IMAGE_NOT_FOUND,
            chain: vec![
                "Deployment/shop/web".into(),
                "Pod/shop/web-1".into(),
                "container web".into(),
            ],
            message: "manifest unknown".into(),
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
        assert!(is_generation_unobserved(&of(
            json!({"observedGeneration": 2})
        )));
        assert!(!is_generation_unobserved(&of(
            json!({"observedGeneration": 3})
        )));
        assert!(
            !is_generation_unobserved(&of(json!({}))),
            "a Job has no such thing"
        );
    }
}
