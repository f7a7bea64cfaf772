//! Members that exclude each other: an edit from one to another is made, whoever has set the first.

use http::Method;
use serde_json::{Value, json};

use super::adoption::{assert_settles, yaml};
use crate::support::cluster::ClusterFixture;
use crate::support::parts::apiserver::{ApiProxy, RecordedRequest};
use crate::support::parts::testbed;

/// An edit of a manifest, and what another client does in between.
struct Edit {
    path: String,
    before: Value,
    /// Merge patch that another client sends; null for none.
    meanwhile: Value,
    after: Value,
}

/// Plans and applies the edit, and applies the plan again.
async fn assert_made(fixture: &ClusterFixture, edit: Edit) {
    let Edit {
        path,
        before,
        meanwhile,
        after,
    } = edit;
    let object = format!("{path}/{}", before["metadata"]["name"].as_str().unwrap());
    let wait = ["--deploy-wait", "false"];
    fixture.apply("web", &yaml(&before), &wait).expect_code(0);
    if !meanwhile.is_null() {
        fixture
            .merge(&format!("{object}?fieldManager=kubectl-edit"), meanwhile)
            .await;
    }
    let (file, saved) = (fixture.manifest(&yaml(&after)), fixture.path("plan"));
    let plan = ["plan", "-f", &file, "--component", "web", "--out", &saved];
    fixture.run(&plan).expect_code(2);
    for _ in 0..2 {
        fixture
            .run(&["apply", &saved, "--deploy-wait", "false"])
            .expect_code(0);
    }
    assert_settles(fixture, &yaml(&after), std::slice::from_ref(&object)).await;
    fixture.tear_down("web", &[]).expect_code(0);
}

fn workload(kind: &str, more: Value) -> Value {
    let mut object = json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "m"}, "spec": {
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    if kind == "Deployment" {
        object["spec"]["replicas"] = 0.into();
    }
    merge(&mut object["spec"], more);
    object
}

fn merged(mut into: Value, from: Value) -> Value {
    merge(&mut into, from);
    into
}

fn merge(into: &mut Value, from: Value) {
    match from {
        Value::Object(from) => from
            .into_iter()
            .for_each(|(key, value)| merge(&mut into[key], value)),
        from => *into = from,
    }
}

/// A Deployment with members in its only container.
fn with_container(members: Value) -> Value {
    let mut object = workload("Deployment", json!({}));
    merge(
        &mut object["spec"]["template"]["spec"]["containers"][0],
        members,
    );
    object
}

#[tokio::test]
async fn strategies_change_although_the_server_has_defaulted_the_old_one() {
    let fixture = ClusterFixture::new().await;
    for (kind, plural, after) in [
        (
            "Deployment",
            "deployments",
            json!({"strategy": {"type": "Recreate"}}),
        ),
        (
            "Deployment",
            "deployments",
            json!({"strategy": {"type": "Recreate", "rollingUpdate": null}}),
        ),
        (
            "StatefulSet",
            "statefulsets",
            json!({"updateStrategy": {"type": "OnDelete"}}),
        ),
        (
            "DaemonSet",
            "daemonsets",
            json!({"updateStrategy": {"type": "OnDelete"}}),
        ),
    ] {
        let edit = Edit {
            path: format!("/apis/apps/v1/namespaces/{}/{plural}", fixture.namespace),
            before: workload(kind, json!({})),
            meanwhile: Value::Null,
            after: workload(kind, after),
        };
        assert_made(&fixture, edit).await;
    }
}

