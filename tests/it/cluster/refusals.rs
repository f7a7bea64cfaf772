//! What plan and apply say when an object is refused, as text and as JSON.

use serde_json::{Value, json};

use crate::support::cluster::{ClusterFixture, config_map};

/// Returns a ConfigMap with an annotation.
fn annotated(key: &str, value: &str) -> String {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "1"},
        "metadata": {"name": "noted", "annotations": {key: value}}});
    format!("{object}\n---\n")
}

#[tokio::test]
async fn annotations_that_cannot_take_effect_are_refused_before_anything_is_written() {
    let fixture = ClusterFixture::new().await;
    for (key, value, told) in [
        (
            "nuon.co/ready-when",
            "self.status ==",
            "is not a valid CEL expression",
        ),
        (
            "nuon.co/ignore-fields",
            "spec.replicas, /data",
            "not a JSON pointer, which begins with a slash, such as /spec/replicas",
        ),
    ] {
        let manifest = annotated(key, value) + &config_map("other", "1");
        let file = fixture.manifest(&manifest);
        let plan = fixture.run(&["plan", "-f", &file]).expect_code(1);
        assert!(plan.out.contains(told), "{}", plan.out);
        assert!(!plan.out.contains("takes effect"), "{}", plan.out);
        let applied = fixture
            .apply("web", &manifest, &["-o", "json"])
            .expect_code(1);
        assert!(applied.err.contains(told), "{}", applied.err);
        let failure = &applied.json()["failure"];
        assert!(failure.to_string().contains(told), "{failure}");
        assert!(fixture.get(&fixture.config_map("other")).await.is_null());
    }
    let plan = fixture.plan("web", &annotated("nuon.co/recreate", "true"));
    let notes = plan["notes"].to_string();
    let told = "nuon.co/recreate: true has no effect; its only value is allowed";
    assert!(notes.contains(told), "{notes}");
}

#[tokio::test]
async fn the_json_of_a_plan_says_what_is_refused() {
    let fixture = ClusterFixture::new().await;
    let bad =
        "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {ports: [{port: 99999}]}\n---\n";
    let plan = fixture.plan("web", &(bad.to_owned() + &config_map("c", "1")));
    assert_eq!(
        plan["counts"],
        json!({"create": 1, "change": 0, "replace": 0, "delete": 0, "failed": 1})
    );
    let refused = plan["objects"].as_array().unwrap().iter();
    let refused: Vec<&Value> = refused.filter(|one| !one["error"].is_null()).collect();
    assert_eq!(refused.len(), 1, "{plan:#}");
    assert_eq!(refused[0]["checked"], Value::Null);
    assert!(refused[0]["error"].as_str().unwrap().contains("99999"));
}

/// A port that another manager has added without a name makes every edit of the ports invalid.
#[tokio::test]
async fn an_item_of_another_manager_that_blocks_an_edit_is_named() {
    let fixture = ClusterFixture::new().await;
    let service = |ports: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": ports}});
    let first = service(json!([{"port": 80}])).to_string();
    fixture.apply("web", &first, &[]).expect_code(0);
    let path = format!("/api/v1/namespaces/{}/services/s", fixture.namespace);
    let both = json!([{"name": "a", "port": 80}, {"name": "b", "port": 9090}]);
    fixture.apply_as("kubectl-edit", &path, service(both)).await;
    // Without names two ports are invalid.
    fixture
        .merge(
            &format!("{path}?fieldManager=kubectl-edit"),
            json!({"spec": {"ports": [{"name": "a", "port": 80}, {"name": "b", "port": 9090}]}}),
        )
        .await;
    let second = service(json!([{"port": 81}])).to_string();
    let refused = fixture.apply("web", &second, &[]).expect_code(1);
    for told in ["of kubectl-edit", "port: 9090", "deploy.take_over"] {
        assert!(refused.err.contains(told), "{told}: {}", refused.err);
    }
}

#[tokio::test]
async fn a_dry_run_of_a_plan_that_is_applied_finds_nothing() {
    let fixture = ClusterFixture::new().await;
    let file = fixture.manifest(&config_map("c", "1"));
    let saved = fixture.path("plan");
    let arguments = ["plan", "-f", &file, "--component", "web", "--out", &saved];
    fixture.run(&arguments).expect_code(2);
    let dry = fixture
        .run(&["apply", &saved, "--dry-run", "-o", "json"])
        .expect_code(2);
    assert_eq!(dry.json()["counts"]["create"], 1);
    fixture.run(&["apply", &saved]).expect_code(0);
    let dry = fixture.run(&["apply", &saved, "--dry-run"]).expect_code(0);
    assert!(dry.out.contains("nothing would change"), "{}", dry.out);
}

#[tokio::test]
async fn values_of_a_secret_that_are_no_text_are_refused_with_their_place() {
    let fixture = ClusterFixture::new().await;
    for (members, told) in [
        (
            "stringData: {pin: 0777}",
            "stringData.pin: a number, not a text; quote it",
        ),
        (
            "stringData: {flag: yes}",
            "stringData.flag: true or false, not a text",
        ),
        ("data: {port: 5}", "data.port: a number, not a text"),
        ("data: {port: '%'}", "data.port: not base64"),
        ("typ: Opaque", "typ: unknown field"),
        ("data: {'a b': Yg==}", "data[a b] (FieldValueInvalid)"),
    ] {
        let secret = format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\n{members}\n");
        let refused = fixture
            .apply("web", &secret, &["-o", "json"])
            .expect_code(1);
        assert!(refused.err.contains(told), "{members}: {}", refused.err);
        assert!(!refused.json()["failure"].is_null());
    }
    let empty = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {none: }\n";
    fixture.apply("web", empty, &[]).expect_code(0);
    let path = format!("/api/v1/namespaces/{}/secrets/s", fixture.namespace);
    assert_eq!(fixture.get(&path).await["data"], json!({"none": ""}));
}

#[tokio::test]
async fn a_plan_that_no_longer_fits_has_a_json_document() {
    let fixture = ClusterFixture::new().await;
    let file = fixture.manifest(&config_map("c", "1"));
    let saved = fixture.path("plan");
    let arguments = ["plan", "-f", &file, "--component", "web", "--out", &saved];
    fixture.run(&arguments).expect_code(2);
    fixture
        .apply("other", &config_map("c", "2"), &[])
        .expect_code(0);
    let refused = fixture.run(&["apply", &saved, "-o", "json"]).expect_code(3);
    assert!(!refused.json()["failure"].is_null(), "{}", refused.out);
}
