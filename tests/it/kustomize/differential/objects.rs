//! Objects of many kinds that refer to each other.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use serde_json::{Value, json};

pub const NAMES: [&str; 6] = ["web", "api", "db", "settings", "creds", "worker"];
pub const IMAGES: [&str; 5] = [
    "nginx:1.19",
    "registry.local:5000/app",
    "busybox@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    "app:v1",
    "quay.io/org/tool:2",
];

/// Returns a random item.
pub fn pick<'a, T: ?Sized>(rng: &mut StdRng, of: &[&'a T]) -> &'a T {
    of.choose(rng).unwrap()
}

fn scalar(rng: &mut StdRng) -> Value {
    match rng.random_range(0..12) {
        0 => "y".into(),
        1 => "1e3".into(),
        2 => "two words, and: more".into(),
        3 => "line\nanother  line \n  deeper\n".into(),
        4 => "".into(),
        5 => "a text that is so long that it goes on beyond the eightieth column of a line, where \
              it is folded"
            .into(),
        6 => "é \u{1F600} \u{2028}".into(),
        7 => "0x1F".into(),
        8 => "2020-01-01".into(),
        9 => " leading".into(),
        10 => "$(HOST)-x".into(),
        _ => "plain".into(),
    }
}

fn container(rng: &mut StdRng, name: &str) -> Value {
    let mut container = json!({"name": name, "image": pick(rng, &IMAGES)});
    if rng.random_bool(0.5) {
        container["env"] = json!([
            {"name": "FROM_CONF", "valueFrom": {"configMapKeyRef": {"name": pick(rng, &NAMES), "key": "a"}}},
            {"name": "PLAIN", "value": scalar(rng)},
        ]);
    }
    if rng.random_bool(0.4) {
        container["envFrom"] = json!([{"configMapRef": {"name": pick(rng, &NAMES)}}, {"secretRef": {"name": pick(rng, &NAMES)}}]);
    }
    if rng.random_bool(0.3) {
        container["ports"] = json!([{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 443, "name": "tls"}]);
    }
    if rng.random_bool(0.3) {
        container["args"] = json!(["--host", "$(HOST)", "$(PORT)"]);
    }
    if rng.random_bool(0.2) {
        container["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    }
    if rng.random_bool(0.2) {
        container["resources"] = json!({"limits": {"cpu": 0.5, "memory": "1Gi"}});
    }
    container
}

fn pod(rng: &mut StdRng) -> Value {
    let mut containers = vec![container(rng, "main")];
    if rng.random_bool(0.4) {
        containers.push(container(rng, "side"));
    }
    let mut pod = json!({"containers": containers});
    if rng.random_bool(0.3) {
        pod["initContainers"] = json!([container(rng, "prep")]);
    }
    if rng.random_bool(0.4) {
        pod["volumes"] = json!([
            {"name": "data", "configMap": {"name": pick(rng, &NAMES)}},
            {"name": "key", "secret": {"secretName": pick(rng, &NAMES)}},
            {"name": "claim", "persistentVolumeClaim": {"claimName": pick(rng, &NAMES)}},
        ]);
    }
    if rng.random_bool(0.3) {
        pod["serviceAccountName"] = json!(pick(rng, &NAMES));
    }
    if rng.random_bool(0.2) {
        pod["topologySpreadConstraints"] = json!([{"topologyKey": "zone", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "a"}}}]);
    }
    pod
}

fn template(rng: &mut StdRng, name: &str) -> Value {
    json!({"metadata": {"labels": {"app": name}}, "spec": pod(rng)})
}

