//! The managed fields of a live object: which field manager owns which fields.
//!
//! The trees follow the `FieldsV1` format of the Kubernetes API (structured-merge-diff): `f:name`
//! is a member, `k:{…}` the item with these keys, `v:…` the item of this value, `i:…` an index.

use serde_json::{Map, Value};

use super::{Object, pointer};

/// One `managedFields` entry.
#[derive(Debug, Clone)]
pub struct FieldManager<'a> {
    /// Name of the field manager.
    pub manager: &'a str,
    /// `Apply` or `Update`.
    pub operation: &'a str,
    /// When it last wrote, by the server's clock.
    pub time: &'a str,
    /// The subresource that was written; empty for the object itself.
    pub subresource: &'a str,
    /// Tree of its fields (`fieldsV1`).
    pub fields: &'a Value,
}

/// Returns the `managedFields` entries of an object, in the server's order.
pub fn field_managers(live: &Object) -> Vec<FieldManager<'_>> {
    let entries = live.metadata("managedFields").and_then(Value::as_array);
    entries.into_iter().flatten().map(field_manager).collect()
}

/// Reads one entry of `managedFields`.
pub fn field_manager(entry: &Value) -> FieldManager<'_> {
    let text = |member| {
        entry
            .get(member)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    FieldManager {
        manager: text("manager"),
        operation: text("operation"),
        time: text("time"),
        subresource: text("subresource"),
        fields: entry.get("fieldsV1").unwrap_or(&Value::Null),
    }
}

impl<'a> FieldManager<'a> {
    /// Returns its `fieldsV1`; none for a subresource.
    pub fn fields_v1(&self) -> Option<&'a Value> {
        self.subresource.is_empty().then_some(self.fields)
    }

    /// Returns true if it owns the field at a JSON pointer of the live object, or a field below it.
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

/// Follows the steps down `fieldsV1`. Also true if the manager owns a parent as a whole, or if the
/// pointer ends above an owned field.
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
        let Some(place) = resolve_key(key, value) else {
            return false;
        };
        let is_there = match &place {
            Child::Member(member) => member == step,
            Child::Item(at) => step.parse() == Ok(*at),
        };
        is_there && owns(inner, place.get_in(value).unwrap_or(&Value::Null), rest)
    })
}

/// Where a key of a `fieldsV1` tree leads.
pub enum Child {
    /// To a member of a map.
    Member(String),
    /// To an item of a list, by its index.
    Item(usize),
}

impl Child {
    /// Returns the value that is there.
    pub fn get_in<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        match self {
            Self::Member(member) => value.get(member),
            Self::Item(at) => value.get(*at),
        }
    }
}

/// Resolves a `fieldsV1` key: `f:name` is a member, `k:{…}` the item with these keys, `v:…` the
/// item with this value, `i:…` an index.
pub fn resolve_key(key: &str, value: &Value) -> Option<Child> {
    let (kind, rest) = key.split_once(':')?;
    let position =
        |is_it: &dyn Fn(&Value) -> bool| value.as_array()?.iter().position(is_it).map(Child::Item);
    match kind {
        "f" => Some(Child::Member(rest.to_owned())),
        "i" => rest.parse().ok().map(Child::Item),
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

/// Returns true if the manager has applied the object server-side.
pub fn is_applied_by(live: &Object, manager: &str) -> bool {
    field_managers(live)
        .iter()
        .any(|owner| owner.manager == manager && owner.operation == "Apply")
}

/// Returns true if the manager has written the object in any way.
pub fn is_managed_by(live: &Object, manager: &str) -> bool {
    field_managers(live)
        .iter()
        .any(|owner| owner.manager == manager)
}

/// Returns true if a field manager other than `manager` owns an annotation of a live object.
pub fn is_annotated_by_others(live: &Object, annotation: &str, manager: &str) -> bool {
    let pointer = pointer::join(&["metadata", "annotations", annotation]);
    field_managers(live)
        .iter()
        .any(|owner| owner.manager != manager && owner.owns(live, &pointer))
}
