//! Computes the status of an object from the object alone, with the same results and messages as
//! kstatus (cli-utils 0.37). See `docs/apply.md` on readiness.
//!
//! | step | deciding field or rule |
//! |---|---|
//! | 1 | `metadata.deletionTimestamp` is set |
//! | 2 | `status.observedGeneration` differs from `metadata.generation` |
//! | 3 | a condition `Reconciling` or `Stalled` |
//! | 4 | the rules of its kind (`workload`, `batch`, `other`) |
//! | 5 | a condition `Ready` |
//! | 6 | none of these: it is current |

mod batch;
mod fields;
mod other;
mod workload;

use fields::{Condition, conditions, generation};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::manifest::Object;

/// Status of an object, as in kstatus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Status {
    /// The controller is still working towards the desired state.
    InProgress,
    /// It will not become ready without a change.
    Failed,
    /// The desired state is reached.
    Current,
    /// It is being deleted.
    Terminating,
    /// It does not exist.
    NotFound,
    /// Its status could not be computed.
    Unknown,
}

impl Status {
    /// Returns the name that kstatus uses.
    pub fn word(self) -> &'static str {
        match self {
            Self::InProgress => "InProgress",
            Self::Failed => "Failed",
            Self::Current => "Current",
            Self::Terminating => "Terminating",
            Self::NotFound => "NotFound",
            Self::Unknown => "Unknown",
        }
    }
}

/// Status of an object, with the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// Computed status.
    pub status: Status,
    /// One sentence for people.
    pub message: String,
    /// CamelCase reason such as `LessReady`; may be empty.
    pub reason: String,
    /// The controller's own message, where it says more than `message`.
    pub detail: Option<String>,
}

/// The status of an object cannot be computed. The messages never quote a field's value, except an
/// unknown pod phase (60 characters).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadinessError {
    /// A field has the wrong type.
    #[error("{field} is not {wanted}")]
    Type {
        /// Path of the field.
        field: String,
        /// The required type, with its article.
        wanted: &'static str,
    },
    /// A pod phase that Kubernetes does not define.
    #[error("unknown phase {0}")]
    Phase(String),
}

impl Readiness {
    fn new(status: Status, reason: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            reason: reason.to_owned(),
            detail: None,
        }
    }

    fn current(message: impl Into<String>) -> Self {
        Self::new(Status::Current, "", message)
    }

    fn in_progress(reason: &str, message: impl Into<String>) -> Self {
        Self::new(Status::InProgress, reason, message)
    }

    fn failed(reason: &str, message: impl Into<String>) -> Self {
        Self::new(Status::Failed, reason, message)
    }

    /// Returns true if the status is [`Status::Current`].
    pub fn is_current(&self) -> bool {
        self.status == Status::Current
    }

    /// Returns the result as kstatus encodes it: status, message, and at most one condition.
    pub fn document(&self) -> Value {
        let kind = match self.status {
            Status::InProgress => Some("Reconciling"),
            Status::Failed => Some("Stalled"),
            _ => None,
        };
        let condition = |kind: &str| {
            let mut condition = Map::from_iter([
                ("type".into(), kind.into()),
                ("status".into(), "True".into()),
            ]);
            let message = self.detail.as_ref().unwrap_or(&self.message);
            for (member, text) in [("reason", &self.reason), ("message", message)] {
                if !text.is_empty() {
                    condition.insert(member.to_owned(), text.as_str().into());
                }
            }
            Value::Object(condition)
        };
        let conditions: Vec<Value> = kind.into_iter().map(condition).collect();
        json!({"status": self.status.word(), "message": self.message, "conditions": conditions})
    }
}

