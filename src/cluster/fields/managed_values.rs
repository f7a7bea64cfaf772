//! Managed values: the live values of the fields that an apply sets or removes, and short hashes of
//! them.
//!
//! A plan records these values, and the apply compares them with the current ones; changes to other
//! fields do not matter. The inventory keeps their hashes, so that an object that nobody has
//! changed is recognized without a dry run.

use std::collections::BTreeSet;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::cluster::fields::adopt::all_managed_fields;
use crate::cluster::fields::diff::{DiffFormat, compare};
use crate::cluster::fields::ignore::without_ignored;
use crate::cluster::fields::mask::LAST_APPLIED;
use crate::cluster::fields::policy::FieldPolicy;
use crate::manifest::Object;
use crate::manifest::managed_fields::{FieldManager, field_managers, resolve_key};

/// Length of a hash, in bytes.
const HASH_BYTES: usize = 10;

/// Returns the fields of a live object that an apply sets or removes, with their values: the fields
/// in the manifest, and those owned by us or by a manager whose fields we adopt, because the apply
/// removes them if the manifest does not set them. Ignored fields are left out. Items of keyed
/// lists are stored under their keys; other lists are taken whole from the live object. Secret
/// values are replaced by keyed hashes (HMAC).
pub fn managed_values(wanted: &Object, live: &Object, policy: &FieldPolicy) -> Object {
    let managers = field_managers(live);
    let of = |is_meant: &dyn Fn(&FieldManager<'_>) -> bool| {
        managers
            .iter()
            .filter(|owner| is_meant(owner))
            .filter_map(FieldManager::fields_v1)
            .collect::<Vec<&Value>>()
    };
    let (all, ours) = (of(&|_| true), of(&|owner| is_taken(owner, policy)));
    select(wanted, live, policy, &all, &ours)
}

/// Returns the values of the fields in the manifest alone, as [`managed_values`] returns them after
/// the apply, when we own nothing else.
pub fn applied_values(wanted: &Object, after: &Object, policy: &FieldPolicy) -> Object {
    let managers = field_managers(after);
    let all: Vec<&Value> = managers
        .iter()
        .filter_map(FieldManager::fields_v1)
        .collect();
    select(wanted, after, policy, &all, &[])
}

fn select(
    wanted: &Object,
    live: &Object,
    policy: &FieldPolicy,
    all: &[&Value],
    ours: &[&Value],
) -> Object {
    let seen = without_ignored(wanted, live, policy);
    let mut fields = select_map_values(Some(&wanted.0), &seen.0, all, ours);
    for member in ["apiVersion", "kind", "status"] {
        fields.shift_remove(member);
    }
    hash_secret_values(&mut fields, wanted.is_secret(), policy);
    Object(fields)
}

/// Replaces Secret values by keyed hashes.
fn hash_secret_values(fields: &mut Map<String, Value>, is_secret: bool, policy: &FieldPolicy) {
    let key = policy.key.as_deref();
    let hide = |value: &mut Value| {
        *value = keyed_hash(value, key)
            .unwrap_or_else(|| "***".into())
            .into()
    };
    if is_secret && let Some(Value::Object(data)) = fields.get_mut("data") {
        data.values_mut().for_each(hide);
    }
    let annotations = fields
        .get_mut("metadata")
        .and_then(|metadata| metadata.get_mut("annotations"));
    if let Some(applied) = annotations.and_then(|annotations| annotations.get_mut(LAST_APPLIED)) {
        hide(applied);
    }
}

/// Returns the fields that were managed `before` and are not `now`, because another manager owns
/// them with another value. Fields that only the server has defaulted have no owner and do not
/// count.
pub fn retaken(
    before: &Object,
    now: &Object,
    live: &Object,
    policy: &FieldPolicy,
) -> Vec<ChangedField> {
    if before == now {
        return Vec::new();
    }
    let mut seen = live.0.clone();
    hash_secret_values(&mut seen, live.is_secret(), policy);
    let [before, now, seen] = [before.0.clone(), now.0.clone(), seen].map(Value::Object);
    let mut found = Vec::new();
    collect_changed_by_others(
        &before,
        Some(&now),
        &seen,
        &all_managed_fields(live),
        "",
        &mut found,
    );
    found
}

