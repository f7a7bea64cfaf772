//! Who owns the fields of a live object: its `managedFields`, read, and joined where one owner takes over
//! from another.

use serde_json::{Map, Value};

use crate::manifest::Object;
use crate::manifest::managed_fields::{Owner, Place, owner, owners, place};

/// The managed fields of an object after `manager` took over from others: their fields joined into its own.
/// None if there is nothing to take.
pub fn taken_over(live: &Object, manager: &str, from: &[String]) -> Option<Value> {
    let entries = live.metadata("managedFields")?.as_array()?;
    let is_old = |entry: &&Value| {
        let owner = owner(entry);
        owner.subresource.is_empty()
            && owner.manager != manager
            && from.iter().any(|name| name == owner.manager)
    };
    let (old, kept): (Vec<&Value>, Vec<&Value>) = entries.iter().partition(is_old);
    let first = *old.first()?;
    let is_ours = |entry: &&Value| {
        let owner = owner(entry);
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
        join(fields, owner(entry).fields);
    }
    let kept = kept.into_iter().filter(|entry| !is_ours(entry)).cloned();
    Some(Value::Array(kept.chain([Value::Object(ours)]).collect()))
}

/// The fields that all owners have, joined; of subresources none.
pub fn fields_of(live: &Object) -> Value {
    let mut joined = Value::Object(Map::new());
    owners(live)
        .iter()
        .filter_map(Owner::tree)
        .for_each(|tree| join(&mut joined, tree));
    joined
}

fn join(into: &mut Value, other: &Value) {
    let (Some(into), Some(other)) = (into.as_object_mut(), other.as_object()) else {
        return;
    };
    for (key, inner) in other {
        match into.get_mut(key) {
            Some(there) => join(there, inner),
            None => drop(into.insert(key.clone(), inner.clone())),
        }
    }
}

/// Removes from `after`, the server's answer to a dry run, what an apply by `manager` will remove once it has
/// taken over: fields that only earlier managers own and that are no longer wanted.
pub fn without_left_behind(after: &mut Object, wanted: &Object, manager: &str, from: &[String]) {
    let kept = owners(after);
    let others: Vec<Value> = kept
        .iter()
        .filter(|owner| owner.manager != manager && !from.iter().any(|name| name == owner.manager))
        .map(|owner| owner.fields.clone())
        .collect();
    let old: Vec<Value> = kept
        .iter()
        .filter(|owner| {
            owner.subresource.is_empty() && from.iter().any(|name| name == owner.manager)
        })
        .map(|owner| owner.fields.clone())
        .collect();
    let wanted = Value::Object(wanted.0.clone());
    let mut document = Value::Object(std::mem::take(&mut after.0));
    for fields in old {
        remove_left_behind(
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

fn remove_left_behind(
    fields: &Value,
    wanted: Option<&Value>,
    others: &[&Value],
    after: &mut Value,
) {
    let Some(fields) = fields.as_object() else {
        return;
    };
    // From the last item on, so that indexes stay true.
    let mut places: Vec<(Place, &String, &Value)> = fields
        .iter()
        .filter_map(|(key, inner)| Some((place(key, after)?, key, inner)))
        .collect();
    places.sort_by_key(|(place, ..)| match place {
        Place::Item(at) => usize::MAX - at,
        Place::Member(_) => 0,
    });
    for (there, key, inner) in places {
        let wanted = wanted.and_then(|wanted| place(key, wanted)?.of(wanted));
        let others: Vec<&Value> = others.iter().filter_map(|fields| fields.get(key)).collect();
        match (wanted, others.is_empty()) {
            (None, true) => match (&there, &mut *after) {
                (Place::Member(member), Value::Object(map)) => drop(map.shift_remove(member)),
                (Place::Item(at), Value::Array(items)) if *at < items.len() => {
                    drop(items.remove(*at))
                }
                _ => {}
            },
            _ => {
                let child = match &there {
                    Place::Member(member) => after.get_mut(member),
                    Place::Item(at) => after.get_mut(*at),
                };
                if let Some(child) = child {
                    remove_left_behind(inner, wanted, &others, child);
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
    fn owners_are_found_by_the_pointer_of_a_field() {
        let fields = json!({"f:data": {".": {}, "f:b.c": {}}, "f:spec": {"f:list": {"k:{\"name\":\"y\"}": {".": {}, "f:v": {}}}}});
        let live = live(json!([entry("m", "Update", fields)]));
        let owners = owners(&live);
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
    fn fields_of_earlier_managers_join_ours() {
        let live = live(json!([
            entry("kube-apply", "Apply", json!({"f:data": {"f:a": {}}})),
            entry("hpa", "Update", json!({"f:spec": {"f:replicas": {}}})),
            entry("nuon-runner", "Apply", json!({"f:data": {"f:b.c": {}}})),
        ]));
        let taken = taken_over(&live, "nuon-runner", &["kube-apply".into()]).unwrap();
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
        assert_eq!(taken_over(&live, "nuon-runner", &["helm".into()]), None);
    }

    #[test]
    fn what_an_earlier_manager_leaves_behind_is_foreseen() {
        let fields = json!({"f:data": {"f:a": {}, "f:b.c": {}}, "f:spec": {"f:list": {"k:{\"name\":\"x\"}": {".": {}, "f:v": {}}, "k:{\"name\":\"y\"}": {".": {}, "f:v": {}}}}});
        let others = entry("other", "Update", json!({"f:data": {"f:b.c": {}}}));
        let mut after = live(json!([entry("kube-apply", "Apply", fields), others]));
        let wanted = object(json!({"data": {}, "spec": {"list": [{"name": "y", "v": 2}]}}));
        without_left_behind(&mut after, &wanted, "nuon-runner", &["kube-apply".into()]);
        assert_eq!(after.0["data"], json!({"b.c": "2"}), "another one owns b.c");
        assert_eq!(after.0["spec"]["list"], json!([{"name": "y", "v": 2}]));
    }
}
