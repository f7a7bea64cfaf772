//! Reads fields of an object's status with the types and defaults of kstatus.

use serde_json::Value;

use crate::cluster::health::readiness::ReadinessError;
use crate::manifest::Object;

/// A status condition. Absent fields are empty.
#[derive(Debug, Clone, Copy, Default)]
pub struct Condition<'a> {
    pub kind: &'a str,
    pub status: &'a str,
    pub reason: &'a str,
    pub message: &'a str,
}

/// Returns the value at a path of field names.
pub fn at<'a>(object: &'a Object, path: &[&str]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    rest.iter()
        .try_fold(object.0.get(*first)?, |value, member| value.get(*member))
}

/// Returns an integer, or the default if the field is absent or not an integer.
pub fn integer(object: &Object, path: &[&str], default: i64) -> i64 {
    at(object, path).and_then(Value::as_i64).unwrap_or(default)
}

/// Returns a string, or an empty one if the field is absent or not a string.
pub fn text<'a>(object: &'a Object, path: &[&str]) -> &'a str {
    at(object, path).and_then(Value::as_str).unwrap_or_default()
}

/// Returns `metadata.generation` and `status.observedGeneration`, if both are set.
pub fn generation(object: &Object) -> Result<Option<(i64, i64)>, ReadinessError> {
    let number = |path: [&str; 2]| match at(object, &path) {
        None => Ok(None),
        Some(value) => value.as_i64().map(Some).ok_or(ReadinessError::Type {
            field: path.join("."),
            wanted: "an integer",
        }),
    };
    let Some(wanted) = number(["metadata", "generation"])? else {
        return Ok(None);
    };
    Ok(number(["status", "observedGeneration"])?.map(|observed| (wanted, observed)))
}

pub fn conditions(object: &Object) -> Result<Vec<Condition<'_>>, ReadinessError> {
    let wrong = |field: &str, wanted| {
        Err(ReadinessError::Type {
            field: field.to_owned(),
            wanted,
        })
    };
    let status = match object.0.get("status") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Object(status)) => status,
        Some(_) => return wrong("status", "a map"),
    };
    match status.get("conditions") {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(items)) => items.iter().map(condition).collect(),
        Some(_) => wrong("status.conditions", "a list"),
    }
}

fn condition(item: &Value) -> Result<Condition<'_>, ReadinessError> {
    let map = match item {
        Value::Null => return Ok(Condition::default()),
        Value::Object(map) => map,
        _ => {
            return Err(ReadinessError::Type {
                field: "status.conditions[]".into(),
                wanted: "a map",
            });
        }
    };
    let text = |member: &str| match map.get(member) {
        None | Some(Value::Null) => Ok(""),
        Some(Value::String(text)) => Ok(text.as_str()),
        Some(_) => Err(ReadinessError::Type {
            field: format!("status.conditions[].{member}"),
            wanted: "a string",
        }),
    };
    Ok(Condition {
        kind: text("type")?,
        status: text("status")?,
        reason: text("reason")?,
        message: text("message")?,
    })
}
