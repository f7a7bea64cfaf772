//! Normalizes a manifest's objects for sending: removes the fields that only the server may set.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::cluster::fields::diff::SERVER_FIELDS;
use crate::manifest::Object;

/// Prepares an object for an apply (`docs/apply.md`):
///
/// - removes the server's fields
/// - removes the status, except of CRDs, which some versions refuse without one
/// - moves a Secret's `stringData` to `data`, so that we own the fields that are stored
/// - sets `protocol: TCP` on ports without a protocol, because it is part of their list key
/// - removes the `caBundle` of a conversion webhook if it is not a certificate
pub fn normalize(object: &mut Object) {
    if let Some(Value::Object(metadata)) = object.0.get_mut("metadata") {
        for member in SERVER_FIELDS.into_iter().chain(["selfLink"]) {
            metadata.shift_remove(member);
        }
    }
    if object.is_crd() {
        remove_invalid_ca_bundle(object);
    } else {
        object.0.shift_remove("status");
    }
    if object.is_secret() {
        move_string_data(object);
    }
    let containers: &[&str] = match (object.group(), object.kind()) {
        ("", "Service") => return set_default_protocols(at_mut(object, &["spec", "ports"])),
        ("", "Pod") => &["spec", "containers"],
        ("apps", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet") | ("batch", "Job") => {
            &["spec", "template", "spec", "containers"]
        }
        ("batch", "CronJob") => &[
            "spec",
            "jobTemplate",
            "spec",
            "template",
            "spec",
            "containers",
        ],
        _ => return,
    };
    for container in at_mut(object, containers)
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        set_default_protocols(container.get_mut("ports"));
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
    let Some(Value::Object(texts)) = secret.0.shift_remove("stringData") else {
        return;
    };
    let data = secret
        .0
        .entry("data")
        .or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(data) = data {
        for (key, text) in texts {
            let text = text
                .as_str()
                .map_or_else(|| text.to_string(), str::to_owned);
            data.insert(key, STANDARD.encode(text).into());
        }
    }
}

fn remove_invalid_ca_bundle(crd: &mut Object) {
    let client = at_mut(crd, &["spec", "conversion", "webhook", "clientConfig"]);
    let Some(client) = client.and_then(Value::as_object_mut) else {
        return;
    };
    let is_valid = |bundle: &str| {
        bundle.is_empty()
            || STANDARD
                .decode(bundle)
                .is_ok_and(|text| pem::parse_many(text).is_ok_and(|all| !all.is_empty()))
    };
    if client
        .get("caBundle")
        .and_then(Value::as_str)
        .is_some_and(|bundle| !is_valid(bundle))
    {
        client.shift_remove("caBundle");
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
        let spec = json!({"containers": [{"name": "c", "ports": [{"containerPort": 1}, {"containerPort": 2, "protocol": "UDP"}]}]});
        let deployment = normal(
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"template": {"spec": spec}}}),
        );
        let ports = json!([{"containerPort": 1, "protocol": "TCP"}, {"containerPort": 2, "protocol": "UDP"}]);
        assert_eq!(
            deployment["spec"]["template"]["spec"]["containers"][0]["ports"],
            ports
        );
        let bundle = |text: &str| {
            let client = json!({"clientConfig": {"caBundle": text}});
            normal(json!({
                "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                "spec": {"conversion": {"webhook": client}}, "status": {"x": 1},
            }))
        };
        assert_eq!(
            bundle("nonsense")["spec"]["conversion"]["webhook"]["clientConfig"],
            json!({})
        );
        assert_eq!(
            bundle("")["spec"]["conversion"]["webhook"]["clientConfig"],
            json!({"caBundle": ""})
        );
    }
}
