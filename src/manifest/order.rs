//! The order of objects in an artifact: by kind as Flux sorts them, then by group, kind, namespace
//! and name. Objects that compare equal keep their order.

use super::Object;

/// Kinds that come first, in this order.
const FIRST: [&str; 23] = [
    "CustomResourceDefinition",
    "Namespace",
    "ClusterRole",
    "ClusterClass",
    "RuntimeClass",
    "PriorityClass",
    "StorageClass",
    "VolumeSnapshotClass",
    "IngressClass",
    "GatewayClass",
    "ClusterRoleBinding",
    "ResourceQuota",
    "ServiceAccount",
    "Role",
    "RoleBinding",
    "ConfigMap",
    "Secret",
    "Service",
    "LimitRange",
    "Deployment",
    "StatefulSet",
    "CronJob",
    "PodDisruptionBudget",
];

/// Kinds that come last, in this order.
const LAST: [&str; 2] = [
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
];

/// Sorts objects for an artifact. The sort is stable.
pub fn sort(objects: &mut [Object]) {
    objects.sort_by(compare);
}

/// Compares two objects by their order in an artifact.
pub fn compare(a: &Object, b: &Object) -> std::cmp::Ordering {
    key(a).cmp(&key(b))
}

fn key(object: &Object) -> (usize, &str, &str, &str, &str) {
    (
        rank(object.kind(), &FIRST, &LAST),
        object.group(),
        object.kind(),
        object.namespace(),
        object.name(),
    )
}

/// Returns the position of a kind, given the kinds that come before and after all others.
pub fn rank<T: AsRef<str>>(kind: &str, first: &[T], last: &[T]) -> usize {
    if let Some(place) = first.iter().position(|first| first.as_ref() == kind) {
        return place;
    }
    match last.iter().position(|last| last.as_ref() == kind) {
        Some(place) => first.len() + 1 + place,
        None => first.len(),
    }
}