fn collect_changed_by_others(
    before: &Value,
    now: Option<&Value>,
    live: &Value,
    all: &Value,
    path: &str,
    found: &mut Vec<ChangedField>,
) {
    match (before, now) {
        (Value::Object(before), None | Some(Value::Object(_))) => {
            for (key, before) in before {
                let Some((live, all)) = descend(key, live, all) else {
                    continue;
                };
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                collect_changed_by_others(
                    before,
                    now.and_then(|now| now.get(key)),
                    &live,
                    all,
                    &path,
                    found,
                );
            }
        }
        (before, None) if before != live => {
            found.push(ChangedField {
                path: path.to_owned(),
                planned: Some(before.clone()),
                now: Some(live.clone()),
            });
        }
        _ => {}
    }
}

/// Descends one step into a live value and its `fieldsV1`, by a key or an item's label; none if no
/// manager owns it.
fn descend<'a>(key: &str, live: &Value, all: &'a Value) -> Option<(Value, &'a Value)> {
    if let Some(inner) = all.get(format!("f:{key}")) {
        return Some((live.get(key)?.clone(), inner));
    }
    let (item, inner) = all
        .as_object()?
        .iter()
        .find(|(item, _)| is_list_item(item) && item_label(item) == key)?;
    Some((resolve_key(item, live)?.get_in(live)?.clone(), inner))
}

fn is_taken(owner: &FieldManager<'_>, policy: &FieldPolicy) -> bool {
    if owner.manager == policy.manager {
        owner.operation == "Apply"
    } else {
        policy.is_ours(owner.manager)
    }
}

/// Selects the parts of a live value that the manifest sets or that `ours` own. `all` are the
/// fields of all managers, which define how list items are keyed. Both are lists of `fieldsV1`
/// trees, one per manager.
fn select_values(wanted: Option<&Value>, live: &Value, all: &[&Value], ours: &[&Value]) -> Value {
    let is_whole = |tree: &&Value| tree.as_object().is_some_and(Map::is_empty);
    let is_owned_whole = !ours.is_empty() && ours.iter().all(is_whole);
    match (wanted, live) {
        (None, _) if is_owned_whole => live.clone(),
        (None | Some(Value::Object(_)), Value::Object(map)) => Value::Object(select_map_values(
            wanted.and_then(Value::as_object),
            map,
            all,
            ours,
        )),
        (None | Some(Value::Array(_)), Value::Array(items)) => {
            let wanted_items = wanted.and_then(Value::as_array);
            let keys: BTreeSet<&String> = all
                .iter()
                .flat_map(|tree| keys_of(tree))
                .filter(|key| is_list_item(key))
                .collect();
            if !keys.is_empty() {
                return select_keyed_items(wanted, live, &keys, all, ours);
            }
            match wanted_items.filter(|wanted| all.is_empty() && wanted.len() == items.len()) {
                Some(wanted) => {
                    let pairs = wanted.iter().zip(items);
                    Value::Array(
                        pairs
                            .map(|(wanted, live)| select_values(Some(wanted), live, &[], &[]))
                            .collect(),
                    )
                }
                None => live.clone(),
            }
        }
        _ => live.clone(),
    }
}

fn select_map_values(
    wanted: Option<&Map<String, Value>>,
    live: &Map<String, Value>,
    all: &[&Value],
    ours: &[&Value],
) -> Map<String, Value> {
    let part = |(key, live): (&String, &Value)| {
        let field = format!("f:{key}");
        let (wanted, ours) = (
            wanted.and_then(|wanted| wanted.get(key)),
            children(ours, &field),
        );
        let is_managed = wanted.is_some() || !ours.is_empty();
        is_managed.then(|| {
            (
                key.clone(),
                select_values(wanted, live, &children(all, &field), &ours),
            )
        })
    };
    live.iter().filter_map(part).collect()
}

/// Returns the managed items of a keyed list, under their labels.
fn select_keyed_items(
    wanted: Option<&Value>,
    live: &Value,
    keys: &BTreeSet<&String>,
    all: &[&Value],
    ours: &[&Value],
) -> Value {
    let mut found = Map::new();
    for key in keys {
        let (wanted, ours) = (
            wanted.and_then(|list| resolve_key(key, list)?.get_in(list)),
            children(ours, key),
        );
        if (wanted.is_some() || !ours.is_empty())
            && let Some(live) = resolve_key(key, live).and_then(|place| place.get_in(live))
        {
            found.insert(
                item_label(key),
                select_values(wanted, live, &children(all, key), &ours),
            );
        }
    }
    Value::Object(found)
}

