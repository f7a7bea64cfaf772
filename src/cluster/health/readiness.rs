//! Whether an object has become what it is meant to be, judged from the object alone: the answers of
//! kstatus (cli-utils 0.37), word for word (specification of waiting, section 11).
//!
//! | step | what decides |
//! |---|---|
//! | 1 | it is being deleted |
//! | 2 | its controller has not seen its last change |
//! | 3 | a condition `Reconciling` or `Stalled` |
//! | 4 | the rules of its kind (`workload`, `batch`, `other`) |
//! | 5 | a condition `Ready` |
//! | 6 | nothing: it is current |

mod batch;
mod fields;
mod other;
mod workload;

use fields::{Condition, conditions, generation};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::manifest::Object;

/// How far an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Status {
    /// On its way.
    InProgress,
    /// It will not get there by itself.
    Failed,
    /// It is what it is meant to be.
    Current,
    /// It is being deleted.
    Terminating,
    /// It is not there.
    NotFound,
    /// It could not be read.
    Unknown,
}

impl Status {
    /// Its word, as kstatus writes it.
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

/// How far an object is, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// How far.
    pub status: Status,
    /// A short sentence.
    pub message: String,
    /// A word for it, such as `LessReady`; empty where it is current.
    pub reason: String,
    /// The controller's own words, where they say more than the message.
    pub detail: Option<String>,
}

/// An object from which nothing can be told. No text of it quotes a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadinessError {
    /// A field is of the wrong type.
    #[error("{field} is not {wanted}")]
    Type {
        /// Which.
        field: String,
        /// What it has to be.
        wanted: &'static str,
    },
    /// A pod in a phase that Kubernetes does not have.
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

    /// Whether it is current.
    pub fn is_current(&self) -> bool {
        self.status == Status::Current
    }

    /// The document that kstatus gives: status, message, and at most one condition.
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

/// Judges an object as the API server gives it. `now` is for pods that nobody has had time to place.
///
/// # Errors
/// [`ReadinessError`] where the object has fields of types that no controller writes.
pub fn judge(object: &Object, now: Timestamp) -> Result<Readiness, ReadinessError> {
    if let Some(answer) = terminating(object)? {
        return Ok(answer);
    }
    if let Some(answer) = unseen(object)? {
        return Ok(answer);
    }
    let conditions = conditions(object)?;
    if let Some(answer) = conditions.iter().find_map(told) {
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
        ("", "PersistentVolumeClaim") => Some(other::claim(object)),
        ("", "Secret" | "ConfigMap") | ("batch", "CronJob") => {
            Some(Readiness::current("Resource is always ready"))
        }
        ("policy", "PodDisruptionBudget") => {
            Some(Readiness::current("AllowedDisruptions has been computed."))
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            Some(other::definition(&conditions))
        }
        _ => conditions.iter().find_map(ready),
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
            wanted: "a text",
        }),
    }
}

/// The controller's view is of another generation than the object's.
fn unseen(object: &Object) -> Result<Option<Readiness>, ReadinessError> {
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

/// What a controller says in kstatus' own conditions.
fn told(condition: &Condition<'_>) -> Option<Readiness> {
    match (condition.kind, condition.status) {
        ("Reconciling", "True") => {
            Some(Readiness::in_progress(condition.reason, condition.message))
        }
        ("Stalled", "True") => Some(Readiness::failed(condition.reason, condition.message)),
        _ => None,
    }
}

fn ready(condition: &Condition<'_>) -> Option<Readiness> {
    match (condition.kind, condition.status) {
        ("Ready", "True") => Some(Readiness::current("Resource is Ready")),
        ("Ready", "False" | "Unknown") => {
            Some(Readiness::in_progress(condition.reason, condition.message))
        }
        _ => None,
    }
}
