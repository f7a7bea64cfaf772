//! Jobs run to an end, and may remove themselves after it.

use serde_json::{Value, json};

use crate::manifest::Object;

/// How a Job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobEnd {
    /// It succeeded.
    Complete,
    /// It failed.
    Failed,
}

/// Returns true for a Job (`batch`).
pub fn is_job(object: &Object) -> bool {
    (object.group(), object.kind()) == ("batch", "Job")
}

/// Returns how a Job ended; `None` if it has not, and for other objects.
pub fn end(object: &Object) -> Option<JobEnd> {
    let has = |kind: &str| {
        let mut conditions = object.conditions();
        conditions.any(|one| {
            one.get("type") == Some(&json!(kind)) && one.get("status") == Some(&json!("True"))
        })
    };
    match is_job(object) {
        true if has("Failed") => Some(JobEnd::Failed),
        true if has("Complete") => Some(JobEnd::Complete),
        _ => None,
    }
}

/// Returns true for a Job that is removed after its end (`ttlSecondsAfterFinished`).
pub fn removes_itself(object: &Object) -> bool {
    let ttl = object
        .0
        .get("spec")
        .and_then(|spec| spec.get("ttlSecondsAfterFinished"));
    is_job(object) && ttl.is_some_and(Value::is_u64)
}

/// Returns a Job that has ended as it was before its removal began; other objects unchanged.
pub fn without_removal(mut object: Object) -> Object {
    if end(&object).is_some()
        && let Some(Value::Object(metadata)) = object.0.get_mut("metadata")
    {
        metadata.remove("deletionTimestamp");
    }
    object
}