/// Generates an object of a kind.
pub fn object(rng: &mut StdRng, kind: &str, name: &str) -> Value {
    let mut object = match kind {
        "Deployment" | "DaemonSet" | "ReplicaSet" => json!({"apiVersion": "apps/v1", "spec": {
            "selector": {"matchLabels": {"app": name}}, "template": template(rng, name)}}),
        "StatefulSet" => json!({"apiVersion": "apps/v1", "spec": {
            "serviceName": pick(rng, &NAMES), "selector": {"matchLabels": {"app": name}}, "template": template(rng, name),
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"storageClassName": pick(rng, &NAMES)}}]}}),
        "Job" => json!({"apiVersion": "batch/v1", "spec": {"template": template(rng, name)}}),
        "CronJob" => {
            json!({"apiVersion": "batch/v1", "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": template(rng, name)}}}})
        }
        "Pod" => json!({"apiVersion": "v1", "spec": pod(rng)}),
        "Service" => {
            json!({"apiVersion": "v1", "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": "http"}, {"port": 443}]}})
        }
        "ConfigMap" => {
            json!({"apiVersion": "v1", "data": {"a": scalar(rng), "b.yaml": "x: 1\ny:\n- z\n", "host": "h.example.org:80"}})
        }
        "Secret" => json!({"apiVersion": "v1", "type": "Opaque", "data": {"p": "czNjcmV0"}}),
        "Ingress" => json!({"apiVersion": "networking.k8s.io/v1", "spec": {
            "tls": [{"hosts": ["h"], "secretName": pick(rng, &NAMES)}],
            "rules": [{"host": "$(HOST)", "http": {"paths": [{"path": "/", "backend": {"service": {"name": pick(rng, &NAMES), "port": {"number": 80}}}}]}}]}}),
        "ServiceAccount" => {
            json!({"apiVersion": "v1", "imagePullSecrets": [{"name": pick(rng, &NAMES)}]})
        }
        "Role" => {
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "rules": [{"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [pick(rng, &NAMES)], "verbs": ["get"]}]})
        }
        "ClusterRole" => json!({"apiVersion": "rbac.authorization.k8s.io/v1", "rules": []}),
        "RoleBinding" => json!({"apiVersion": "rbac.authorization.k8s.io/v1",
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": pick(rng, &["Role", "ClusterRole"]), "name": pick(rng, &NAMES)},
            "subjects": [{"kind": "ServiceAccount", "name": pick(rng, &["default", "web", "api"])}, {"kind": "User", "name": "u"}]}),
        "ClusterRoleBinding" => json!({"apiVersion": "rbac.authorization.k8s.io/v1",
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": pick(rng, &NAMES)},
            "subjects": [{"kind": "ServiceAccount", "name": pick(rng, &NAMES), "namespace": pick(rng, &["default", "team"])}]}),
        "Namespace" => json!({"apiVersion": "v1"}),
        "PersistentVolumeClaim" => {
            json!({"apiVersion": "v1", "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": pick(rng, &NAMES)}})
        }
        "StorageClass" => json!({"apiVersion": "storage.k8s.io/v1", "provisioner": "p"}),
        "HorizontalPodAutoscaler" => {
            json!({"apiVersion": "autoscaling/v2", "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": pick(rng, &NAMES)}}})
        }
        "NetworkPolicy" => {
            json!({"apiVersion": "networking.k8s.io/v1", "spec": {"podSelector": {"matchLabels": {"app": name}}, "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "x"}}}]}]}})
        }
        "PodDisruptionBudget" => {
            json!({"apiVersion": "policy/v1", "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": name}}}})
        }
        "ValidatingWebhookConfiguration" => {
            json!({"apiVersion": "admissionregistration.k8s.io/v1", "webhooks": [{"name": "w.example.org", "clientConfig": {"service": {"name": pick(rng, &NAMES), "namespace": "default"}}}]})
        }
        "Widget" => {
            json!({"apiVersion": "example.org/v1", "spec": {"configRef": {"name": pick(rng, &NAMES)}, "parts": [{"name": "one", "size": 1}, {"name": "two", "size": 2}], "image": "acme/widget:1", "selector": {"a": "b"}}})
        }
        "CustomResourceDefinition" => {
            json!({"apiVersion": "apiextensions.k8s.io/v1", "spec": {"group": "example.org", "names": {"kind": "Widget", "plural": "widgets"}}})
        }
        other => panic!("no kind {other}"),
    };
    let mut metadata = json!({"name": name});
    if rng.random_bool(0.15) {
        metadata["namespace"] = json!(pick(rng, &["team", "default", "other"]));
    }
    if rng.random_bool(0.3) {
        metadata["labels"] = json!({"app": name, "tier": pick(rng, &["front", "back"])});
    }
    if rng.random_bool(0.2) {
        metadata["annotations"] = json!({"note": scalar(rng), "b/c": "$(HOST)"});
    }
    object["kind"] = json!(kind);
    object["metadata"] = metadata;
    // The order in which people write the fields.
    let mut ordered = serde_json::Map::new();
    for key in ["apiVersion", "kind", "metadata"] {
        ordered.insert(key.into(), object[key].clone());
    }
    for (key, value) in object.as_object().unwrap() {
        ordered.entry(key.clone()).or_insert_with(|| value.clone());
    }
    Value::Object(ordered)
}

pub const KINDS: [&str; 24] = [
    "Deployment",
    "Deployment",
    "Service",
    "ConfigMap",
    "ConfigMap",
    "Secret",
    "StatefulSet",
    "DaemonSet",
    "Job",
    "CronJob",
    "Pod",
    "Ingress",
    "ServiceAccount",
    "Role",
    "ClusterRole",
    "RoleBinding",
    "ClusterRoleBinding",
    "Namespace",
    "PersistentVolumeClaim",
    "StorageClass",
    "HorizontalPodAutoscaler",
    "NetworkPolicy",
    "Widget",
    "ValidatingWebhookConfiguration",
];
