//! Predicts an apply that takes more than one request: it first adopts the fields of earlier
//! managers, or removes the members of a union (`unions.rs`) that the manifest excludes, or the twin
//! (`twins.rs`) of a field that goes.
//!
//! The server cannot dry-run two requests one after the other. So what they leave is computed here,
//! by the rules of server-side apply, and sent to the server as a dry run of a merge patch: the
//! server validates it and adds its defaults.

use serde_json::{Map, Value, json};

use crate::cluster::fields::adopt::{all_managed_fields, remove_abandoned_fields};
use crate::cluster::fields::lists::{known_keys, merge_items};
use crate::cluster::fields::policy::FieldPolicy;
use crate::cluster::fields::twins;
use crate::cluster::fields::unions::{has_excluded, remove_excluded};
use crate::manifest::Object;
use crate::manifest::managed_fields::{FieldManager, field_managers};

/// Returns true if members of the live object go that an apply alone would leave there.
pub fn is_more_than_an_apply(wanted: &Object, live: &Object, policy: &FieldPolicy) -> bool {
    has_excluded(live, wanted) || twins::has_left(live, wanted, policy)
}

/// Returns the merge patch (RFC 7386) that makes an apply of `wanted` whole where one apply does not
/// do: our manager adopts the fields of earlier managers (`adopted` is the new `managedFields`), or
/// members of a union or a twin are removed. `None` if the apply alone does.
pub fn preparation(
    wanted: &Object,
    live: &Object,
    adopted: Option<Value>,
    policy: &FieldPolicy,
) -> Option<Value> {
    if adopted.is_none() && !is_more_than_an_apply(wanted, live, policy) {
        return None;
    }
    let mut after = live.clone();
    remove_abandoned_fields(&mut after, wanted, &policy.manager, &policy.managers());
    let mut after = Value::Object(after.0);
    let fields = all_managed_fields(live);
    // Nobody owns anything of an object that was released.
    let fields = Some(&fields).filter(|fields| !is_owned_as_a_whole(Some(fields)));
    let overlay = Overlay { knows_lists: true };
    overlay.merge(&mut after, &Value::Object(wanted.0.clone()), "", fields);
    remove_excluded(&mut after, wanted);
    twins::remove_left(&mut after, live, wanted, policy);
    if let (Some(adopted), Some(Value::Object(metadata))) = (adopted, after.get_mut("metadata")) {
        metadata.insert("managedFields".into(), adopted);
    }
    merge_patch(&Value::Object(live.0.clone()), &after).or(Some(json!({})))
}

/// Merges a desired object into the live one, and replaces lists: an approximation of server-side
/// apply for objects that the server cannot check.
pub fn merged(live: &Object, wanted: &Object) -> Object {
    let mut merged = Value::Object(live.0.clone());
    let overlay = Overlay { knows_lists: false };
    overlay.merge(&mut merged, &Value::Object(wanted.0.clone()), "", None);
    match merged {
        Value::Object(map) => Object(map),
        _ => live.clone(),
    }
}

