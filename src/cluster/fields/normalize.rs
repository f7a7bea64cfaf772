//! What is sent of an object: the manifest's, without what only the server may set.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::cluster::fields::diff::SERVERS_OWN;
use crate::manifest::Object;

/// Makes an object fit to be applied (specification of applying, section 5): no server fields; no status, but
/// for definitions, which are refused without one in some versions; a Secret's `stringData` as `data`, so that
/// what is owned is what is there; `protocol: TCP` on ports that name none, since it is part of their key; no
/// `caBundle` of a conversion webhook that is no certificate.
pub fn normalise(object: &mut Object) {
    if let Some(Value::Object(metadata)) = object.0.get_mut("metadata") {
        for member in SERVERS_OWN.into_iter().chain(["selfLink"]) {
            metadata.shift_remove(member);
        }
    }
    if object.is_crd() {
        without_broken_bundle(object);
    } else {
        object.0.shift_remove("status");
    }
    if object.is_secret() {
        encode_strings(object);
    }
    let containers: &[&str] = match (object.group(), object.kind()) {
        ("", "Service") => return name_protocols(at_mut(object, &["spec", "ports"])),
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
        name_protocols(container.get_mut("ports"));
    }
}

fn at_mut<'a>(object: &'a mut Object, path: &[&str]) -> Option<&'a mut Value> {
    let (first, rest) = path.split_first()?;
    rest.iter()
        .try_fold(object.0.get_mut(*first)?, |value, member| {
            value.get_mut(*member)
        })
}

fn name_protocols(ports: Option<&mut Value>) {
    for port in ports
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
    {
        port.entry("protocol").or_insert_with(|| "TCP".into());
    }
}

fn encode_strings(secret: &mut Object) {
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

fn without_broken_bundle(definition: &mut Object) {
    let client = at_mut(
        definition,
        &["spec", "conversion", "webhook", "clientConfig"],
    );
    let Some(client) = client.and_then(Value::as_object_mut) else {
        return;
    };
    let is_fine = |bundle: &str| {
        bundle.is_empty()
            || STANDARD
                .decode(bundle)
                .is_ok_and(|text| pem::parse_many(text).is_ok_and(|all| !all.is_empty()))
    };
    if client
        .get("caBundle")
        .and_then(Value::as_str)
        .is_some_and(|bundle| !is_fine(bundle))
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
        normalise(&mut object);
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
