//! Field managers of a live object: reads its `managedFields`, and merges them when one manager
//! adopts another's fields.

use serde_json::{Map, Value};

use crate::manifest::Object;
use crate::manifest::managed_fields::{
    Child, FieldManager, field_manager, field_managers, resolve_key,
};

/// Returns the `managedFields` after `manager` adopts the fields of `from`, and those that it has
/// set itself without an apply: they are merged into the entry of its applies. None if there is
/// nothing to adopt.
pub fn adopted_managed_fields(live: &Object, manager: &str, from: &[String]) -> Option<Value> {
    let entries = live.metadata("managedFields")?.as_array()?;
    let is_old = |entry: &&Value| {
        let owner = field_manager(entry);
        let is_own_update = owner.manager == manager && owner.operation != "Apply";
        let is_earlier = owner.manager != manager && from.iter().any(|name| name == owner.manager);
        owner.subresource.is_empty() && (is_own_update || is_earlier)
    };
    let (old, kept): (Vec<&Value>, Vec<&Value>) = entries.iter().partition(is_old);
    let first = *old.first()?;
    let is_ours = |entry: &&Value| {
        let owner = field_manager(entry);
        owner.subresource.is_empty() && owner.manager == manager && owner.operation == "Apply"
    };
    let mut ours = kept
        .iter()
        .find(|entry| is_ours(entry))
        .map_or(first, |entry| entry)
        .as_object()?
        .clone();
    ours.insert("manager".into(), manager.into());
    ours.insert("operation".into(), "Apply".into());
    let fields = ours.entry("fieldsV1").or_insert(Value::Null);
    for entry in old {
        merge_fields(fields, field_manager(entry).fields);
    }
    let kept = kept.into_iter().filter(|entry| !is_ours(entry)).cloned();
    Some(Value::Array(kept.chain([Value::Object(ours)]).collect()))
}

/// Returns the merged `fieldsV1` of all managers, without subresources.
pub fn all_managed_fields(live: &Object) -> Value {
    let mut joined = Value::Object(Map::new());
    field_managers(live)
        .iter()
        .filter_map(FieldManager::fields_v1)
        .for_each(|tree| merge_fields(&mut joined, tree));
    joined
}

fn merge_fields(into: &mut Value, other: &Value) {
    let (Some(into), Some(other)) = (into.as_object_mut(), other.as_object()) else {
        return;
    };
    for (key, inner) in other {
        match into.get_mut(key) {
            Some(there) => merge_fields(there, inner),
            None => drop(into.insert(key.clone(), inner.clone())),
        }
    }
}

/// Removes from `after`, the response to a dry run, the fields that the real apply by `manager`
/// will remove once it has adopted those of `from`: fields that only managers in `from` own and
/// that the manifest no longer sets.
pub fn remove_abandoned_fields(
    after: &mut Object,
    wanted: &Object,
    manager: &str,
    from: &[String],
) {
    let managers = field_managers(after);
    let others: Vec<Value> = managers
        .iter()
        .filter(|owner| owner.manager != manager && !from.iter().any(|name| name == owner.manager))
        .map(|owner| owner.fields.clone())
        .collect();
    let adopted: Vec<Value> = managers
        .iter()
        .filter(|owner| {
            owner.subresource.is_empty() && from.iter().any(|name| name == owner.manager)
        })
        .map(|owner| owner.fields.clone())
        .collect();
    let wanted = Value::Object(wanted.0.clone());
    let mut document = Value::Object(std::mem::take(&mut after.0));
    for fields in adopted {
        remove_abandoned(
            &fields,
            Some(&wanted),
            &others.iter().collect::<Vec<_>>(),
            &mut document,
        );
    }
    if let Value::Object(map) = document {
        after.0 = map;
    }
}

