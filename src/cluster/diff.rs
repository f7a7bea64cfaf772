//! What differs between two states of an object, field by field.
//!
//! Left out are what the server keeps for itself (times, versions, ids, managed fields) and the
//! status. Lists are paired by their longest common part; what is left over is paired in order.
#![expect(clippy::indexing_slicing, reason = "indexes come from the lengths of the same lists")]

use serde_json::{Map, Value};

use crate::manifest::Object;

/// Members of `metadata` that the server keeps for itself.
const SERVERS_OWN: [&str; 5] = ["creationTimestamp", "resourceVersion", "generation", "uid", "managedFields"];

/// Longer lists are paired in order: a comparison of all with all would take too long.
const LONGEST_PAIRED: usize = 500;

/// One field that differs.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Keys joined by dots, indexes in brackets; keys with dots in quotes.
    pub path: String,
    /// The value before; none if there was none.
    pub before: Option<Value>,
    /// The value after; none if there is none.
    pub after: Option<Value>,
}

/// An object without what the server keeps for itself.
pub fn essence(object: &Object) -> Map<String, Value> {
    let mut essence = object.0.clone();
    essence.shift_remove("status");
    if let Some(Value::Object(metadata)) = essence.get_mut("metadata") {
        for member in SERVERS_OWN {
            metadata.shift_remove(member);
        }
    }
    essence
}

/// The fields in which two states differ, sorted by path.
pub fn compare(before: &Object, after: &Object) -> Vec<Difference> {
    let mut differences = Vec::new();
    maps("", &essence(before), &essence(after), &mut differences);
    differences.sort_by(|a, b| a.path.cmp(&b.path));
    differences
}

fn maps(path: &str, before: &Map<String, Value>, after: &Map<String, Value>, into: &mut Vec<Difference>) {
    let mut keys: Vec<&String> = before.keys().chain(after.keys()).collect();
    keys.sort();
    keys.dedup();
    for key in keys {
        let part = if key.contains(['.', '[', '"']) { format!("{key:?}") } else { key.clone() };
        let path = if path.is_empty() { part } else { format!("{path}.{part}") };
        values(&path, before.get(key), after.get(key), into);
    }
}

fn values(path: &str, before: Option<&Value>, after: Option<&Value>, into: &mut Vec<Difference>) {
    match (before, after) {
        (Some(Value::Object(before)), Some(Value::Object(after))) => maps(path, before, after, into),
        (Some(Value::Array(before)), Some(Value::Array(after))) => lists(path, before, after, into),
        (before, after) if before == after => {}
        // Nothing and an empty map or list are the same.
        (Some(value), None) | (None, Some(value)) if is_empty(value) => {}
        (before, after) => {
            into.push(Difference { path: path.to_owned(), before: before.cloned(), after: after.cloned() });
        }
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

fn lists(path: &str, before: &[Value], after: &[Value], into: &mut Vec<Difference>) {
    let pairs = common(before, after);
    let (mut left, mut right) = (0, 0);
    for (i, j) in pairs.into_iter().chain([(before.len(), after.len())]) {
        // Between two equal pairs the rest is paired in order.
        while left < i || right < j {
            let (old, new) = (before.get(left).filter(|_| left < i), after.get(right).filter(|_| right < j));
            let index = if new.is_some() { right } else { left };
            values(&format!("{path}[{index}]"), old, new, into);
            left += usize::from(old.is_some());
            right += usize::from(new.is_some());
        }
        left = i + 1;
        right = j + 1;
    }
}

/// Index pairs of a longest common part of two lists.
fn common(before: &[Value], after: &[Value]) -> Vec<(usize, usize)> {
    let (rows, columns) = (before.len(), after.len());
    if rows > LONGEST_PAIRED || columns > LONGEST_PAIRED {
        return before.iter().zip(after).enumerate().filter(|(_, (a, b))| a == b).map(|(at, _)| (at, at)).collect();
    }
    let width = columns + 1;
    let mut lengths = vec![0_u32; (rows + 1) * width];
    for i in (0..rows).rev() {
        for j in (0..columns).rev() {
            lengths[i * width + j] = if before[i] == after[j] {
                lengths[(i + 1) * width + j + 1] + 1
            } else {
                lengths[(i + 1) * width + j].max(lengths[i * width + j + 1])
            };
        }
    }
    let mut pairs = Vec::new();
    let (mut i, mut j) = (0, 0);
    while i < rows && j < columns {
        if before[i] == after[j] {
            pairs.push((i, j));
            i += 1;
            j += 1;
        } else if lengths[(i + 1) * width + j] >= lengths[i * width + j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn differences(before: Value, after: Value) -> Vec<String> {
        let object = |value: Value| Object(value.as_object().unwrap().clone());
        let show = |value: Option<Value>| value.map_or("-".to_owned(), |value| value.to_string());
        compare(&object(before), &object(after))
            .into_iter()
            .map(|d| format!("{}: {} -> {}", d.path, show(d.before), show(d.after)))
            .collect()
    }

    #[test]
    fn changed_fields_are_named_and_the_servers_own_are_not() {
        let before = json!({"metadata": {"uid": "1", "annotations": {"a.b/c": "x"}}, "spec": {"c": [{"image": "a"}]}, "status": {"x": 1}});
        let after = json!({"metadata": {"uid": "2", "annotations": {"a.b/c": "y"}}, "spec": {"c": [{"image": "b"}], "new": {}}, "status": {"x": 2}});
        assert_eq!(
            differences(before, after),
            ["metadata.annotations.\"a.b/c\": \"x\" -> \"y\"", "spec.c[0].image: \"a\" -> \"b\"",]
        );
    }

    #[test]
    fn an_inserted_item_does_not_make_the_others_differ() {
        assert_eq!(differences(json!({"a": [1, 2, 3]}), json!({"a": [1, 9, 2, 3]})), ["a[1]: - -> 9"]);
        assert_eq!(differences(json!({"a": [1, 2, 3]}), json!({"a": [2, 3]})), ["a[0]: 1 -> -"]);
        assert_eq!(differences(json!({"a": [1]}), json!({"a": [2]})), ["a[0]: 1 -> 2"]);
    }
}
