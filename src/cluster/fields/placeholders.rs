//! Fields that a manifest sends empty, or with a placeholder, and that a controller fills: they are
//! not sent, because each apply would take the content away.
//!
//! Known places of that kind are taken out of the manifest ([`remove`]). Elsewhere an empty text or
//! list is not sent if the live field has content of another manager ([`filled_by_others`]), unless
//! that is a tool of people: what a person has changed is drift.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::cluster::fields::policy::FieldPolicy;
use crate::manifest::managed_fields::{FieldManager, field_managers};
use crate::manifest::{Object, pointer};

/// Beginnings of the names of field managers that are tools of people.
const TOOLS_OF_PEOPLE: [&str; 6] = ["kubectl", "k9s", "Lens", "Mozilla", "oc", "helm"];

/// Removes the placeholders of known places from a manifest. Returns the paths of the fields.
pub fn remove(object: &mut Object) -> Vec<String> {
    let (group, kind) = (object.group().to_owned(), object.kind().to_owned());
    let spec = &mut object.0;
    match (group.as_str(), kind.as_str()) {
        (
            "admissionregistration.k8s.io",
            "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration",
        ) => {
            let webhooks = spec.get_mut("webhooks").and_then(Value::as_array_mut);
            let webhooks = webhooks.into_iter().flatten().enumerate();
            let without = |(at, webhook): (usize, &mut Value)| {
                without_bundle(webhook.get_mut("clientConfig"))
                    .then(|| format!("webhooks[{at}].clientConfig.caBundle"))
            };
            webhooks.filter_map(without).collect()
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            let steps = ["spec", "conversion", "webhook", "clientConfig"];
            let path = "spec.conversion.webhook.clientConfig.caBundle";
            removed(without_bundle(at_mut(spec, &steps)), path)
        }
        ("apiregistration.k8s.io", "APIService") => {
            removed(without_bundle(at_mut(spec, &["spec"])), "spec.caBundle")
        }
        // The controller overwrites the rules of an aggregated role.
        ("rbac.authorization.k8s.io", "ClusterRole")
            if spec.get("aggregationRule").is_some_and(Value::is_object) =>
        {
            removed(spec.shift_remove("rules").is_some(), "rules")
        }
        _ => Vec::new(),
    }
}

fn removed(is_removed: bool, path: &str) -> Vec<String> {
    is_removed.then(|| path.to_owned()).into_iter().collect()
}

fn at_mut<'a>(map: &'a mut Map<String, Value>, steps: &[&str]) -> Option<&'a mut Value> {
    let (first, rest) = steps.split_first()?;
    rest.iter()
        .try_fold(map.get_mut(*first)?, |value, member| value.get_mut(*member))
}

/// Removes the `caBundle` if it holds no certificate. Returns true if it was removed.
fn without_bundle(client: Option<&mut Value>) -> bool {
    let Some(client) = client.and_then(Value::as_object_mut) else {
        return false;
    };
    let holds_certificate = |bundle: &str| {
        STANDARD
            .decode(bundle)
            .is_ok_and(|text| pem::parse_many(text).is_ok_and(|all| !all.is_empty()))
    };
    let is_placeholder = match client.get("caBundle") {
        Some(Value::String(bundle)) => !holds_certificate(bundle),
        Some(Value::Null) => true,
        _ => false,
    };
    is_placeholder && client.shift_remove("caBundle").is_some()
}

/// A field that is empty in the manifest and has content of another manager in the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilledField {
    /// JSON pointer in the manifest.
    pub pointer: String,
    /// JSON pointer in the live object, where list items may have other places.
    pub live_pointer: String,
    /// The field manager that has filled it.
    pub manager: String,
}

/// Returns the fields that a manifest sends empty and others have filled. Metadata does not count.
pub fn filled_by_others(wanted: &Object, live: &Object, policy: &FieldPolicy) -> Vec<FilledField> {
    let managers: Vec<_> = field_managers(live)
        .into_iter()
        .filter(|owner| {
            owner.subresource.is_empty() && !policy.is_ours(owner.manager) && !is_tool(owner)
        })
        .collect();
    let mut found = Vec::new();
    if managers.is_empty() {
        return found;
    }
    let filler = |pointer: &str| {
        let mut owners = managers.iter();
        owners.find(|owner| owner.owns(live, pointer))
    };
    let members = wanted.0.iter().filter(|(member, _)| {
        !["apiVersion", "kind", "metadata", "status"].contains(&member.as_str())
    });
    for (member, value) in members {
        let pointer = pointer::join(&[member]);
        if let Some(live) = live.0.get(member) {
            walk(value, live, (&pointer, &pointer), &filler, &mut found);
        }
    }
    found
}