/// Returns the trees' children at a key.
fn children<'a>(trees: &[&'a Value], key: &str) -> Vec<&'a Value> {
    trees.iter().filter_map(|tree| tree.get(key)).collect()
}

fn keys_of(tree: &Value) -> impl Iterator<Item = &String> {
    tree.as_object().into_iter().flat_map(Map::keys)
}

/// Returns true if a `fieldsV1` key denotes a list item by its keys or its value.
fn is_list_item(key: &str) -> bool {
    key.starts_with("k:") || key.starts_with("v:")
}

/// Formats a list item for people: `{name=web}`, `{"example.com/finalizer"}`.
fn item_label(key: &str) -> String {
    let text = key.get(2..).unwrap_or_default();
    let Ok(keys) = serde_json::from_str::<Map<String, Value>>(text) else {
        return format!("{{{text}}}");
    };
    let plain = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    let keys: Vec<String> = keys
        .iter()
        .map(|(key, value)| format!("{key}={}", plain(value)))
        .collect();
    format!("{{{}}}", keys.join(","))
}

/// A field that has changed since the plan was made.
#[derive(Debug, Clone, PartialEq)]
pub struct ChangedField {
    /// Path of the field.
    pub path: String,
    /// Value when the plan was made; none if absent.
    pub planned: Option<Value>,
    /// Current value; none if absent.
    pub now: Option<Value>,
}

/// Returns the managed fields that have changed between two reads.
pub fn changed_fields(planned: &Object, now: &Object) -> Vec<ChangedField> {
    let differences = compare(planned, now, DiffFormat::Native).into_iter();
    differences
        .map(|found| ChangedField {
            path: found.path,
            planned: found.before,
            now: found.after,
        })
        .collect()
}

/// Returns a short keyed hash (HMAC-SHA-256) of a value, independent of the order of keys. Without
/// the key the value cannot be guessed from it. None if there is no key.
fn keyed_hash(value: &Value, key: Option<&[u8]>) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key?).ok()?;
    feed_value(value, &mut |bytes| mac.update(bytes));
    Some(shorten_digest(&mac.finalize().into_bytes()))
}

/// Returns a short keyed hash of a list of objects; none if there is no key.
pub fn keyed_hash_of_objects(objects: &[Object], key: Option<&[u8]>) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key?).ok()?;
    for object in objects {
        feed_map(&object.0, &mut |bytes| mac.update(bytes));
    }
    Some(shorten_digest(&mac.finalize().into_bytes()))
}

/// Returns a short hash of an object: keyed for a Secret, plain SHA-256 otherwise. None for a
/// Secret if there is no key.
pub fn object_hash(object: &Object, is_secret: bool, key: Option<&[u8]>) -> Option<String> {
    let mut keyed = Hmac::<Sha256>::new_from_slice(key.unwrap_or_default()).ok()?;
    if is_secret {
        key?;
        feed_map(&object.0, &mut |bytes| keyed.update(bytes));
        return Some(shorten_digest(&keyed.finalize().into_bytes()));
    }
    let mut plain = Sha256::new();
    feed_map(&object.0, &mut |bytes| plain.update(bytes));
    Some(shorten_digest(&plain.finalize()))
}

fn shorten_digest(digest: &[u8]) -> String {
    hex::encode(digest.get(..HASH_BYTES).unwrap_or(digest))
}

fn feed_value(value: &Value, sink: &mut dyn FnMut(&[u8])) {
    match value {
        Value::Object(map) => feed_map(map, sink),
        Value::Array(items) => {
            sink(b"[");
            for item in items {
                feed_value(item, sink);
                sink(b",");
            }
            sink(b"]");
        }
        // The length separates adjacent values.
        Value::String(text) => {
            sink(format!("\"{}:", text.len()).as_bytes());
            sink(text.as_bytes());
        }
        scalar => sink(scalar.to_string().as_bytes()),
    }
}