/// Computes the status of an object that was read from the API server. `now` decides how long a pod
/// has been unschedulable.
///
/// # Errors
/// Fails if a field has a type that no controller writes, or a pod has an unknown phase.
///
/// ```
/// use jiff::Timestamp;
/// use nuon_runner::cluster::health::readiness::{Status, compute_status};
/// use nuon_runner::manifest;
///
/// let stream = b"apiVersion: apps/v1\nkind: Deployment\n\
///     metadata: {name: web, generation: 2}\nspec: {replicas: 3}\n\
///     status: {observedGeneration: 2, replicas: 3, updatedReplicas: 3, readyReplicas: 1}\n";
/// let web = manifest::read(stream)?.objects.remove(0);
/// let readiness = compute_status(&web, Timestamp::now())?;
/// assert_eq!(readiness.status, Status::InProgress);
/// assert_eq!(readiness.message, "Available: 0/3");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn compute_status(object: &Object, now: Timestamp) -> Result<Readiness, ReadinessError> {
    if let Some(answer) = terminating(object)? {
        return Ok(answer);
    }
    if let Some(answer) = generation_not_observed(object)? {
        return Ok(answer);
    }
    let conditions = conditions(object)?;
    if let Some(answer) = conditions.iter().find_map(kstatus_condition) {
        return Ok(answer);
    }
    let judged = match (object.group(), object.kind()) {
        ("apps" | "extensions", "Deployment") => Some(workload::deployment(object, &conditions)),
        ("apps" | "extensions", "DaemonSet") => Some(workload::daemon_set(object)),
        ("apps" | "extensions", "ReplicaSet") => Some(workload::replica_set(object, &conditions)),
        ("apps", "StatefulSet") => Some(workload::stateful_set(object)),
        ("", "Pod") => Some(batch::pod(object, &conditions, now)?),
        ("batch", "Job") => Some(batch::job(object, &conditions)),
        ("", "Service") => Some(other::service(object)),
        ("", "PersistentVolumeClaim") => Some(other::persistent_volume_claim(object)),
        ("", "Secret" | "ConfigMap") | ("batch", "CronJob") => {
            Some(Readiness::current("Resource is always ready"))
        }
        ("policy", "PodDisruptionBudget") => {
            Some(Readiness::current("AllowedDisruptions has been computed."))
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            Some(other::custom_resource_definition(&conditions))
        }
        _ => conditions.iter().find_map(ready_condition),
    };
    Ok(judged.unwrap_or_else(|| Readiness::current("Resource is current")))
}

fn terminating(object: &Object) -> Result<Option<Readiness>, ReadinessError> {
    match object.metadata("deletionTimestamp") {
        None => Ok(None),
        Some(Value::String(time)) if time.is_empty() => Ok(None),
        Some(Value::String(_)) => Ok(Some(Readiness::new(
            Status::Terminating,
            "",
            "Resource scheduled for deletion",
        ))),
        Some(_) => Err(ReadinessError::Type {
            field: "metadata.deletionTimestamp".into(),
            wanted: "a string",
        }),
    }
}

/// Returns a result if the controller has not observed the object's current generation.
fn generation_not_observed(object: &Object) -> Result<Option<Readiness>, ReadinessError> {
    let Some((wanted, observed)) = generation(object)? else {
        return Ok(None);
    };
    if wanted == observed {
        return Ok(None);
    }
    let kind = object.kind();
    let message =
        format!("{kind} generation is {wanted}, but latest observed generation is {observed}");
    Ok(Some(Readiness::in_progress(
        "LatestGenerationNotObserved",
        message,
    )))
}

/// Evaluates kstatus' own conditions, `Reconciling` and `Stalled`.
fn kstatus_condition(condition: &Condition<'_>) -> Option<Readiness> {
    match (condition.kind, condition.status) {
        ("Reconciling", "True") => {
            Some(Readiness::in_progress(condition.reason, condition.message))
        }
        ("Stalled", "True") => Some(Readiness::failed(condition.reason, condition.message)),
        _ => None,
    }
}

fn ready_condition(condition: &Condition<'_>) -> Option<Readiness> {
    match (condition.kind, condition.status) {
        ("Ready", "True") => Some(Readiness::current("Resource is Ready")),
        ("Ready", "False" | "Unknown") => {
            Some(Readiness::in_progress(condition.reason, condition.message))
        }
        _ => None,
    }
}