/// The server fills `serviceAccountName` again from its old name, which nobody owns.
#[tokio::test]
async fn a_service_account_that_the_manifest_drops_is_dropped() {
    let fixture = ClusterFixture::new().await;
    let namespace = &fixture.namespace;
    let pod = json!({"containers": [{"name": "c", "image": "i"}]});
    let with_account = |mut pod: Value| {
        pod["serviceAccountName"] = "old".into();
        pod
    };
    let deployment = |pod: Value| {
        workload(
            "Deployment",
            json!({"template": {"metadata": {"labels": {"a": "b"}}, "spec": pod}}),
        )
    };
    let job = |pod: Value| {
        json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "m"},
        "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": {"spec": merged(pod, json!({"restartPolicy": "Never"}))}}}}})
    };
    let edits = [
        (
            format!("/apis/apps/v1/namespaces/{namespace}/deployments"),
            deployment(with_account(pod.clone())),
            deployment(pod.clone()),
        ),
        (
            format!("/apis/batch/v1/namespaces/{namespace}/cronjobs"),
            job(with_account(pod.clone())),
            job(pod.clone()),
        ),
    ];
    for (path, before, after) in edits {
        let object = format!("{path}/m");
        let wait = ["--deploy-wait", "false"];
        fixture.apply("web", &yaml(&before), &wait).expect_code(0);
        assert!(
            fixture
                .get(&object)
                .await
                .to_string()
                .contains("\"serviceAccount\":\"old\"")
        );
        let file = fixture.manifest(&yaml(&after));
        let planned = fixture
            .run(&["plan", "-f", &file, "--component", "web"])
            .expect_code(2);
        assert!(
            planned.out.contains("serviceAccountName: old"),
            "{}",
            planned.out
        );
        fixture.apply("web", &yaml(&after), &wait).expect_code(0);
        assert!(
            !fixture
                .get(&object)
                .await
                .to_string()
                .contains("serviceAccount")
        );
        assert_settles(&fixture, &yaml(&after), std::slice::from_ref(&object)).await;
        fixture.tear_down("web", &[]).expect_code(0);
    }
}

/// A merge patch would overwrite what another client has changed since.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_patch_of_a_union_names_the_version_that_was_read() {
    let (fixture, proxy) = (ClusterFixture::new().await, ApiProxy::start().await);
    let wait = ["--deploy-wait", "false"];
    let before = yaml(&workload("Deployment", json!({})));
    fixture.apply("web", &before, &wait).expect_code(0);
    std::fs::write(fixture.path("kubeconfig"), proxy.kubeconfig()).unwrap();
    let recreate = json!({"strategy": {"type": "Recreate"}});
    let after = yaml(&workload("Deployment", recreate));
    fixture.apply("web", &after, &wait).expect_code(0);
    let requests = proxy.take();
    let is_patch = |one: &&RecordedRequest| {
        let strategy = one.body.pointer("/spec/strategy");
        one.method == Method::PATCH
            && !one.is_dry_run()
            && strategy.is_some_and(|strategy| strategy.get("rollingUpdate").is_some())
    };
    let patches: Vec<_> = requests.iter().filter(is_patch).collect();
    assert!(!patches.is_empty());
    for patch in patches {
        let version = &patch.body["metadata"]["resourceVersion"];
        assert!(version.is_string(), "{}", patch.body);
    }
}

#[tokio::test]
async fn members_of_pods_change_although_another_client_has_set_them() {
    let fixture = ClusterFixture::new().await;
    let volume = |source: Value| {
        let mut volume = json!({"name": "v"});
        merge(&mut volume, source);
        workload(
            "Deployment",
            json!({"template": {"spec": {"volumes": [volume]}}}),
        )
    };
    let edited = |members: Value| {
        let mut container = json!({"name": "c", "image": "i"});
        merge(&mut container, members);
        json!({"spec": {"template": {"spec": {"containers": [container]}}}})
    };
    let env = |member: &str, value: Value| json!({"env": [{"name": "A", member: value}]});
    let reference = json!({"configMapKeyRef": {"name": "c", "key": "k"}});
    let hook = |handler: Value| json!({"lifecycle": {"preStop": handler}});
    let probe = |handler: Value| json!({"livenessProbe": handler});
    let cases = [
        (
            volume(json!({})),
            Value::Null,
            volume(json!({"configMap": {"name": "c"}})),
        ),
        (
            volume(json!({"configMap": {"name": "c"}})),
            json!({"spec": {"template": {"spec": {"volumes": [{"name": "v", "secret": {"secretName": "s"}}]}}}}),
            volume(json!({"configMap": {"name": "d"}})),
        ),
        (
            with_container(env("value", "x".into())),
            edited(env("valueFrom", reference.clone())),
            with_container(env("value", "y".into())),
        ),
        (
            with_container(env("valueFrom", reference)),
            edited(env(
                "valueFrom",
                json!({"fieldRef": {"fieldPath": "metadata.name"}}),
            )),
            with_container(env(
                "valueFrom",
                json!({"secretKeyRef": {"name": "c", "key": "k"}}),
            )),
        ),
        (
            with_container(probe(json!({"httpGet": {"path": "/", "port": 80}}))),
            edited(probe(json!({"exec": {"command": ["x"]}}))),
            with_container(probe(json!({"tcpSocket": {"port": 80}}))),
        ),
        (
            with_container(hook(json!({"exec": {"command": ["x"]}}))),
            edited(hook(json!({"sleep": {"seconds": 1}}))),
            with_container(hook(json!({"httpGet": {"path": "/", "port": 80}}))),
        ),
    ];
    for (before, meanwhile, after) in cases {
        let path = format!("/apis/apps/v1/namespaces/{}/deployments", fixture.namespace);
        assert_made(
            &fixture,
            Edit {
                path,
                before,
                meanwhile,
                after,
            },
        )
        .await;
    }
}

