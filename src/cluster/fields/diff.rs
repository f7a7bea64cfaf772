//! Compares two states of an object, field by field.
//!
//! The status and the fields that the server manages (times, versions, IDs, managed fields) are
//! left out. List items are paired by the rule of the Go runner (`pairs`). Paths are printed in one
//! of two formats.

mod pairs;
mod path;

use std::cell::Cell;

use pairs::{Likeness, Pair, pair};
use path::{DiffStep, Path};
use serde_json::{Map, Value};

use crate::manifest::Object;
use crate::plan::changeset::ChangeKind;

/// Fields of `metadata` that the server manages.
pub(super) const SERVER_FIELDS: [&str; 5] = [
    "creationTimestamp",
    "resourceVersion",
    "generation",
    "uid",
    "managedFields",
];

/// Maximum leaf comparisons for pairing list items. Beyond it, items pair in order; otherwise
/// deeply nested lists would take too long.
const MAX_LEAF_COMPARISONS: usize = 1 << 20;

/// What a comparison includes, and how it prints paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiffFormat {
    /// `spec.list[2].name`, with keys that contain dots in quotes. Absent and null are equal.
    Native,
    /// Format of the Go runner: `spec.list[[?->2]].name`, with keys unquoted. Keys named `status`
    /// at any depth and the namespace are not compared. Absent, null and empty differ.
    Legacy,
}

/// One field that differs.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Path of the field, in the requested format.
    pub path: String,
    /// JSON pointer to the field. Indexes are those before the change, except for added items.
    pub pointer: String,
    /// Added, removed or modified.
    pub change: ChangeKind,
    /// Value before; none if the field was absent.
    pub before: Option<Value>,
    /// Value after; none if the field is absent.
    pub after: Option<Value>,
}

/// Returns the object without its status and the fields that the server manages.
pub fn without_server_fields(object: &Object) -> Map<String, Value> {
    let mut fields = object.0.clone();
    fields.shift_remove("status");
    if let Some(Value::Object(metadata)) = fields.get_mut("metadata") {
        for member in SERVER_FIELDS {
            metadata.shift_remove(member);
        }
    }
    fields
}

/// Returns the fields in which two states differ, sorted by path.
///
/// ```
/// use nuon_runner::cluster::fields::diff::{DiffFormat, compare};
/// use nuon_runner::manifest;
///
/// let object = |replicas| {
///     let text = format!("apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\n\
///                         spec: {{replicas: {replicas}}}\n");
///     manifest::read(text.as_bytes()).map(|manifest| manifest.objects[0].clone())
/// };
/// let differences = compare(&object(1)?, &object(3)?, DiffFormat::Native);
/// assert_eq!(differences.len(), 1);
/// assert_eq!(differences[0].path, "spec.replicas");
/// assert_eq!(differences[0].pointer, "/spec/replicas");
/// assert_eq!(differences[0].after, Some(3.into()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn compare(before: &Object, after: &Object, form: DiffFormat) -> Vec<Difference> {
    let mut found = Vec::new();
    let walk = Walk {
        form,
        leaf_comparisons: &Cell::new(0),
    };
    let collect = &mut Collector {
        form,
        into: &mut found,
    };
    match form {
        DiffFormat::Native => walk.maps(
            None,
            &without_server_fields(before),
            &without_server_fields(after),
            collect,
        ),
        DiffFormat::Legacy => walk.maps(None, &before.0, &after.0, collect),
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    if form == DiffFormat::Legacy {
        found.dedup_by(|later, kept| merge(kept, later));
    }
    found
}

/// Merges differences with equal paths, which keys with dots can produce. The Go runner keeps the
/// last value of each side.
fn merge(kept: &mut Difference, later: &mut Difference) -> bool {
    if kept.path != later.path {
        return false;
    }
    kept.change = later.change;
    kept.before = later.before.take().or(kept.before.take());
    kept.after = later.after.take().or(kept.after.take());
    true
}

/// Visits the leaves: values that are not maps or lists on both sides.
trait LeafVisitor {
    fn same(&mut self);
    fn differ(&mut self, path: &Path<'_>, before: Option<&Value>, after: Option<&Value>);
}

struct Collector<'a> {
    form: DiffFormat,
    into: &'a mut Vec<Difference>,
}

impl LeafVisitor for Collector<'_> {
    fn same(&mut self) {}

    fn differ(&mut self, path: &Path<'_>, before: Option<&Value>, after: Option<&Value>) {
        let (path, pointer) = (path.text(self.form), path.pointer());
        let change = match (before, after) {
            (None, _) => ChangeKind::Added,
            (_, None) => ChangeKind::Removed,
            _ => ChangeKind::Modified,
        };
        self.into.push(Difference {
            path,
            pointer,
            change,
            before: before.cloned(),
            after: after.cloned(),
        });
    }
}

#[derive(Default)]
struct Counter {
    same: usize,
    different: usize,
}

impl LeafVisitor for Counter {
    fn same(&mut self) {
        self.same += 1;
    }

    fn differ(&mut self, _: &Path<'_>, _: Option<&Value>, _: Option<&Value>) {
        self.different += 1;
    }
}

#[derive(Clone, Copy)]
struct Walk<'a> {
    form: DiffFormat,
    leaf_comparisons: &'a Cell<usize>,
}

