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
    objects.sort_by_cached_key(|object| {
        let (rank, group, kind, namespace, name) = key(object);
        let owned = [group, kind, namespace, name].map(str::to_owned);
        (rank, owned)
    });
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(api_version: &str, kind: &str, namespace: &str, name: &str) -> Object {
        let value = json!({"apiVersion": api_version, "kind": kind,
            "metadata": {"name": name, "namespace": namespace}});
        Object(value.as_object().unwrap().clone())
    }

    #[test]
    fn kinds_that_others_need_come_first_and_webhooks_last() {
        let mut objects = [
            object(
                "admissionregistration.k8s.io/v1",
                "ValidatingWebhookConfiguration",
                "",
                "v",
            ),
            object("example.com/v1", "Widget", "a", "w"),
            object("apps/v1", "Deployment", "b", "web"),
            object("apps/v1", "Deployment", "a", "web"),
            object("v1", "Service", "a", "web"),
            object("v1", "Namespace", "", "a"),
            object(
                "apiextensions.k8s.io/v1",
                "CustomResourceDefinition",
                "",
                "widgets",
            ),
        ];
        sort(&mut objects);
        let ids = objects.map(|object| object.id().to_string());
        let expected = [
            "CustomResourceDefinition/widgets",
            "Namespace/a",
            "Service/a/web",
            "Deployment/a/web",
            "Deployment/b/web",
            "Widget/a/w",
            "ValidatingWebhookConfiguration/v",
        ];
        assert_eq!(ids, expected);
    }

    #[test]
    fn objects_that_compare_equal_keep_their_order() {
        let first = object("apps/v1", "Deployment", "a", "web");
        let mut second = first.clone();
        second.0.insert("spec".into(), json!({}));
        let mut objects = [second.clone(), first.clone()];
        sort(&mut objects);
        assert_eq!(objects, [second, first]);
    }
}