fn feed_map(map: &Map<String, Value>, sink: &mut dyn FnMut(&[u8])) {
    let mut keys: Vec<&String> = map.keys().collect();
    keys.sort();
    sink(b"{");
    for key in keys {
        sink(format!("\"{}:{key}=", key.len()).as_bytes());
        feed_value(map.get(key).unwrap_or(&Value::Null), sink);
        sink(b",");
    }
    sink(b"}");
}

/// Returns the keyed hash of managed values as a saved plan keeps it; none without a key.
pub fn expected_hash(values: &Object, policy: &FieldPolicy) -> Option<String> {
    keyed_hash_of_objects(std::slice::from_ref(values), policy.key.as_deref())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Object {
        Object(value.as_object().unwrap().clone())
    }

    fn options(key: Option<&[u8]>) -> FieldPolicy {
        FieldPolicy {
            key: key.map(Into::into),
            ..FieldPolicy::default()
        }
    }

    fn managed_json(wanted: &Value, live: &Value) -> Value {
        Value::Object(
            managed_values(
                &object(wanted.clone()),
                &object(live.clone()),
                &options(None),
            )
            .0,
        )
    }

    fn entry(manager: &str, operation: &str, fields: Value) -> Value {
        json!({"manager": manager, "operation": operation, "fieldsType": "FieldsV1", "fieldsV1": fields})
    }

    #[test]
    fn fields_that_others_now_own_are_reported_where_they_are_no_longer_managed() {
        let live = |b: &str, owner: &str| {
            let fields = json!({"f:data": {"f:a": {}, "f:b": {}}});
            object(
                json!({"metadata": {"managedFields": [{"manager": owner, "operation": "Update", "fieldsV1": fields}]}, "data": {"a": "1", "b": b}}),
            )
        };
        let (before, now) = (
            object(json!({"data": {"a": "1", "b": "1"}})),
            object(json!({"data": {"a": "1"}})),
        );
        let paths = |live: &Object| {
            retaken(&before, &now, live, &FieldPolicy::default())
                .into_iter()
                .map(|one| one.path)
                .collect::<Vec<_>>()
        };
        assert_eq!(paths(&live("theirs", "them")), ["data.b"]);
        assert_eq!(
            paths(&live("1", "them")),
            Vec::<String>::new(),
            "they share the value"
        );
        let nobodys = object(json!({"data": {"a": "1", "b": "default"}}));
        assert_eq!(paths(&nobodys), Vec::<String>::new());
    }

    #[test]
    fn only_managed_fields_count() {
        let wanted =
            object(json!({"kind": "A", "spec": {"replicas": 2, "c": [{"image": "i"}], "gone": 1}}));
        let live = object(json!({
            "kind": "A", "metadata": {"uid": "u"}, "status": {"x": 1},
            "spec": {"replicas": 3, "other": true, "c": [{"image": "i", "pullPolicy": "Always"}]},
        }));
        let policy = options(None);
        let read = managed_values(&wanted, &live, &policy);
        assert_eq!(
            Value::Object(read.0.clone()),
            json!({"spec": {"replicas": 3, "c": [{"image": "i"}]}})
        );
        let mut later = live.clone();
        later.0["spec"]["other"] = json!(false);
        assert_eq!(
            changed_fields(&read, &managed_values(&wanted, &later, &policy)),
            []
        );
        later.0["spec"]["replicas"] = json!(5);
        later.0["spec"]["gone"] = json!(2);
        let moved = changed_fields(&read, &managed_values(&wanted, &later, &policy));
        let listed: Vec<_> = moved
            .iter()
            .map(|m| (m.path.as_str(), m.planned.clone(), m.now.clone()))
            .collect();
        assert_eq!(
            listed,
            [
                ("spec.gone", None, Some(json!(2))),
                ("spec.replicas", Some(json!(3)), Some(json!(5)))
            ]
        );
    }

    /// An apply removes fields that we own or adopt and that the manifest no longer sets.
    #[test]
    fn fields_that_an_apply_removes_are_managed() {
        let live = |more: Value| {
            let ours = entry(
                "nuon-runner",
                "Apply",
                json!({"f:data": {"f:a": {}, "f:old": {}}}),
            );
            let theirs = entry("hpa", "Update", json!({"f:data": {"f:theirs": {}}}));
            json!({"data": {"a": "1", "old": "x", "theirs": "y", "hotfix": "z"},
                "metadata": {"managedFields": [ours, theirs, more]}})
        };
        let wanted = json!({"data": {"a": "2"}});
        let stranger = entry("somebody", "Update", json!({"f:data": {"f:hotfix": {}}}));
        assert_eq!(
            managed_json(&wanted, &live(stranger)),
            json!({"data": {"a": "1", "old": "x"}})
        );
        let kubectl = entry(
            "kubectl-client-side-apply",
            "Update",
            json!({"f:data": {"f:hotfix": {}}}),
        );
        assert_eq!(
            managed_json(&wanted, &live(kubectl)),
            json!({"data": {"a": "1", "old": "x", "hotfix": "z"}})
        );
    }

    #[test]
    fn items_of_lists_are_known_by_their_keys() {
        let fields = json!({"f:spec": {"f:containers": {
            "k:{\"name\":\"web\"}": {".": {}, "f:image": {}, "f:name": {}},
            "k:{\"name\":\"old\"}": {".": {}, "f:name": {}},
        }}});
        let injected = json!({"f:spec": {"f:containers": {"k:{\"name\":\"sidecar\"}": {".": {}, "f:image": {}}}}});
        let managed = json!([
            entry("nuon-runner", "Apply", fields),
            entry("injector", "Update", injected)
        ]);
        let sidecar = json!({"name": "sidecar", "image": "s"});
        let live = json!({
            "metadata": {"managedFields": managed},
            "spec": {"containers": [sidecar, {"name": "web", "image": "w", "tty": true}, {"name": "old"}]},
        });
        let wanted =
            json!({"spec": {"containers": [{"name": "web", "image": "w2"}, {"name": "new"}]}});
        let read = managed_json(&wanted, &live);
        assert_eq!(
            read,
            json!({"spec": {"containers": {"{name=web}": {"name": "web", "image": "w"}, "{name=old}": {"name": "old"}}}})
        );
    }

    #[test]
    fn ignored_fields_do_not_count() {
        let annotated = json!({"kind": "A", "metadata": {"annotations": {"nuon.co/ignore-fields": "/spec/replicas"}},
            "spec": {"replicas": 2, "x": 1}});
        let live = json!({"kind": "A", "spec": {"replicas": 7, "x": 1}});
        assert_eq!(managed_json(&annotated, &live), json!({"spec": {"x": 1}}));
    }

    #[test]
    fn secret_values_are_hashes_that_need_a_key() {
        let secret = |value: &str| {
            object(json!({"apiVersion": "v1", "kind": "Secret", "data": {"p": value}}))
        };
        let read = |value: &str, key: Option<&[u8]>| {
            managed_values(&secret(value), &secret(value), &options(key)).0["data"]["p"].clone()
        };
        let key: Option<&[u8]> = Some(b"key");
        assert_ne!(read("one", key), "one");
        assert_eq!(read("one", key), read("one", key));
        assert_ne!(read("one", key), read("two", key));
        assert_ne!(read("one", key), read("one", Some(b"another")));
        assert_eq!(read("one", None), "***");
        assert_eq!(object_hash(&secret("one"), true, None), None);
    }

    #[test]
    fn last_applied_annotations_are_hashed_on_every_kind() {
        let annotations = json!({LAST_APPLIED: "all of it", "a": "b"});
        let annotated = object(json!({"kind": "A", "metadata": {"annotations": annotations}}));
        let read =
            managed_values(&annotated, &annotated, &options(Some(b"key"))).0["metadata"]["annotations"]
                .clone();
        assert_eq!(read["a"], "b");
        assert_eq!(
            read[LAST_APPLIED].as_str().map(str::len),
            Some(2 * HASH_BYTES)
        );
    }

    #[test]
    fn hashes_do_not_depend_on_the_order_of_keys() {
        let of = |value: Value| object_hash(&object(value), false, None).unwrap();
        assert_eq!(
            of(json!({"a": 1, "b": [1, 2]})),
            of(json!({"b": [1, 2], "a": 1}))
        );
        for other in [
            json!({"a": 1, "b": [2, 1]}),
            json!({"a": "1", "b": [1, 2]}),
            json!({"a": 1, "b": [12]}),
        ] {
            assert_ne!(of(json!({"a": 1, "b": [1, 2]})), of(other));
        }
    }
}
