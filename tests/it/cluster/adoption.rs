//! Objects whose fields earlier managers have: plans tell what an apply does, edits are possible,
//! and what is done stays done.

use serde_json::{Value, json};

use crate::support::cluster::ClusterFixture;

/// Creates an object as `kubectl apply` (client-side) would.
async fn create_as(fixture: &ClusterFixture, manager: &str, path: &str, object: &Value) {
    fixture
        .create(&format!("{path}?fieldManager={manager}"), object.clone())
        .await;
}

const MANAGERS: [&str; 3] = [
    "kubectl-client-side-apply",
    "before-first-apply",
    "kube-apply",
];

/// Applies objects, and checks that then neither a plan nor a second apply finds anything, nor is
/// anything written.
pub async fn assert_settles(fixture: &ClusterFixture, manifest: &str, paths: &[String]) {
    let wait = ["--deploy-wait", "false"];
    for round in 0..2 {
        fixture.apply("web", manifest, &wait).expect_code(0);
        let before = own_fields(fixture, paths).await;
        for _ in 0..2 {
            let plan = fixture.plan("web", manifest);
            assert_eq!(plan["changes"], json!([]), "round {round}: {plan:#}");
        }
        fixture.apply("web", manifest, &wait).expect_code(0);
        assert_eq!(own_fields(fixture, paths).await, before, "round {round}");
    }
}

/// The field managers of each object, without those of the status, which controllers write.
async fn own_fields(fixture: &ClusterFixture, paths: &[String]) -> Vec<Value> {
    let mut all = Vec::new();
    for path in paths {
        let object = fixture.get(path).await;
        let entries = object["metadata"]["managedFields"].as_array();
        let entries = entries.cloned().unwrap_or_default();
        let of_spec = |entry: &Value| entry["subresource"].is_null();
        all.push(entries.into_iter().filter(of_spec).collect());
    }
    all
}

pub fn yaml(object: &Value) -> String {
    format!("{object}\n---\n")
}