fn is_tool(owner: &FieldManager<'_>) -> bool {
    TOOLS_OF_PEOPLE
        .iter()
        .any(|tool| owner.manager.starts_with(tool))
}

fn walk<'m>(
    wanted: &Value,
    live: &Value,
    (pointer, live_pointer): (&str, &str),
    filler: &dyn Fn(&str) -> Option<&'m FieldManager<'m>>,
    found: &mut Vec<FilledField>,
) {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => {
            for (member, value) in wanted {
                let Some(live) = live.get(member) else {
                    continue;
                };
                let step = pointer::join(&[member]);
                let inner = (format!("{pointer}{step}"), format!("{live_pointer}{step}"));
                walk(value, live, (&inner.0, &inner.1), filler, found);
            }
        }
        (Value::Array(wanted), Value::Array(live)) if !wanted.is_empty() => {
            for (at, item) in wanted.iter().enumerate() {
                let Some(live_at) = same_item(item, live, at) else {
                    continue;
                };
                let inner = (
                    format!("{pointer}/{at}"),
                    format!("{live_pointer}/{live_at}"),
                );
                if let Some(live) = live.get(live_at) {
                    walk(item, live, (&inner.0, &inner.1), filler, found);
                }
            }
        }
        _ if is_empty(wanted) && !is_empty(live) && !live.is_null() => {
            if let Some(owner) = filler(live_pointer) {
                found.push(FilledField {
                    pointer: pointer.to_owned(),
                    live_pointer: live_pointer.to_owned(),
                    manager: owner.manager.to_owned(),
                });
            }
        }
        _ => {}
    }
}

/// Returns the index of the live item of the same `name`, or of the same place if the item has no
/// name.
fn same_item(item: &Value, live: &[Value], at: usize) -> Option<usize> {
    match item.get("name") {
        Some(name) => live.iter().position(|live| live.get("name") == Some(name)),
        None => Some(at),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Object {
        Object(value.as_object().unwrap().clone())
    }

    #[test]
    fn placeholders_of_known_places_are_not_sent() {
        let certificate =
            STANDARD.encode("-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n");
        let webhooks = |bundle: &str| {
            object(json!({
                "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
                "webhooks": [{"name": "a", "clientConfig": {"caBundle": bundle}}],
            }))
        };
        for placeholder in ["", "Cg==", "nonsense", "Y2E="] {
            let mut sent = webhooks(placeholder);
            assert_eq!(remove(&mut sent), ["webhooks[0].clientConfig.caBundle"]);
            assert_eq!(sent.0["webhooks"][0]["clientConfig"], json!({}));
        }
        assert!(remove(&mut webhooks(&certificate)).is_empty());
        let mut service = object(
            json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
            "spec": {"caBundle": "", "group": "g"}}),
        );
        assert_eq!(remove(&mut service), ["spec.caBundle"]);
        let role = |aggregated: Value| {
            object(
                json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
                "aggregationRule": aggregated, "rules": []}),
            )
        };
        assert_eq!(
            remove(&mut role(json!({"clusterRoleSelectors": []}))),
            ["rules"]
        );
        assert!(remove(&mut role(Value::Null)).is_empty());
    }

    #[test]
    fn what_controllers_have_filled_is_found_and_what_people_have_changed_is_not() {
        let wanted = object(
            json!({"kind": "Issuer", "metadata": {"annotations": {"a": ""}},
            "spec": {"ca": "", "list": [], "mode": "x", "hooks": [{"name": "b", "ca": ""}]}}),
        );
        let live = |manager: &str| {
            object(
                json!({"kind": "Issuer", "metadata": {"annotations": {"a": "filled"}, "managedFields": [
                {"manager": manager, "operation": "Update", "fieldsV1": {
                    "f:metadata": {"f:annotations": {"f:a": {}}},
                    "f:spec": {"f:ca": {}, "f:list": {}, "f:mode": {},
                        "f:hooks": {"k:{\"name\":\"b\"}": {"f:ca": {}}}}}}]},
                "spec": {"ca": "filled", "list": [1], "mode": "y",
                    "hooks": [{"name": "a"}, {"name": "b", "ca": "filled"}]}}),
            )
        };
        let policy = FieldPolicy::default();
        let found = filled_by_others(&wanted, &live("cainjector"), &policy);
        let pointers: Vec<_> = found
            .iter()
            .map(|one| (one.pointer.as_str(), one.live_pointer.as_str()))
            .collect();
        assert_eq!(
            pointers,
            [
                ("/spec/ca", "/spec/ca"),
                ("/spec/list", "/spec/list"),
                ("/spec/hooks/0/ca", "/spec/hooks/1/ca")
            ]
        );
        assert!(filled_by_others(&wanted, &live("kubectl-edit"), &policy).is_empty());
        assert!(filled_by_others(&wanted, &live(&policy.manager), &policy).is_empty());
    }
}
