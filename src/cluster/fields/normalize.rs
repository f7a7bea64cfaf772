//! Normalizes a manifest's objects for sending: removes the fields that only the server may set.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::cluster::fields::diff::SERVER_FIELDS;
use crate::cluster::fields::placeholders;
use crate::manifest::Object;

/// Prepares an object for an apply (`docs/apply.md`):
///
/// - removes the server's fields
/// - removes the status, except of CRDs, which some versions refuse without one
/// - moves the texts of a Secret's `stringData` to `data`, so that we own the fields that are stored
/// - sets `protocol: TCP` on ports without a protocol, because it is part of their list key
/// - removes [placeholders] that controllers fill
///
/// Returns the paths of the placeholders.
pub fn normalize(object: &mut Object) -> Vec<String> {
    if let Some(Value::Object(metadata)) = object.0.get_mut("metadata") {
        for member in SERVER_FIELDS.into_iter().chain(["selfLink"]) {
            metadata.shift_remove(member);
        }
    }
    if !object.is_crd() {
        object.0.shift_remove("status");
    }
    if object.is_secret() {
        move_string_data(object);
    }
    set_protocols(object);
    placeholders::remove(object)
}

/// Returns a sentence for each value of a Secret that cannot be stored, without the value: `data` and
/// `stringData` that are no map, what is no text, and what is not base64 under `data` (RFC 4648, section 4; line breaks are skipped, as the
/// API server does).
pub fn secret_faults(secret: &Object) -> Vec<String> {
    let values = |member: &'static str| {
        let values = secret.0.get(member).and_then(Value::as_object);
        let values = values.into_iter().flatten();
        values.map(move |(key, value)| (format!("{member}.{key}"), value))
    };
    let is_base64 = |text: &str| {
        let text: String = text
            .chars()
            .filter(|char| !['\r', '\n'].contains(char))
            .collect();
        STANDARD.decode(text).is_ok()
    };
    let fault = |(path, value): (String, &Value)| match value {
        Value::Null => None,
        Value::String(text) if path.starts_with("data.") && !is_base64(text) => Some(format!(
            "{path}: not base64; plain text belongs under stringData"
        )),
        Value::String(_) => None,
        Value::Number(_) | Value::Bool(_) => Some(format!(
            "{path}: {}, not a text; quote it, so that it is kept as it is written",
            kind_of(value)
        )),
        _ => Some(format!("{path}: {}, not a text", kind_of(value))),
    };
    let not_a_map = |member: &&str| {
        let value = secret.0.get(*member)?;
        let is_map = value.is_object() || value.is_null();
        (!is_map).then(|| format!("{member}: {}, not a map of texts", kind_of(value)))
    };
    ["data", "stringData"]
        .iter()
        .filter_map(not_a_map)
        .chain(values("data").chain(values("stringData")).filter_map(fault))
        .collect()
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Number(_) => "a number",
        Value::Bool(_) => "true or false",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
        Value::String(_) | Value::Null => "a text",
    }
}

/// Sets the protocol of the ports that have none.
fn set_protocols(object: &mut Object) {
    if (object.group(), object.kind()) == ("", "Service") {
        return set_default_protocols(at_mut(object, &["spec", "ports"]));
    }
    let Some(pod) = object.pod_path() else {
        return;
    };
    for list in ["containers", "initContainers"] {
        let containers = at_mut(object, &[pod, &[list]].concat());
        let containers = containers.and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            set_default_protocols(container.get_mut("ports"));
        }
    }
}

fn at_mut<'a>(object: &'a mut Object, path: &[&str]) -> Option<&'a mut Value> {
    let (first, rest) = path.split_first()?;
    rest.iter()
        .try_fold(object.0.get_mut(*first)?, |value, member| {
            value.get_mut(*member)
        })
}

fn set_default_protocols(ports: Option<&mut Value>) {
    for port in ports
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
    {
        port.entry("protocol").or_insert_with(|| "TCP".into());
    }
}

fn move_string_data(secret: &mut Object) {
    let values = match secret.0.get("stringData") {
        Some(Value::Object(values)) => values.clone(),
        // Without values it means nothing; what is no map is refused.
        Some(Value::Null) => Map::new(),
        _ => return,
    };
    secret.0.shift_remove("stringData");
    if values.is_empty() {
        return;
    }
    let is_text = |value: &Value| value.is_string() || value.is_null();
    let (texts, others): (Vec<_>, Vec<_>) =
        values.into_iter().partition(|(_, value)| is_text(value));
    if !others.is_empty() {
        let others = others.into_iter().collect();
        secret.0.insert("stringData".into(), Value::Object(others));
    }
    let data = secret.0.entry("data").or_insert(Value::Null);
    if data.is_null() {
        *data = Value::Object(Map::new());
    }
    if let Value::Object(data) = data {
        for (key, text) in texts {
            // A key without a value is an empty text.
            let text = text.as_str().unwrap_or_default();
            data.insert(key, STANDARD.encode(text).into());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn normal(value: Value) -> Value {
        let mut object = Object(value.as_object().unwrap().clone());
        normalize(&mut object);
        Value::Object(object.0)
    }

    #[test]
    fn only_what_is_wanted_is_sent() {
        let secret = normal(json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "uid": "u", "creationTimestamp": null},
            "data": {"b": "eA=="}, "stringData": {"a": "x", "b": "y"}, "status": {},
        }));
        let wanted = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"b": "eQ==", "a": "eA=="}});
        assert_eq!(secret, wanted);
        let null = normal(
            json!({"apiVersion": "v1", "kind": "Secret", "data": null, "stringData": {"a": "x"}}),
        );
        assert_eq!(null["data"], json!({"a": "eA=="}));
        for wrong in [
            json!("pw: x"),
            json!(["a"]),
            json!(5),
            json!(true),
            json!(""),
        ] {
            for member in ["data", "stringData"] {
                let secret = normal(json!({"apiVersion": "v1", "kind": "Secret", member: wrong}));
                assert_eq!(secret[member], wrong);
                let told = secret_faults(&Object(secret.as_object().unwrap().clone()));
                assert!(told[0].ends_with("not a map of texts"), "{told:?}");
            }
        }
        let mut secret = json!({"apiVersion": "v1", "kind": "Secret", "data": {"c": "%", "d": 5},
            "stringData": {"empty": null, "pin": 511, "on": true, "map": {}}});
        secret = normal(secret);
        assert_eq!(secret["data"]["empty"], "");
        let told = secret_faults(&Object(secret.as_object().unwrap().clone()));
        for (path, what) in [
            ("data.c", "not base64"),
            ("data.d", "a number"),
            ("stringData.pin", "a number"),
            ("stringData.on", "true or false"),
            ("stringData.map", "a map"),
        ] {
            assert!(
                told.iter()
                    .any(|told| told.starts_with(path) && told.contains(what)),
                "{told:?}"
            );
        }
        assert_eq!(told.len(), 5);
        let spec = json!({"containers": [{"name": "c", "ports": [{"containerPort": 1}, {"containerPort": 2, "protocol": "UDP"}]}]});
        let deployment = normal(
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"template": {"spec": spec}}}),
        );
        let ports = json!([{"containerPort": 1, "protocol": "TCP"}, {"containerPort": 2, "protocol": "UDP"}]);
        assert_eq!(
            deployment["spec"]["template"]["spec"]["containers"][0]["ports"],
            ports
        );
    }
}
