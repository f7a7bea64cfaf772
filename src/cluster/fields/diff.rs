//! What differs between two states of an object, field by field.
//!
//! Left out are what the server keeps for itself (times, versions, ids, managed fields) and the
//! status. Items of lists are paired as the replaced program pairs them (`pairs`); the paths are in
//! one of two forms.

mod pairs;
mod path;

use std::cell::Cell;

use pairs::{Likeness, Pair, pair};
use path::{Path, Step};
use serde_json::{Map, Value};

use crate::manifest::Object;
use crate::plan::changeset::Change;

/// Members of `metadata` that the server keeps for itself.
pub(super) const SERVERS_OWN: [&str; 5] = [
    "creationTimestamp",
    "resourceVersion",
    "generation",
    "uid",
    "managedFields",
];

/// Comparisons of leaves for the pairing of lists. Past it items pair in order: lists within lists
/// within lists would otherwise take for ever.
const MOST_WEIGHED: usize = 1 << 20;

/// How a comparison reads and writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `spec.list[2].name`, keys with dots in quotes; nothing and null are the same.
    Ours,
    /// As the replaced program: `spec.list[[?->2]].name`, keys as they are; keys `status` at any depth
    /// and the namespace are not compared; nothing and an empty map or list differ.
    Shipped,
}

/// One field that differs.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// The field, in the form that was asked for.
    pub path: String,
    /// The field as a JSON pointer; indexes are those before.
    pub pointer: String,
    /// Whether it comes, goes, or becomes another.
    pub change: Change,
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
pub fn compare(before: &Object, after: &Object, form: Form) -> Vec<Difference> {
    let mut found = Vec::new();
    let walk = Walk {
        form,
        weighed: &Cell::new(0),
    };
    let collect = &mut Collect {
        form,
        into: &mut found,
    };
    match form {
        Form::Ours => walk.maps(None, &essence(before), &essence(after), collect),
        Form::Shipped => walk.maps(None, &before.0, &after.0, collect),
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    if form == Form::Shipped {
        found.dedup_by(|later, kept| merge(kept, later));
    }
    found
}

/// Of keys with dots that look like one path the replaced program keeps the last value of each side.
fn merge(kept: &mut Difference, later: &mut Difference) -> bool {
    if kept.path != later.path {
        return false;
    }
    kept.change = later.change;
    kept.before = later.before.take().or(kept.before.take());
    kept.after = later.after.take().or(kept.after.take());
    true
}

/// Hears of each leaf: a value that is no map or list on both sides.
trait Leaves {
    fn same(&mut self);
    fn differ(&mut self, path: &Path<'_>, before: Option<&Value>, after: Option<&Value>);
}

struct Collect<'a> {
    form: Form,
    into: &'a mut Vec<Difference>,
}

impl Leaves for Collect<'_> {
    fn same(&mut self) {}

    fn differ(&mut self, path: &Path<'_>, before: Option<&Value>, after: Option<&Value>) {
        let (path, pointer) = (path.text(self.form), path.pointer());
        let change = match (before, after) {
            (None, _) => Change::Added,
            (_, None) => Change::Removed,
            _ => Change::Modified,
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
struct Count {
    same: usize,
    different: usize,
}

impl Leaves for Count {
    fn same(&mut self) {
        self.same += 1;
    }

    fn differ(&mut self, _: &Path<'_>, _: Option<&Value>, _: Option<&Value>) {
        self.different += 1;
    }
}

#[derive(Clone, Copy)]
struct Walk<'a> {
    form: Form,
    weighed: &'a Cell<usize>,
}

impl Walk<'_> {
    fn maps(
        self,
        parent: Option<&Path<'_>>,
        before: &Map<String, Value>,
        after: &Map<String, Value>,
        leaves: &mut dyn Leaves,
    ) {
        let mut keys: Vec<&String> = before.keys().chain(after.keys()).collect();
        keys.sort();
        keys.dedup();
        for key in keys {
            let path = Path {
                parent,
                step: Step::Key(key),
            };
            if self.form == Form::Shipped && path.is_unseen() {
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
        leaves: &mut dyn Leaves,
    ) {
        match (before, after) {
            (Some(Value::Object(before)), Some(Value::Object(after))) => {
                self.maps(Some(path), before, after, leaves)
            }
            (Some(Value::Array(before)), Some(Value::Array(after))) => {
                self.lists(path, before, after, leaves)
            }
            (before, after) if before == after => leaves.same(),
            (Some(Value::Null), None) | (None, Some(Value::Null)) if self.form == Form::Ours => {
                leaves.same()
            }
            (before, after) => leaves.differ(path, before, after),
        }
    }

    fn lists(self, path: &Path<'_>, before: &[Value], after: &[Value], leaves: &mut dyn Leaves) {
        let likeness = |i: usize, j: usize| match (before.get(i), after.get(j)) {
            (Some(before), Some(after)) => self.likeness(path, before, after),
            _ => Likeness::Other,
        };
        for pair in pair(before.len(), after.len(), likeness) {
            let (i, j) = pair.indexes();
            let path = Path {
                parent: Some(path),
                step: Step::Item(pair),
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
        if self.weighed.get() > MOST_WEIGHED {
            return Likeness::Similar;
        }
        let mut count = Count::default();
        let path = Path {
            parent: Some(path),
            step: Step::Item(Pair::Both(0, 0)),
        };
        self.values(&path, Some(before), Some(after), &mut count);
        self.weighed
            .set(self.weighed.get() + count.same + count.different + 1);
        match count {
            Count { different: 0, .. } => Likeness::Equal,
            Count { same, different } if same + 1 >= different => Likeness::Similar,
            Count { .. } => Likeness::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn differences(before: Value, after: Value, form: Form) -> Vec<String> {
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
        let ours = differences(before.clone(), after.clone(), Form::Ours);
        assert_eq!(
            ours,
            [
                "metadata.annotations.\"a.b/c\": \"x\" -> \"y\"",
                "spec.c[0].image: \"a\" -> \"b\"",
                "spec.new: - -> {}"
            ]
        );
        let shipped = differences(before, after, Form::Shipped);
        assert_eq!(
            shipped,
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
            Form::Ours,
        );
        assert_eq!(ours, ["env[1]: - -> {\"name\":\"x\",\"value\":\"v\"}"]);
        let shipped = differences(env(&["a", "b", "c"]), env(&["b", "c"]), Form::Shipped);
        assert_eq!(
            shipped,
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
            Form::Ours,
        );
        assert!(!differences.is_empty());
    }
}
