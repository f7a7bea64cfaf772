//! What an object of a set needs from objects that come before it.

use serde_json::Value;

use crate::cluster::rollout::stage::Stage;
use crate::manifest::Object;

/// Returns the failed object that this object depends on: the CRD of its kind, its namespace, or an
/// object of an earlier stage that it names.
pub fn failed_dependency(object: &Object, stage: Stage, failed: &[&Object]) -> Option<String> {
    let blocks = |other: &&&Object| {
        if other.is_crd() {
            return other.defined_kind() == Some((object.group(), object.kind()));
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
    failed.iter().find(blocks).map(|other| other.subject())
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