#[tokio::test]
async fn members_of_other_kinds_change_although_another_client_has_set_them() {
    let fixture = ClusterFixture::new().await;
    let name = &fixture.namespace;
    let of = |api_version: &str, kind: &str, spec: Value| json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "m"}, "spec": spec});
    let budget = |member: &str| {
        of(
            "policy/v1",
            "PodDisruptionBudget",
            json!({"selector": {"matchLabels": {"a": "b"}}, member: 1}),
        )
    };
    let backend = |backend: Value| {
        of(
            "networking.k8s.io/v1",
            "Ingress",
            json!({"defaultBackend": backend}),
        )
    };
    let service = json!({"service": {"name": "s", "port": {"number": 80}}});
    let resource = json!({"resource": {"apiGroup": "a.test", "kind": "B", "name": "b"}});
    let ports = json!([{"port": 80, "protocol": "TCP", "targetPort": 80}]);
    let of_type = |kind: &str| {
        let mut spec = json!({"type": kind, "selector": {"a": "b"}, "ports": ports});
        if kind == "ExternalName" {
            spec["externalName"] = "a.test".into();
        }
        of("v1", "Service", spec)
    };
    let services = format!("/api/v1/namespaces/{name}/services");
    let mut edits = vec![
        Edit {
            path: format!("/apis/policy/v1/namespaces/{name}/poddisruptionbudgets"),
            before: budget("minAvailable"),
            meanwhile: json!({"spec": {"minAvailable": null, "maxUnavailable": 2}}),
            after: budget("minAvailable"),
        },
        Edit {
            path: format!("/apis/networking.k8s.io/v1/namespaces/{name}/ingresses"),
            before: backend(service.clone()),
            meanwhile: json!({"spec": {"defaultBackend": {"service": null, "resource": resource["resource"]}}}),
            after: backend(service),
        },
        Edit {
            path: services.clone(),
            before: of_type("ClusterIP"),
            meanwhile: json!({"spec": {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "loadBalancerClass": "a.test/b"}}),
            after: of_type("ClusterIP"),
        },
    ];
    let types = ["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"];
    for before in types {
        for after in types.into_iter().filter(|after| *after != before) {
            edits.push(Edit {
                path: services.clone(),
                before: of_type(before),
                meanwhile: Value::Null,
                after: of_type(after),
            });
        }
    }
    for edit in edits {
        assert_made(&fixture, edit).await;
    }
}

#[tokio::test]
async fn a_conversion_is_switched_off_although_an_injector_has_filled_its_certificate() {
    let fixture = ClusterFixture::new().await;
    let group = format!("{}.test", fixture.namespace);
    let webhook = json!({"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"],
        "clientConfig": {"service": {"name": "s", "namespace": "n", "path": "/c", "port": 443}}}});
    let definition = |conversion: Value| {
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("unions.{group}")},
            "spec": {"group": group, "scope": "Namespaced", "conversion": conversion,
                "names": {"kind": "Union", "plural": "unions"},
                "versions": [{"name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": {"type": "object"}}}]}})
    };
    let kubeconfig = testbed().kubeconfig();
    let bundle = kubeconfig.split("certificate-authority-data: ").nth(1);
    let bundle = bundle
        .and_then(|text| text.split(['\n', '}', ',']).next())
        .unwrap();
    let edit = Edit {
        path: "/apis/apiextensions.k8s.io/v1/customresourcedefinitions".into(),
        before: definition(webhook),
        meanwhile: json!({"spec": {"conversion": {"webhook": {"clientConfig": {"caBundle": bundle}}}}}),
        after: definition(json!({"strategy": "None"})),
    };
    assert_made(&fixture, edit).await;
}
