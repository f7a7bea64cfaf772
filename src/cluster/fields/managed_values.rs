//! What a cluster has in the fields that a manifest touches, and short fingerprints of it.
//!
//! A plan says what was read there, and an apply compares it with what is there now: movement elsewhere
//! does not matter. The inventory keeps fingerprints, so that an object that nobody has touched is known
//! to be unchanged without a question.

use std::collections::BTreeSet;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::cluster::fields::adopt::fields_of;
use crate::cluster::fields::diff::{Form, compare};
use crate::cluster::fields::ignore::without_ignored;
use crate::cluster::fields::mask::LAST_APPLIED;
use crate::cluster::fields::policy::FieldPolicy;
use crate::manifest::Object;
use crate::manifest::managed_fields::{Owner, owners, place};

/// Bytes of a fingerprint.
const LENGTH: usize = 10;

/// The fields of a live object that an apply of a wanted one touches, with their values: those that are wanted, and
/// those that ours or a manager from whom is taken over owns, for they go if they are not wanted. Ignored fields do
/// not count. Items of lists that are known by keys stand under their keys; of other lists all of the live one
/// is taken. Secret values are replaced by keyed fingerprints.
pub fn touched(wanted: &Object, live: &Object, policy: &FieldPolicy) -> Object {
    let owners = owners(live);
    let of = |is_meant: &dyn Fn(&Owner<'_>) -> bool| {
        owners
            .iter()
            .filter(|owner| is_meant(owner))
            .filter_map(Owner::tree)
            .collect::<Vec<&Value>>()
    };
    let (all, ours) = (of(&|_| true), of(&|owner| is_taken(owner, policy)));
    let seen = without_ignored(wanted, live, policy);
    let mut fields = map_values(Some(&wanted.0), &seen.0, &all, &ours);
    for member in ["apiVersion", "kind", "status"] {
        fields.shift_remove(member);
    }
    hide_secrets(&mut fields, wanted.is_secret(), policy);
    Object(fields)
}

