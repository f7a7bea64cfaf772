//! Hides the values of Secrets before anything is shown: they are only ever equal or not.

use serde_json::Value;

use crate::manifest::Object;

/// Holds whole objects, Secrets too; never shown on any kind.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Both sides of a comparison, fit to be shown.
pub(super) fn pair(before: Option<&Object>, after: Option<&Object>) -> (Option<Object>, Option<Object>) {
    let mut shown = (before.cloned(), after.cloned());
    for side in [&mut shown.0, &mut shown.1].into_iter().flatten() {
        if let Some(Value::Object(annotations)) = side.0.get_mut("metadata").and_then(|m| m.get_mut("annotations")) {
            annotations.shift_remove(LAST_APPLIED);
        }
    }
    let is_secret = before.or(after).is_some_and(Object::is_secret);
    if is_secret {
        for member in ["data", "stringData"] {
            mask(&mut shown, member);
        }
    }
    shown
}

fn mask(shown: &mut (Option<Object>, Option<Object>), member: &str) {
    let values = |object: &Option<Object>| {
        let map = object.as_ref().and_then(|object| object.0.get(member)).and_then(Value::as_object);
        map.cloned().unwrap_or_default()
    };
    let (before, after) = (values(&shown.0), values(&shown.1));
    let hide = |side: &mut Option<Object>, other: &serde_json::Map<String, Value>, mark: &str| {
        let Some(Value::Object(map)) = side.as_mut().and_then(|object| object.0.get_mut(member)) else { return };
        for (key, value) in map.iter_mut() {
            let differs = other.get(key).is_some_and(|theirs| theirs != value);
            *value = if differs { format!("*** ({mark})") } else { "***".to_owned() }.into();
        }
    };
    hide(&mut shown.0, &after, "before");
    hide(&mut shown.1, &before, "after");
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn secret_values_are_only_equal_or_not() {
        let secret = |a: &str| {
            Object(
                json!({"apiVersion": "v1", "kind": "Secret", "data": {"a": a, "b": "same"}})
                    .as_object()
                    .unwrap()
                    .clone(),
            )
        };
        let (before, after) = pair(Some(&secret("one")), Some(&secret("two")));
        assert_eq!(before.unwrap().0["data"], json!({"a": "*** (before)", "b": "***"}));
        assert_eq!(after.unwrap().0["data"], json!({"a": "*** (after)", "b": "***"}));
        let (_, added) = pair(None, Some(&secret("one")));
        assert_eq!(added.unwrap().0["data"], json!({"a": "***", "b": "***"}));
    }
}
