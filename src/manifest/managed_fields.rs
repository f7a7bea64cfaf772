//! The managed fields of a live object: which field manager owns which fields.
//!
//! The trees follow the `FieldsV1` format of the Kubernetes API (structured-merge-diff): `f:name` is a member, `k:{…}` the
//! item with these keys, `v:…` the item of this value, `i:…` an index.

use serde_json::{Map, Value};

use super::{Object, pointer};

/// A field manager of an object.
#[derive(Debug, Clone)]
pub struct Owner<'a> {
    /// Its name.
    pub manager: &'a str,
    /// `Apply` or `Update`.
    pub operation: &'a str,
    /// When it last wrote, as the server says.
    pub time: &'a str,
    /// The subresource that was written; empty for the object itself.
    pub subresource: &'a str,
    /// Tree of its fields (`fieldsV1`).
    pub fields: &'a Value,
}

/// The owners of an object, in the server's order.
pub fn owners(live: &Object) -> Vec<Owner<'_>> {
    let entries = live.metadata("managedFields").and_then(Value::as_array);
    entries.into_iter().flatten().map(owner).collect()
}

/// Reads one entry of `managedFields`.
pub fn owner(entry: &Value) -> Owner<'_> {
    let text = |member| {
        entry
            .get(member)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    Owner {
        manager: text("manager"),
        operation: text("operation"),
        time: text("time"),
        subresource: text("subresource"),
        fields: entry.get("fieldsV1").unwrap_or(&Value::Null),
    }
}

impl<'a> Owner<'a> {
    /// The tree of its fields; none of a subresource.
    pub fn tree(&self) -> Option<&'a Value> {
        self.subresource.is_empty().then_some(self.fields)
    }

    /// Whether it owns the field at a JSON pointer of the live object, or something within it.
    pub fn owns(&self, live: &Object, pointer: &str) -> bool {
        let steps: Vec<String> = pointer.split('/').skip(1).map(pointer::unescape).collect();
        let Some((first, rest)) = steps.split_first() else {
            return false;
        };
        let (fields, value) = (self.fields.get(format!("f:{first}")), live.0.get(first));
        fields
            .zip(value)
            .is_some_and(|(fields, value)| owns(fields, value, rest))
    }
}

/// Follows the steps down the tree of owned fields. True also for what is owned, or asked for, as a whole.
fn owns(fields: &Value, value: &Value, steps: &[String]) -> bool {
    let Some(fields) = fields.as_object() else {
        return false;
    };
    let Some((step, rest)) = steps.split_first() else {
        return true;
    };
    if fields.is_empty() {
        return true;
    }
    fields.iter().any(|(key, inner)| {
        let Some(place) = place(key, value) else {
            return false;
        };
        let is_there = match &place {
            Place::Member(member) => member == step,
            Place::Item(at) => step.parse() == Ok(*at),
        };
        is_there && owns(inner, place.of(value).unwrap_or(&Value::Null), rest)
    })
}

/// Where a key of a `fieldsV1` tree leads.
pub enum Place {
    /// To a member of a map.
    Member(String),
    /// To an item of a list, by its index.
    Item(usize),
}

impl Place {
    /// Returns the value that is there.
    pub fn of<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        match self {
            Self::Member(member) => value.get(member),
            Self::Item(at) => value.get(*at),
        }
    }
}

/// `f:name` is a member, `k:{…}` the item with these keys, `v:…` the item that is this, `i:…` an index.
pub fn place(key: &str, value: &Value) -> Option<Place> {
    let (kind, rest) = key.split_once(':')?;
    let position =
        |is_it: &dyn Fn(&Value) -> bool| value.as_array()?.iter().position(is_it).map(Place::Item);
    match kind {
        "f" => Some(Place::Member(rest.to_owned())),
        "i" => rest.parse().ok().map(Place::Item),
        "k" => {
            let keys: Map<String, Value> = serde_json::from_str(rest).ok()?;
            position(&|item| {
                keys.iter()
                    .all(|(member, value)| item.get(member) == Some(value))
            })
        }
        "v" => {
            let wanted: Value = serde_json::from_str(rest).ok()?;
            position(&|item| *item == wanted)
        }
        _ => None,
    }
}

/// Whether an object was applied by a manager.
pub fn is_applied_by(live: &Object, manager: &str) -> bool {
    owners(live)
        .iter()
        .any(|owner| owner.manager == manager && owner.operation == "Apply")
}

/// Returns true if a field manager other than `manager` owns an annotation of a live object.
pub fn is_annotated_by_others(live: &Object, annotation: &str, manager: &str) -> bool {
    let pointer = pointer::join(&["metadata", "annotations", annotation]);
    owners(live)
        .iter()
        .any(|owner| owner.manager != manager && owner.owns(live, &pointer))
}
