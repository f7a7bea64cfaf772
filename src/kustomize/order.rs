//! The order in which kustomize prints objects: by kind, then by id.

use serde_json::{Map, Value};

use crate::manifest::order::rank;

const FIRST: [&str; 22] = [
    "Namespace",
    "ResourceQuota",
    "StorageClass",
    "CustomResourceDefinition",
    "ServiceAccount",
    "PodSecurityPolicy",
    "Role",
    "ClusterRole",
    "RoleBinding",
    "ClusterRoleBinding",
    "ConfigMap",
    "Secret",
    "Endpoints",
    "Service",
    "LimitRange",
    "PriorityClass",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "Deployment",
    "StatefulSet",
    "CronJob",
    "PodDisruptionBudget",
];

const LAST: [&str; 2] = ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"];

/// Sorts objects as `kustomize build` prints them by default.
pub fn legacy(objects: &mut [Map<String, Value>]) {
    objects.sort_by_cached_key(|object| {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        let kind = text(object.get("kind"));
        let api_version = text(object.get("apiVersion"));
        let (group, version) = match api_version.split_once('/') {
            Some((group, version)) => (group.to_owned(), version.to_owned()),
            None => (String::new(), api_version),
        };
        let metadata = object.get("metadata");
        let name = text(metadata.and_then(|metadata| metadata.get("name")));
        let namespace = text(metadata.and_then(|metadata| metadata.get("namespace")));
        let named = |text: &str, none: &str| if text.is_empty() { none.to_owned() } else { text.to_owned() };
        let id = format!("{}_{}_{kind}", named(&group, "~G"), named(&version, "~V"));
        (rank(&kind, &FIRST, &LAST), id, named(&namespace, "~X"), name)
    });
}