/// Puts keyed fingerprints in the place of secret values.
fn hide_secrets(fields: &mut Map<String, Value>, is_secret: bool, policy: &FieldPolicy) {
    let key = policy.key.as_deref();
    let hide = |value: &mut Value| {
        *value = fingerprint(value, key)
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

/// The fields that were touched `before` and are not `now`, because somebody else has made them his own by another
/// value. What only the server has filled in again is nobody's.
pub fn retaken(before: &Object, now: &Object, live: &Object, policy: &FieldPolicy) -> Vec<Moved> {
    if before == now {
        return Vec::new();
    }
    let mut seen = live.0.clone();
    hide_secrets(&mut seen, live.is_secret(), policy);
    let [before, now, seen] = [before.0.clone(), now.0.clone(), seen].map(Value::Object);
    let mut found = Vec::new();
    look_for_retaken(&before, Some(&now), &seen, &fields_of(live), "", &mut found);
    found
}

fn look_for_retaken(
    before: &Value,
    now: Option<&Value>,
    live: &Value,
    all: &Value,
    path: &str,
    found: &mut Vec<Moved>,
) {
    match (before, now) {
        (Value::Object(before), None | Some(Value::Object(_))) => {
            for (key, before) in before {
                let Some((live, all)) = step(key, live, all) else {
                    continue;
                };
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                look_for_retaken(
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
            found.push(Moved {
                path: path.to_owned(),
                planned: Some(before.clone()),
                now: Some(live.clone()),
            });
        }
        _ => {}
    }
}

/// One step into a live value and into what is owned of it, by a key or an item's label; none if nobody owns it.
fn step<'a>(key: &str, live: &Value, all: &'a Value) -> Option<(Value, &'a Value)> {
    if let Some(inner) = all.get(format!("f:{key}")) {
        return Some((live.get(key)?.clone(), inner));
    }
    let (item, inner) = all
        .as_object()?
        .iter()
        .find(|(item, _)| is_item(item) && label(item) == key)?;
    Some((place(item, live)?.of(live)?.clone(), inner))
}

fn is_taken(owner: &Owner<'_>, policy: &FieldPolicy) -> bool {
    if owner.manager == policy.manager {
        owner.operation == "Apply"
    } else {
        policy.is_ours(owner.manager)
    }
}

/// Of a live value what is wanted of it, or owned by `ours`; `all` is what anybody owns, and says of lists how their
/// items are known. Both are trees of owned fields, one of each owner.
fn values(wanted: Option<&Value>, live: &Value, all: &[&Value], ours: &[&Value]) -> Value {
    let is_whole = |tree: &&Value| tree.as_object().is_some_and(Map::is_empty);
    let is_owned_whole = !ours.is_empty() && ours.iter().all(is_whole);
    match (wanted, live) {
        (None, _) if is_owned_whole => live.clone(),
        (None | Some(Value::Object(_)), Value::Object(map)) => Value::Object(map_values(
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
                .filter(|key| is_item(key))
                .collect();
            if !keys.is_empty() {
                return keyed(wanted, live, &keys, all, ours);
            }
            match wanted_items.filter(|wanted| all.is_empty() && wanted.len() == items.len()) {
                Some(wanted) => {
                    let pairs = wanted.iter().zip(items);
                    Value::Array(
                        pairs
                            .map(|(wanted, live)| values(Some(wanted), live, &[], &[]))
                            .collect(),
                    )
                }
                None => live.clone(),
            }
        }
        _ => live.clone(),
    }
}

fn map_values(
    wanted: Option<&Map<String, Value>>,
    live: &Map<String, Value>,
    all: &[&Value],
    ours: &[&Value],
) -> Map<String, Value> {
    let part = |(key, live): (&String, &Value)| {
        let field = format!("f:{key}");
        let (wanted, ours) = (
            wanted.and_then(|wanted| wanted.get(key)),
            inner(ours, &field),
        );
        let is_touched = wanted.is_some() || !ours.is_empty();
        is_touched.then(|| {
            (
                key.clone(),
                values(wanted, live, &inner(all, &field), &ours),
            )
        })
    };
    live.iter().filter_map(part).collect()
}

/// The touched items of a list, under the keys that they are known by.
fn keyed(
    wanted: Option<&Value>,
    live: &Value,
    keys: &BTreeSet<&String>,
    all: &[&Value],
    ours: &[&Value],
) -> Value {
    let mut found = Map::new();
    for key in keys {
        let (wanted, ours) = (
            wanted.and_then(|list| place(key, list)?.of(list)),
            inner(ours, key),
        );
        if (wanted.is_some() || !ours.is_empty())
            && let Some(live) = place(key, live).and_then(|place| place.of(live))
        {
            found.insert(label(key), values(wanted, live, &inner(all, key), &ours));
        }
    }
    Value::Object(found)
}

/// What the trees have under a key.
fn inner<'a>(trees: &[&'a Value], key: &str) -> Vec<&'a Value> {
    trees.iter().filter_map(|tree| tree.get(key)).collect()
}

fn keys_of(tree: &Value) -> impl Iterator<Item = &String> {
    tree.as_object().into_iter().flat_map(Map::keys)
}

/// Whether a key of a tree of owned fields is of an item that is known by keys or by its value.
fn is_item(key: &str) -> bool {
    key.starts_with("k:") || key.starts_with("v:")
}

/// An item as people know it: `{name=web}`, `{"example.com/finalizer"}`.
fn label(key: &str) -> String {
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

/// A field that is not what it was when the plan was made.
#[derive(Debug, Clone, PartialEq)]
pub struct Moved {
    /// The field.
    pub path: String,
    /// Its value when the plan was made.
    pub planned: Option<Value>,
    /// Its value now.
    pub now: Option<Value>,
}

/// The touched fields that have moved between two reads.
pub fn moved(planned: &Object, now: &Object) -> Vec<Moved> {
    let differences = compare(planned, now, Form::Ours).into_iter();
    differences
        .map(|found| Moved {
            path: found.path,
            planned: found.before,
            now: found.after,
        })
        .collect()
}

/// A short fingerprint of a value, the same for any order of keys. With a key nobody without it can tell from
/// the fingerprint what the value is; without one there is none of what must not be guessed.
fn fingerprint(value: &Value, key: Option<&[u8]>) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key?).ok()?;
    feed(value, &mut |bytes| mac.update(bytes));
    Some(short(&mac.finalize().into_bytes()))
}

/// A short keyed fingerprint of a set of objects.
pub fn fingerprint_of_set(objects: &[Object], key: Option<&[u8]>) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key?).ok()?;
    for object in objects {
        feed_map(&object.0, &mut |bytes| mac.update(bytes));
    }
    Some(short(&mac.finalize().into_bytes()))
}

/// A short fingerprint of an object. None for a Secret if there is no key.
pub fn fingerprint_of(object: &Object, is_secret: bool, key: Option<&[u8]>) -> Option<String> {
    let mut keyed = Hmac::<Sha256>::new_from_slice(key.unwrap_or_default()).ok()?;
    if is_secret {
        key?;
        feed_map(&object.0, &mut |bytes| keyed.update(bytes));
        return Some(short(&keyed.finalize().into_bytes()));
    }
    let mut plain = Sha256::new();
    feed_map(&object.0, &mut |bytes| plain.update(bytes));
    Some(short(&plain.finalize()))
}