fn remove_abandoned(fields: &Value, wanted: Option<&Value>, others: &[&Value], after: &mut Value) {
    let Some(fields) = fields.as_object() else {
        return;
    };
    // Last item first, so that indexes stay valid.
    let mut places: Vec<(Child, &String, &Value)> = fields
        .iter()
        .filter_map(|(key, inner)| Some((resolve_key(key, after)?, key, inner)))
        .collect();
    places.sort_by_key(|(place, ..)| match place {
        Child::Item(at) => usize::MAX - at,
        Child::Member(_) => 0,
    });
    for (child_key, key, inner) in places {
        let wanted = wanted.and_then(|wanted| resolve_key(key, wanted)?.get_in(wanted));
        let others: Vec<&Value> = others.iter().filter_map(|fields| fields.get(key)).collect();
        match (wanted, others.is_empty()) {
            (None, true) => match (&child_key, &mut *after) {
                (Child::Member(member), Value::Object(map)) => drop(map.shift_remove(member)),
                (Child::Item(at), Value::Array(items)) if *at < items.len() => {
                    drop(items.remove(*at))
                }
                _ => {}
            },
            _ => {
                let child = match &child_key {
                    Child::Member(member) => after.get_mut(member),
                    Child::Item(at) => after.get_mut(*at),
                };
                if let Some(child) = child {
                    remove_abandoned(inner, wanted, &others, child);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Object {
        Object(value.as_object().unwrap().clone())
    }

    fn entry(manager: &str, operation: &str, fields: Value) -> Value {
        json!({"manager": manager, "operation": operation, "time": "2026-01-01T00:00:00Z", "fieldsV1": fields})
    }

    fn live(entries: Value) -> Object {
        object(json!({
            "metadata": {"managedFields": entries},
            "data": {"a": "1", "b.c": "2"},
            "spec": {"list": [{"name": "x", "v": 1}, {"name": "y", "v": 2}]},
        }))
    }

    #[test]
    fn managers_are_found_by_the_pointer_of_a_field() {
        let fields = json!({"f:data": {".": {}, "f:b.c": {}}, "f:spec": {"f:list": {"k:{\"name\":\"y\"}": {".": {}, "f:v": {}}}}});
        let live = live(json!([entry("m", "Update", fields)]));
        let owners = field_managers(&live);
        for (pointer, owned) in [
            ("/data/b.c", true),
            ("/data/a", false),
            ("/spec/list/1/v", true),
            ("/spec/list/0/v", false),
            ("/spec", true),
        ] {
            assert_eq!(owners[0].owns(&live, pointer), owned, "{pointer}");
        }
    }

    #[test]
    fn fields_of_previous_managers_are_merged_into_ours() {
        let live = live(json!([
            entry("kube-apply", "Apply", json!({"f:data": {"f:a": {}}})),
            entry("hpa", "Update", json!({"f:spec": {"f:replicas": {}}})),
            entry("nuon-runner", "Apply", json!({"f:data": {"f:b.c": {}}})),
        ]));
        let taken = adopted_managed_fields(&live, "nuon-runner", &["kube-apply".into()]).unwrap();
        let managers: Vec<_> = taken
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["manager"].clone())
            .collect();
        assert_eq!(managers, ["hpa", "nuon-runner"]);
        assert_eq!(
            taken[1]["fieldsV1"],
            json!({"f:data": {"f:b.c": {}, "f:a": {}}})
        );
        assert_eq!(
            adopted_managed_fields(&live, "nuon-runner", &["helm".into()]),
            None
        );
    }

    #[test]
    fn fields_abandoned_by_a_previous_manager_are_removed() {
        let fields = json!({"f:data": {"f:a": {}, "f:b.c": {}}, "f:spec": {"f:list": {"k:{\"name\":\"x\"}": {".": {}, "f:v": {}}, "k:{\"name\":\"y\"}": {".": {}, "f:v": {}}}}});
        let others = entry("other", "Update", json!({"f:data": {"f:b.c": {}}}));
        let mut after = live(json!([entry("kube-apply", "Apply", fields), others]));
        let wanted = object(json!({"data": {}, "spec": {"list": [{"name": "y", "v": 2}]}}));
        remove_abandoned_fields(&mut after, &wanted, "nuon-runner", &["kube-apply".into()]);
        assert_eq!(after.0["data"], json!({"b.c": "2"}), "another one owns b.c");
        assert_eq!(after.0["spec"]["list"], json!([{"name": "y", "v": 2}]));
    }
}
