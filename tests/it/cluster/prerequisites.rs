//! A deploy that waits for more than its objects' readiness says for what, and fails with the reason.

use serde_json::{Value, json};

use super::adoption::yaml;
use crate::support::cluster::{ClusterFixture, CommandOutput};

fn definition(fixture: &ClusterFixture, plural: &str) -> Value {
    let group = format!("{}.test", fixture.namespace);
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {"group": group, "scope": "Namespaced", "names": {"kind": "Same", "plural": plural},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object"}}}]}})
}

#[tokio::test]
async fn a_crd_whose_names_are_taken_is_told_and_fails() {
    let fixture = ClusterFixture::new().await;
    let (first, second) = (
        definition(&fixture, "firsts"),
        definition(&fixture, "seconds"),
    );
    fixture.apply("first", &yaml(&first), &[]).expect_code(0);
    let limit = ["--deploy-wait-timeout", "7s"];
    let applied = fixture.apply("web", &yaml(&second), &limit).expect_code(1);
    let waited = "to be established: ";
    assert!(applied.err.contains(waited), "{}", applied.err);
    let reason = "it is not established: ";
    assert!(
        applied.err.contains(reason) && applied.err.contains("already in use"),
        "{}",
        applied.err
    );
    fixture.tear_down("web", &[]).expect_code(0);
    fixture.tear_down("first", &[]).expect_code(0);
}

#[tokio::test]
async fn a_deletion_says_what_it_waits_for() {
    let fixture = ClusterFixture::new().await;
    let namespace = format!("{}-stuck", fixture.namespace);
    let home = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata":
        {"name": "m", "namespace": namespace, "finalizers": ["example.test/stuck"]}});
    fixture
        .apply("web", &(yaml(&home) + &yaml(&map)), &[])
        .expect_code(0);
    let child = fixture.start(&[
        "delete",
        "--yes",
        "--component",
        "web",
        "--deploy-wait-timeout",
        "12s",
    ]);
    let torn = CommandOutput::wait(child).await.expect_code(1);
    let words = format!(
        "waiting for ConfigMap/{namespace}/m to be gone: it waits for the finalizers example.test/stuck"
    );
    assert!(torn.err.contains(&words), "{}", torn.err);
    let path = format!("/api/v1/namespaces/{namespace}/configmaps/m");
    fixture
        .merge(&path, json!({"metadata": {"finalizers": null}}))
        .await;
    fixture.tear_down("web", &[]).expect_code(0);
}
