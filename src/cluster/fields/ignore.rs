//! Fields that keep their live value because something else controls them, such as an autoscaler's
//! replicas or an injected certificate.

use std::borrow::Cow;

use serde_json::Value;

use crate::cluster::fields::marks;
use crate::cluster::fields::placeholders::filled_by_others;
use crate::cluster::fields::policy::FieldPolicy;
use crate::manifest::{Object, pointer};

/// Annotation that lists ignored fields of its object, as JSON pointers separated by commas.
pub const ANNOTATION: &str = "nuon.co/ignore-fields";

/// Iterates over the entries of an object's annotation.
fn annotated(wanted: &Object) -> impl Iterator<Item = &str> {
    let entries = wanted.annotation(ANNOTATION).unwrap_or_default().split(',');
    entries.map(str::trim).filter(|entry| !entry.is_empty())
}

/// Returns the entries of an object's annotation that are no JSON pointers.
pub fn annotation_faults(wanted: &Object) -> Vec<&str> {
    annotated(wanted)
        .filter(|entry| !entry.starts_with('/'))
        .collect()
}

/// Returns pointers to the ignored fields of an object: by its annotation, by rules, and keep marks
/// that other managers set.
fn pointers(wanted: &Object, live: &Object, policy: &FieldPolicy) -> Vec<String> {
    let own = annotated(wanted)
        .filter(|entry| entry.starts_with('/'))
        .map(str::to_owned);
    let rules = policy
        .ignore
        .iter()
        .filter(|rule| rule.is_about(wanted))
        .map(|rule| rule.pointer.clone());
    own.chain(rules)
        .chain(marks::keep_marks_of_others(live, &policy.manager))
        .collect()
}

/// Returns the live object without the ignored fields.
pub fn without_ignored<'a>(
    wanted: &Object,
    live: &'a Object,
    policy: &FieldPolicy,
) -> Cow<'a, Object> {
    let filled = filled_by_others(wanted, live, policy);
    let filled = filled.into_iter().map(|field| field.live_pointer);
    let pointers: Vec<String> = pointers(wanted, live, policy)
        .into_iter()
        .chain(filled)
        .collect();
    if pointers.is_empty() {
        return Cow::Borrowed(live);
    }
    let mut document = Value::Object(live.0.clone());
    for path in pointers {
        remove(&mut document, &path);
    }
    match document {
        Value::Object(map) => Cow::Owned(Object(map)),
        _ => Cow::Borrowed(live),
    }
}

fn remove(document: &mut Value, path: &str) {
    let Some((parent, member)) = path.rsplit_once('/') else {
        return;
    };
    if let Some(Value::Object(map)) = document.pointer_mut(parent) {
        map.shift_remove(&pointer::unescape(member));
    }
}

/// Copies the live values of the ignored fields into the wanted object, so that the apply does not
/// change them, and takes out the fields that are empty and that others have filled.
pub fn keep_live_values(wanted: &mut Object, live: &Object, policy: &FieldPolicy) {
    let filled = filled_by_others(wanted, live, policy);
    if !filled.is_empty() {
        let mut document = Value::Object(std::mem::take(&mut wanted.0));
        for field in filled {
            remove(&mut document, &field.pointer);
        }
        if let Value::Object(map) = document {
            wanted.0 = map;
        }
    }
    let pointers = pointers(wanted, live, policy);
    if pointers.is_empty() {
        return;
    }
    let live_value = Value::Object(live.0.clone());
    let mut document = Value::Object(std::mem::take(&mut wanted.0));
    for path in pointers {
        let Some((parent, member)) = path.rsplit_once('/') else {
            continue;
        };
        let Some(parent) = document.pointer_mut(parent) else {
            continue;
        };
        match (parent, live_value.pointer(&path)) {
            (Value::Object(map), Some(value)) if map.contains_key(&pointer::unescape(member)) => {
                map.insert(pointer::unescape(member), value.clone());
            }
            (Value::Object(map), None) => drop(map.shift_remove(&pointer::unescape(member))),
            _ => {}
        }
    }
    if let Value::Object(map) = document {
        wanted.0 = map;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::fields::policy::IgnoreRule;

    fn object(value: Value) -> Object {
        Object(value.as_object().unwrap().clone())
    }

    #[test]
    fn ignored_fields_become_what_the_cluster_has() {
        let live = object(json!({"kind": "Deployment", "spec": {"replicas": 7, "paused": true}}));
        let wanted = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": 2}});
        let rules = ["Deployment.apps/web:/spec/replicas", "*:/spec/paused"]
            .iter()
            .map(|rule| rule.parse().unwrap());
        let rules = FieldPolicy {
            ignore: rules.collect(),
            ..FieldPolicy::default()
        };
        let mut changed = object(wanted.clone());
        keep_live_values(&mut changed, &live, &rules);
        assert_eq!(
            changed.0["spec"],
            json!({"replicas": 7}),
            "what is not wanted is not taken up"
        );

        let mut by_annotation = object(wanted);
        by_annotation.0["metadata"]["annotations"] = json!({ANNOTATION: "/spec/replicas"});
        keep_live_values(&mut by_annotation, &live, &FieldPolicy::default());
        assert_eq!(by_annotation.0["spec"]["replicas"], 7);
    }

    #[test]
    fn a_rule_needs_a_kind_and_a_pointer() {
        for text in ["", "Deployment", ":/spec", "Deployment:spec"] {
            assert!(text.parse::<IgnoreRule>().is_err(), "{text}");
        }
    }
}