/// Returns an object that was made anew, with the values that the server generates (addresses,
/// ports, labels of controllers) as in the live one: those that neither the manifest nor our last
/// apply has set.
pub fn keep_generated(
    made: &Object,
    live: &Object,
    wanted: &Object,
    policy: &FieldPolicy,
) -> Object {
    fn keep(made: &mut Value, live: &Value, wanted: Option<&Value>, ours: &[&Value]) {
        if ours.iter().any(|ours| is_owned_as_a_whole(Some(ours))) {
            return;
        }
        match (made, live) {
            (Value::Object(made), Value::Object(live)) => {
                for (member, live) in live {
                    let wanted = wanted.and_then(|wanted| wanted.get(member));
                    let ours = ours
                        .iter()
                        .filter_map(|ours| ours.get(format!("f:{member}")));
                    let ours: Vec<&Value> = ours.collect();
                    match made.get_mut(member) {
                        Some(made) => keep(made, live, wanted, &ours),
                        None if wanted.is_none() && ours.is_empty() => {
                            made.insert(member.clone(), live.clone());
                        }
                        None => {}
                    }
                }
            }
            (Value::Array(made), Value::Array(live)) => {
                for (at, (made, live)) in made.iter_mut().zip(live).enumerate() {
                    keep(made, live, wanted.and_then(|wanted| wanted.get(at)), &[]);
                }
            }
            (made, live) if wanted.is_none() && ours.is_empty() => *made = live.clone(),
            _ => {}
        }
    }
    let managers = field_managers(live);
    let ours = managers
        .iter()
        .filter(|owner| policy.is_ours(owner.manager));
    let ours: Vec<&Value> = ours.filter_map(FieldManager::fields_v1).collect();
    let [mut kept, live, wanted] =
        [made, live, wanted].map(|object| Value::Object(object.0.clone()));
    keep(&mut kept, &live, Some(&wanted), &ours);
    match kept {
        Value::Object(map) => Object(map),
        _ => made.clone(),
    }
}

/// Merges a desired value into a live one.
#[derive(Clone, Copy)]
struct Overlay {
    /// Whether lists that nobody owns are merged, as far as their names are known. Otherwise they are
    /// replaced.
    knows_lists: bool,
}

impl Overlay {
    /// Merges the value of the member `name`. `fields` is the `fieldsV1` tree of all managers, which
    /// shows how list items are keyed.
    fn merge(self, live: &mut Value, wanted: &Value, name: &str, fields: Option<&Value>) {
        match (&mut *live, wanted) {
            (Value::Object(live), Value::Object(wanted)) if !is_owned_as_a_whole(fields) => {
                for (member, wanted) in wanted {
                    let fields = fields.and_then(|fields| fields.get(format!("f:{member}")));
                    match live.get_mut(member) {
                        Some(live) => self.merge(live, wanted, member, fields),
                        None => drop(live.insert(member.clone(), wanted.clone())),
                    }
                }
            }
            (Value::Array(live), Value::Array(wanted)) => {
                let keys = match fields {
                    Some(fields) => item_keys(fields),
                    None => known_keys(name).filter(|_| self.knows_lists),
                };
                let Some(keys) = keys else {
                    live.clone_from(wanted);
                    return;
                };
                merge_items(live, wanted, &keys, |live, item| {
                    let fields = fields.and_then(|fields| item_fields(fields, item, &keys));
                    self.merge(live, item, "", fields);
                });
            }
            _ => *live = wanted.clone(),
        }
    }
}

/// Returns true for a map whose members have no owners of their own, such as a selector.
fn is_owned_as_a_whole(fields: Option<&Value>) -> bool {
    fields.and_then(Value::as_object).is_some_and(Map::is_empty)
}

/// Returns the members that key the items of a list; none of them for a set of values. `None` if
/// the list is owned as a whole.
fn item_keys(fields: &Value) -> Option<Vec<String>> {
    let mut keys = fields.as_object()?.keys();
    keys.find_map(|key| match key.split_once(':')? {
        ("k", keys) => {
            let keys: Map<String, Value> = serde_json::from_str(keys).ok()?;
            Some(keys.into_iter().map(|(key, _)| key).collect())
        }
        ("v", _) => Some(Vec::new()),
        _ => None,
    })
}

fn item_fields<'f>(fields: &'f Value, item: &Value, keys: &[String]) -> Option<&'f Value> {
    let is_of = |key: &str| {
        let Some(text) = key.strip_prefix("k:") else {
            return false;
        };
        let known: Map<String, Value> = serde_json::from_str(text).unwrap_or_default();
        keys.iter().all(|key| known.get(key) == item.get(key))
    };
    let mut fields = fields.as_object()?.iter();
    fields.find(|(key, _)| is_of(key)).map(|(_, fields)| fields)
}