fn short(digest: &[u8]) -> String {
    hex::encode(digest.get(..LENGTH).unwrap_or(digest))
}

fn feed(value: &Value, sink: &mut dyn FnMut(&[u8])) {
    match value {
        Value::Object(map) => feed_map(map, sink),
        Value::Array(items) => {
            sink(b"[");
            for item in items {
                feed(item, sink);
                sink(b",");
            }
            sink(b"]");
        }
        // The length keeps neighbours apart.
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
        feed(map.get(key).unwrap_or(&Value::Null), sink);
        sink(b",");
    }
    sink(b"}");
}

/// Returns the keyed hash of managed values as a saved plan keeps it; none without a key.
pub fn foreseen(values: &Object, policy: &FieldPolicy) -> Option<String> {
    fingerprint_of_set(std::slice::from_ref(values), policy.key.as_deref())
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

    fn touches(wanted: &Value, live: &Value) -> Value {
        Value::Object(
            touched(
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
    fn what_others_have_made_their_own_is_seen_where_it_is_not_touched_any_more() {
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
    fn only_touched_fields_count() {
        let wanted =
            object(json!({"kind": "A", "spec": {"replicas": 2, "c": [{"image": "i"}], "gone": 1}}));
        let live = object(json!({
            "kind": "A", "metadata": {"uid": "u"}, "status": {"x": 1},
            "spec": {"replicas": 3, "other": true, "c": [{"image": "i", "pullPolicy": "Always"}]},
        }));
        let policy = options(None);
        let read = touched(&wanted, &live, &policy);
        assert_eq!(
            Value::Object(read.0.clone()),
            json!({"spec": {"replicas": 3, "c": [{"image": "i"}]}})
        );
        let mut later = live.clone();
        later.0["spec"]["other"] = json!(false);
        assert_eq!(moved(&read, &touched(&wanted, &later, &policy)), []);
        later.0["spec"]["replicas"] = json!(5);
        later.0["spec"]["gone"] = json!(2);
        let moved = moved(&read, &touched(&wanted, &later, &policy));
        let told: Vec<_> = moved
            .iter()
            .map(|m| (m.path.as_str(), m.planned.clone(), m.now.clone()))
            .collect();
        assert_eq!(
            told,
            [
                ("spec.gone", None, Some(json!(2))),
                ("spec.replicas", Some(json!(3)), Some(json!(5)))
            ]
        );
    }

    /// What is ours, or is taken over, and not wanted any more goes with the apply.
    #[test]
    fn fields_that_an_apply_removes_are_touched() {
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
            touches(&wanted, &live(stranger)),
            json!({"data": {"a": "1", "old": "x"}})
        );
        let kubectl = entry(
            "kubectl-client-side-apply",
            "Update",
            json!({"f:data": {"f:hotfix": {}}}),
        );
        assert_eq!(
            touches(&wanted, &live(kubectl)),
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
        let read = touches(&wanted, &live);
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
        assert_eq!(touches(&annotated, &live), json!({"spec": {"x": 1}}));
    }

    #[test]
    fn secret_values_are_fingerprints_and_those_need_a_key() {
        let secret = |value: &str| {
            object(json!({"apiVersion": "v1", "kind": "Secret", "data": {"p": value}}))
        };
        let read = |value: &str, key: Option<&[u8]>| {
            touched(&secret(value), &secret(value), &options(key)).0["data"]["p"].clone()
        };
        let key: Option<&[u8]> = Some(b"key");
        assert_ne!(read("one", key), "one");
        assert_eq!(read("one", key), read("one", key));
        assert_ne!(read("one", key), read("two", key));
        assert_ne!(read("one", key), read("one", Some(b"another")));
        assert_eq!(read("one", None), "***");
        assert_eq!(fingerprint_of(&secret("one"), true, None), None);
    }

    #[test]
    fn what_kubectl_applied_last_is_a_fingerprint_on_every_kind() {
        let annotations = json!({LAST_APPLIED: "all of it", "a": "b"});
        let annotated = object(json!({"kind": "A", "metadata": {"annotations": annotations}}));
        let read =
            touched(&annotated, &annotated, &options(Some(b"key"))).0["metadata"]["annotations"]
                .clone();
        assert_eq!(read["a"], "b");
        assert_eq!(read[LAST_APPLIED].as_str().map(str::len), Some(2 * LENGTH));
    }

    #[test]
    fn fingerprints_know_nothing_of_the_order_of_keys() {
        let of = |value: Value| fingerprint_of(&object(value), false, None).unwrap();
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
