//! What a cluster has in the fields that a manifest touches, and short fingerprints of it.
//!
//! A plan says what was read there, and an apply compares it with what is there now: movement elsewhere
//! does not matter. The inventory keeps fingerprints, so that an object that nobody has touched is known
//! to be unchanged without a question.

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::diff::{Form, compare};
use super::mask::LAST_APPLIED;
use crate::manifest::Object;

/// Bytes of a fingerprint.
const LENGTH: usize = 10;

/// The fields of a live object that a wanted one touches, with their values; Secret values are replaced by
/// keyed fingerprints. Where lists are of different lengths all of the live one is taken.
pub fn touched(wanted: &Object, live: &Object, key: Option<&[u8]>) -> Object {
    let mut fields = maps(&wanted.0, &live.0);
    for member in ["apiVersion", "kind", "status"] {
        fields.shift_remove(member);
    }
    let hide = |value: &mut Value| *value = fingerprint(value, key).unwrap_or_else(|| "***".into()).into();
    if wanted.is_secret()
        && let Some(Value::Object(data)) = fields.get_mut("data")
    {
        data.values_mut().for_each(hide);
    }
    let annotations = fields.get_mut("metadata").and_then(|metadata| metadata.get_mut("annotations"));
    if let Some(applied) = annotations.and_then(|annotations| annotations.get_mut(LAST_APPLIED)) {
        hide(applied);
    }
    Object(fields)
}

fn maps(wanted: &Map<String, Value>, live: &Map<String, Value>) -> Map<String, Value> {
    let both = wanted.iter().filter_map(|(key, wanted)| Some((key, wanted, live.get(key)?)));
    both.map(|(key, wanted, live)| (key.clone(), values(wanted, live))).collect()
}

fn values(wanted: &Value, live: &Value) -> Value {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => Value::Object(maps(wanted, live)),
        (Value::Array(wanted), Value::Array(live)) if wanted.len() == live.len() => {
            Value::Array(wanted.iter().zip(live).map(|(wanted, live)| values(wanted, live)).collect())
        }
        (_, live) => live.clone(),
    }
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
    differences.map(|found| Moved { path: found.path, planned: found.before, now: found.after }).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(value: Value) -> Object {
        Object(value.as_object().unwrap().clone())
    }

    #[test]
    fn only_touched_fields_count() {
        let wanted = object(json!({"kind": "A", "spec": {"replicas": 2, "c": [{"image": "i"}], "gone": 1}}));
        let live = object(json!({
            "kind": "A", "metadata": {"uid": "u"}, "status": {"x": 1},
            "spec": {"replicas": 3, "other": true, "c": [{"image": "i", "pullPolicy": "Always"}]},
        }));
        let read = touched(&wanted, &live, None);
        assert_eq!(Value::Object(read.0.clone()), json!({"spec": {"replicas": 3, "c": [{"image": "i"}]}}));
        let mut later = live.clone();
        later.0["spec"]["other"] = json!(false);
        assert_eq!(moved(&read, &touched(&wanted, &later, None)), []);
        later.0["spec"]["replicas"] = json!(5);
        later.0["spec"]["gone"] = json!(2);
        let moved = moved(&read, &touched(&wanted, &later, None));
        let told: Vec<_> = moved.iter().map(|m| (m.path.as_str(), m.planned.clone(), m.now.clone())).collect();
        assert_eq!(told, [("spec.gone", None, Some(json!(2))), ("spec.replicas", Some(json!(3)), Some(json!(5)))]);
    }

    #[test]
    fn secret_values_are_fingerprints_and_those_need_a_key() {
        let secret = |value: &str| object(json!({"apiVersion": "v1", "kind": "Secret", "data": {"p": value}}));
        let read =
            |value: &str, key: Option<&[u8]>| touched(&secret(value), &secret(value), key).0["data"]["p"].clone();
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
        let annotated =
            object(json!({"kind": "A", "metadata": {"annotations": {LAST_APPLIED: "all of it", "a": "b"}}}));
        let read = touched(&annotated, &annotated, Some(b"key")).0["metadata"]["annotations"].clone();
        assert_eq!(read["a"], "b");
        assert_eq!(read[LAST_APPLIED].as_str().map(str::len), Some(2 * LENGTH));
    }

    #[test]
    fn fingerprints_know_nothing_of_the_order_of_keys() {
        let of = |value: Value| fingerprint_of(&object(value), false, None).unwrap();
        assert_eq!(of(json!({"a": 1, "b": [1, 2]})), of(json!({"b": [1, 2], "a": 1})));
        for other in [json!({"a": 1, "b": [2, 1]}), json!({"a": "1", "b": [1, 2]}), json!({"a": 1, "b": [12]})] {
            assert_ne!(of(json!({"a": 1, "b": [1, 2]})), of(other));
        }
    }
}