/// Returns the merge patch from one value to another; `None` if they are equal. Lists are replaced.
fn merge_patch(from: &Value, to: &Value) -> Option<Value> {
    match (from, to) {
        _ if from == to => None,
        (Value::Object(from), Value::Object(to)) => {
            let removed = from.keys().filter(|key| !to.contains_key(*key));
            let removed = removed.map(|key| (key.clone(), Value::Null));
            let changed = to.iter().filter_map(|(key, to)| {
                let patch = match from.get(key) {
                    Some(from) => merge_patch(from, to)?,
                    None => to.clone(),
                };
                Some((key.clone(), patch))
            });
            Some(Value::Object(removed.chain(changed).collect()))
        }
        _ => Some(to.clone()),
    }
}

/// Returns true if an object has nothing but its identity, so that an apply makes nobody the owner
/// of anything.
pub fn is_bare(object: &Object) -> bool {
    let is_identity = |member: &str| ["apiVersion", "kind", "metadata"].contains(&member);
    let metadata = object.0.get("metadata").and_then(Value::as_object);
    object.0.keys().all(|member| is_identity(member))
        && metadata.is_none_or(|metadata| {
            metadata
                .keys()
                .all(|member| ["name", "namespace"].contains(&member.as_str()))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Object {
        Object(value.as_object().unwrap().clone())
    }

    fn patch(wanted: Value, live: Value) -> Value {
        let policy = FieldPolicy {
            adopt_from: vec!["kubectl".into()],
            ..FieldPolicy::default()
        };
        let mut patch =
            preparation(&object(wanted), &object(live), Some(json!([])), &policy).unwrap();
        patch.as_object_mut().unwrap().shift_remove("metadata");
        patch
    }

    fn live(manager: &str) -> Value {
        json!({
            "metadata": {"name": "a", "managedFields": [{"manager": manager, "operation": "Update",
                "fieldsV1": {"f:spec": {"f:type": {}, "f:ports": {
                    "k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}, "f:name": {}}},
                    "f:args": {}, "f:selector": {}}}}]},
            "spec": {"type": "A", "args": ["x"], "defaulted": true, "selector": {"a": "b", "old": "x"},
                "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]},
        })
    }

    #[test]
    fn what_the_earlier_manager_alone_had_goes_and_items_are_found_by_their_keys() {
        let wanted = json!({"metadata": {"name": "a"}, "spec": {"args": ["y", "z"],
            "selector": {"a": "b"}, "ports": [{"name": "http", "port": 81, "protocol": "TCP"}]}});
        assert_eq!(
            patch(wanted.clone(), live("kubectl")),
            json!({"spec": {"type": null, "args": ["y", "z"], "selector": {"old": null},
                "ports": [{"name": "http", "port": 81, "protocol": "TCP"}]}})
        );
        assert_eq!(
            patch(wanted, live("another")),
            json!({"spec": {"args": ["y", "z"], "selector": {"old": null}, "ports": [
                {"name": "http", "port": 80, "protocol": "TCP"},
                {"name": "http", "port": 81, "protocol": "TCP"}]}})
        );
        let same = json!({"spec": {"type": "A", "args": ["x"], "selector": {"a": "b", "old": "x"},
            "ports": [{"name": "web", "port": 80, "protocol": "TCP"}]}});
        assert_eq!(
            patch(same, live("kubectl")),
            json!({"spec": {"ports": [{"name": "web", "port": 80, "protocol": "TCP"}]}})
        );
    }

    #[test]
    fn an_object_of_a_name_alone_is_bare() {
        for (value, bare) in [
            (
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}),
                true,
            ),
            (
                json!({"kind": "Secret", "metadata": {"name": "a", "namespace": "b"}}),
                true,
            ),
            (
                json!({"kind": "Secret", "metadata": {"name": "a", "labels": {}}}),
                false,
            ),
            (
                json!({"kind": "ConfigMap", "metadata": {"name": "a"}, "data": {}}),
                false,
            ),
        ] {
            assert_eq!(is_bare(&object(value.clone())), bare, "{value}");
        }
    }
}