/// Minimal objects of the built-in kinds, with the path of their collection.
fn minimal(namespace: &str) -> Vec<(String, Value)> {
    let pod = json!({"containers": [{"name": "c", "image": "i"}]});
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": pod});
    let selected = json!({"selector": {"matchLabels": {"a": "b"}}, "template": template});
    let job = json!({"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}});
    let port = json!({"ports": [{"port": 80}]});
    let claim =
        json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"});
    let mut objects = Vec::new();
    let mut add = |group: &str, plural: &str, kind: &str, members: Value| {
        let (root, version) = match group {
            "" => ("/api/v1".to_owned(), "v1".to_owned()),
            group => (format!("/apis/{group}"), group.to_owned()),
        };
        let mut object = json!({"apiVersion": version, "kind": kind, "metadata": {"name": "m"}});
        for (member, value) in members.as_object().unwrap() {
            object[member] = value.clone();
        }
        objects.push((format!("{root}/namespaces/{namespace}/{plural}"), object));
    };
    for (plural, kind) in [
        ("secrets", "Secret"),
        ("configmaps", "ConfigMap"),
        ("serviceaccounts", "ServiceAccount"),
    ] {
        add("", plural, kind, json!({}));
    }
    add("", "services", "Service", json!({"spec": port}));
    add("", "pods", "Pod", json!({"spec": pod}));
    add(
        "",
        "persistentvolumeclaims",
        "PersistentVolumeClaim",
        json!({"spec": claim}),
    );
    add(
        "",
        "resourcequotas",
        "ResourceQuota",
        json!({"spec": {"hard": {"pods": "100"}}}),
    );
    add(
        "",
        "limitranges",
        "LimitRange",
        json!({"spec": {"limits": [{"type": "PersistentVolumeClaim", "max": {"storage": "100Ti"}}]}}),
    );
    for (plural, kind) in [
        ("deployments", "Deployment"),
        ("statefulsets", "StatefulSet"),
        ("daemonsets", "DaemonSet"),
        ("replicasets", "ReplicaSet"),
    ] {
        add("apps/v1", plural, kind, json!({"spec": selected}));
    }
    add("batch/v1", "jobs", "Job", json!({"spec": job}));
    add(
        "batch/v1",
        "cronjobs",
        "CronJob",
        json!({"spec": {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": job}}}),
    );
    add("rbac.authorization.k8s.io/v1", "roles", "Role", json!({}));
    add(
        "rbac.authorization.k8s.io/v1",
        "rolebindings",
        "RoleBinding",
        json!({"roleRef": role}),
    );
    add(
        "networking.k8s.io/v1",
        "networkpolicies",
        "NetworkPolicy",
        json!({"spec": {"podSelector": {}}}),
    );
    add(
        "networking.k8s.io/v1",
        "ingresses",
        "Ingress",
        json!({"spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}}),
    );
    add(
        "policy/v1",
        "poddisruptionbudgets",
        "PodDisruptionBudget",
        json!({"spec": {"selector": {}}}),
    );
    add(
        "autoscaling/v2",
        "horizontalpodautoscalers",
        "HorizontalPodAutoscaler",
        json!({"spec": {"maxReplicas": 2, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "none"}}}),
    );
    add("coordination.k8s.io/v1", "leases", "Lease", json!({}));
    objects
}

#[tokio::test]
async fn minimal_objects_of_all_kinds_settle_whoever_made_them() {
    for manager in [None].into_iter().chain(MANAGERS.map(Some)) {
        let fixture = ClusterFixture::new().await;
        let name = &fixture.namespace;
        let home = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        let mut manifest = yaml(&home);
        let mut paths = vec![format!("/api/v1/namespaces/{name}")];
        for (path, object) in minimal(name) {
            if let Some(manager) = manager {
                create_as(&fixture, manager, &path, &object).await;
            }
            manifest.push_str(&yaml(&object));
            paths.push(format!("{path}/m"));
        }
        assert_settles(&fixture, &manifest, &paths).await;
    }
}

#[tokio::test]
async fn edits_of_adopted_objects_are_planned_and_made() {
    let fixture = ClusterFixture::new().await;
    let name = &fixture.namespace;
    let container = |more: Value| {
        let mut container = json!({"name": "c", "image": "i"});
        for (member, value) in more.as_object().unwrap() {
            container[member] = value.clone();
        }
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "m"}, "spec": {
            "replicas": 0, "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container]}}}})
    };
    let volume = |source: Value| {
        let mut object = container(json!({}));
        let mut volume = source;
        volume["name"] = "v".into();
        object["spec"]["template"]["spec"]["volumes"] = json!([volume]);
        object
    };
    let service = |port: u16| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "m"},
            "spec": {"ports": [{"name": "http", "port": port}], "selector": {"a": "b"}}})
    };
    let budget = |member: &str| {
        json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "m"},
            "spec": {"selector": {"matchLabels": {"a": "b"}}, member: 1}})
    };
    let deployments = format!("/apis/apps/v1/namespaces/{name}/deployments");
    let secret = json!({"secretKeyRef": {"name": "s", "key": "k"}});
    let cases = [
        (
            format!("/api/v1/namespaces/{name}/services"),
            service(80),
            service(81),
        ),
        (
            deployments.clone(),
            container(json!({"env": [{"name": "A", "value": "x"}]})),
            container(json!({"env": [{"name": "A", "valueFrom": secret}]})),
        ),
        (
            deployments.clone(),
            container(json!({"livenessProbe": {"httpGet": {"path": "/", "port": 80}}})),
            container(json!({"livenessProbe": {"tcpSocket": {"port": 80}}})),
        ),
        (
            deployments.clone(),
            container(json!({"ports": [{"name": "http", "containerPort": 80}]})),
            container(json!({"ports": [{"name": "http", "containerPort": 81}]})),
        ),
        (
            deployments,
            volume(json!({"emptyDir": {}})),
            volume(json!({"configMap": {"name": "c"}})),
        ),
        (
            format!("/apis/policy/v1/namespaces/{name}/poddisruptionbudgets"),
            budget("minAvailable"),
            budget("maxUnavailable"),
        ),
    ];
    for (path, before, after) in cases {
        create_as(&fixture, MANAGERS[0], &path, &before).await;
        let file = fixture.manifest(&yaml(&after));
        let saved = fixture.path("plan");
        let arguments = ["plan", "-f", &file, "--component", "web", "--out", &saved];
        fixture.run(&arguments).expect_code(2);
        for _ in 0..2 {
            fixture
                .run(&["apply", &saved, "--deploy-wait", "false"])
                .expect_code(0);
        }
        let path = format!("{path}/m");
        assert_settles(&fixture, &yaml(&after), std::slice::from_ref(&path)).await;
        fixture.tear_down("web", &[]);
        if !fixture.get(&path).await.is_null() {
            fixture.delete(&path).await;
        }
    }
}

#[tokio::test]
async fn defaults_of_adopted_objects_are_not_shown_as_removed() {
    let fixture = ClusterFixture::new().await;
    let path = format!("/api/v1/namespaces/{}/services", fixture.namespace);
    let service = |selector: Value| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "m"},
            "spec": {"ports": [{"port": 80}], "selector": selector}})
    };
    // An update notes the server's defaults as the manager's.
    create_as(
        &fixture,
        MANAGERS[0],
        &path,
        &service(json!({"a": "b", "old": "x"})),
    )
    .await;
    let plan = fixture.plan("web", &yaml(&service(json!({"a": "b"}))));
    let entries = plan["changes"][0]["entries"].as_array();
    let entries = entries.unwrap_or_else(|| panic!("{plan:#}"));
    assert_eq!(entries.len(), 1, "{plan:#}");
    assert_eq!(entries[0]["path"], "spec.selector.old");
}