impl Walk<'_> {
    fn maps(
        self,
        parent: Option<&Path<'_>>,
        before: &Map<String, Value>,
        after: &Map<String, Value>,
        leaves: &mut dyn LeafVisitor,
    ) {
        let mut keys: Vec<&String> = before.keys().chain(after.keys()).collect();
        keys.sort();
        keys.dedup();
        for key in keys {
            let path = Path {
                parent,
                step: DiffStep::Key(key),
            };
            if self.form == DiffFormat::Legacy && path.is_excluded_in_legacy() {
                continue;
            }
            self.values(&path, before.get(key), after.get(key), leaves);
        }
    }

    fn values(
        self,
        path: &Path<'_>,
        before: Option<&Value>,
        after: Option<&Value>,
        leaves: &mut dyn LeafVisitor,
    ) {
        match (before, after) {
            (Some(Value::Object(before)), Some(Value::Object(after))) => {
                self.maps(Some(path), before, after, leaves)
            }
            (Some(Value::Array(before)), Some(Value::Array(after))) => {
                self.lists(path, before, after, leaves)
            }
            (before, after) if before == after => leaves.same(),
            (Some(Value::Null), None) | (None, Some(Value::Null))
                if self.form == DiffFormat::Native =>
            {
                leaves.same()
            }
            (before, after) => leaves.differ(path, before, after),
        }
    }

    fn lists(
        self,
        path: &Path<'_>,
        before: &[Value],
        after: &[Value],
        leaves: &mut dyn LeafVisitor,
    ) {
        let likeness = |i: usize, j: usize| match (before.get(i), after.get(j)) {
            (Some(before), Some(after)) => self.likeness(path, before, after),
            _ => Likeness::Different,
        };
        for pair in pair(before.len(), after.len(), likeness) {
            let (i, j) = pair.indexes();
            let path = Path {
                parent: Some(path),
                step: DiffStep::Item(pair),
            };
            self.values(
                &path,
                i.and_then(|i| before.get(i)),
                j.and_then(|j| after.get(j)),
                leaves,
            );
        }
    }

    fn likeness(self, path: &Path<'_>, before: &Value, after: &Value) -> Likeness {
        if before == after {
            return Likeness::Equal;
        }
        if self.leaf_comparisons.get() > MAX_LEAF_COMPARISONS {
            return Likeness::Similar;
        }
        let mut count = Counter::default();
        let path = Path {
            parent: Some(path),
            step: DiffStep::Item(Pair::Both(0, 0)),
        };
        self.values(&path, Some(before), Some(after), &mut count);
        self.leaf_comparisons
            .set(self.leaf_comparisons.get() + count.same + count.different + 1);
        match count {
            Counter { different: 0, .. } => Likeness::Equal,
            Counter { same, different } if same + 1 >= different => Likeness::Similar,
            Counter { .. } => Likeness::Different,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn differences(before: Value, after: Value, form: DiffFormat) -> Vec<String> {
        let object = |value: Value| Object(value.as_object().unwrap().clone());
        let show = |value: Option<Value>| value.map_or("-".to_owned(), |value| value.to_string());
        compare(&object(before), &object(after), form)
            .into_iter()
            .map(|d| format!("{}: {} -> {}", d.path, show(d.before), show(d.after)))
            .collect()
    }

    #[test]
    fn changed_fields_are_named_and_the_servers_own_are_not() {
        let before = json!({"metadata": {"uid": "1", "annotations": {"a.b/c": "x"}}, "spec": {"c": [{"image": "a"}]}, "status": {"x": 1}});
        let after = json!({"metadata": {"uid": "2", "annotations": {"a.b/c": "y"}}, "spec": {"c": [{"image": "b"}], "new": {}}, "status": {"x": 2}});
        let ours = differences(before.clone(), after.clone(), DiffFormat::Native);
        assert_eq!(
            ours,
            [
                "metadata.annotations.\"a.b/c\": \"x\" -> \"y\"",
                "spec.c[0].image: \"a\" -> \"b\"",
                "spec.new: - -> {}"
            ]
        );
        let legacy = differences(before, after, DiffFormat::Legacy);
        assert_eq!(
            legacy,
            [
                "metadata.annotations.a.b/c: \"x\" -> \"y\"",
                "spec.c[[0]].image: \"a\" -> \"b\"",
                "spec.new: - -> {}"
            ]
        );
    }

    #[test]
    fn items_are_paired_by_what_they_have_in_common() {
        let env = |names: &[&str]| {
            let items: Vec<Value> = names
                .iter()
                .map(|name| json!({"name": name, "value": "v"}))
                .collect();
            json!({"env": items})
        };
        let ours = differences(
            env(&["a", "b", "c"]),
            env(&["a", "x", "b", "c"]),
            DiffFormat::Native,
        );
        assert_eq!(ours, ["env[1]: - -> {\"name\":\"x\",\"value\":\"v\"}"]);
        let legacy = differences(env(&["a", "b", "c"]), env(&["b", "c"]), DiffFormat::Legacy);
        assert_eq!(
            legacy,
            ["env[[0->?]]: {\"name\":\"a\",\"value\":\"v\"} -> -"]
        );
    }

    #[test]
    fn lists_within_lists_end() {
        fn nested(depth: usize, leaf: usize) -> Value {
            if depth == 0 {
                json!(leaf)
            } else {
                json!([nested(depth - 1, leaf), nested(depth - 1, leaf + depth)])
            }
        }
        let differences = differences(
            json!({"l": nested(12, 1)}),
            json!({"l": nested(12, 2)}),
            DiffFormat::Native,
        );
        assert!(!differences.is_empty());
    }
}
