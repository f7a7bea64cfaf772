//! Kinds that change their version, and kinds that the server cannot return for now.

use serde_json::{Value, json};

use super::adoption::yaml;
use crate::support::cluster::ClusterFixture;

const WAIT: [&str; 2] = ["--deploy-wait", "false"];

/// A kind of the fixture's own group.
struct Kind<'a>(&'a ClusterFixture);

impl Kind<'_> {
    fn group(&self) -> String {
        format!("{}.test", self.0.namespace)
    }

    /// Its definition, with these versions: the first is stored.
    fn definition(&self, versions: &[&str], conversion: Value) -> Value {
        let schema = json!({"openAPIV3Schema": {"type": "object",
            "properties": {"spec": {"type": "object", "properties": {"a": {"type": "integer"}}}}}});
        let version = |(at, name): (usize, &&str)| json!({"name": name, "served": true, "storage": at == 0, "schema": schema});
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("changes.{}", self.group())},
            "spec": {"group": self.group(), "scope": "Namespaced", "conversion": conversion,
                "names": {"kind": "Change", "plural": "changes"},
                "versions": versions.iter().enumerate().map(version).collect::<Vec<_>>()}})
    }

    fn object(&self, version: &str, name: &str, a: u32) -> Value {
        json!({"apiVersion": format!("{}/{version}", self.group()), "kind": "Change",
            "metadata": {"name": name}, "spec": {"a": a}})
    }

    fn path(&self, version: &str) -> String {
        format!(
            "/apis/{}/{version}/namespaces/{}/changes",
            self.group(),
            self.0.namespace
        )
    }
}

fn none() -> Value {
    json!({"strategy": "None"})
}

/// A conversion by a webhook that does not exist.
fn broken() -> Value {
    json!({"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"],
        "clientConfig": {"url": "https://127.0.0.1:1/convert"}}})
}

#[tokio::test]
async fn a_kind_and_its_objects_change_their_version_in_one_set() {
    let fixture = ClusterFixture::new().await;
    let kind = Kind(&fixture);
    let old = [
        kind.definition(&["v1"], none()),
        kind.object("v1", "a", 1),
        kind.object("v1", "b", 1),
    ];
    fixture
        .apply("web", &old.iter().map(yaml).collect::<String>(), &WAIT)
        .expect_code(0);
    // This one is of another client.
    fixture
        .create(
            &format!("{}?fieldManager=kubectl", kind.path("v1")),
            kind.object("v1", "c", 1),
        )
        .await;
    let before = fixture.get(&format!("{}/a", kind.path("v1"))).await;

    let new = [
        kind.definition(&["v2", "v1"], none()),
        kind.object("v2", "a", 2),
        kind.object("v2", "c", 2),
    ];
    let manifest: String = new.iter().map(yaml).collect();
    let (file, saved) = (fixture.manifest(&manifest), fixture.path("plan"));
    let planned = fixture
        .run(&["plan", "-f", &file, "--component", "web", "--out", &saved])
        .expect_code(2);
    assert!(
        planned
            .out
            .contains("0 to create, 3 to change, 1 to delete"),
        "{}",
        planned.out
    );
    for _ in 0..2 {
        let applied = fixture
            .run(&["apply", &saved, "--deploy-wait", "false"])
            .expect_code(0);
        assert!(!applied.out.contains("created Change"), "{}", applied.out);
    }
    for name in ["a", "c"] {
        let now = fixture.get(&format!("{}/{name}", kind.path("v2"))).await;
        assert_eq!(now["spec"]["a"], 2, "{now:#}");
    }
    let now = fixture.get(&format!("{}/a", kind.path("v2"))).await;
    assert_eq!(now["metadata"]["uid"], before["metadata"]["uid"]);
    assert!(
        fixture
            .get(&format!("{}/b", kind.path("v2")))
            .await
            .is_null()
    );
    assert_eq!(fixture.plan("web", &manifest)["changes"], json!([]));
    fixture
        .tear_down("web", &["--with-contents"])
        .expect_code(0);
}

#[tokio::test]
async fn a_dropped_version_hides_no_object_from_pruning() {
    let fixture = ClusterFixture::new().await;
    let kind = Kind(&fixture);
    let old = [
        kind.definition(&["v2", "v1"], none()),
        kind.object("v1", "a", 1),
        kind.object("v1", "b", 1),
    ];
    fixture
        .apply("web", &old.iter().map(yaml).collect::<String>(), &WAIT)
        .expect_code(0);
    let mut dropped = kind.definition(&["v2", "v1"], none());
    dropped["spec"]["versions"][1]["served"] = false.into();
    let new = [dropped, kind.object("v2", "a", 1)];
    fixture
        .apply("web", &new.iter().map(yaml).collect::<String>(), &WAIT)
        .expect_code(0);
    assert!(
        fixture
            .get(&format!("{}/b", kind.path("v2")))
            .await
            .is_null()
    );
    fixture
        .tear_down("web", &["--with-contents"])
        .expect_code(0);
}

#[tokio::test]
async fn a_kind_that_cannot_be_converted_is_an_error_of_its_objects_alone() {
    let fixture = ClusterFixture::new().await;
    let kind = Kind(&fixture);
    let map = |value: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"a": value}});
    let set = |conversion: Value, version: &str, a: u32| {
        let all = [
            kind.definition(&["v1", "v2"], conversion),
            kind.object(version, "a", a),
            map(&a.to_string()),
        ];
        all.iter().map(yaml).collect::<String>()
    };
    fixture
        .apply("web", &set(none(), "v1", 1), &WAIT)
        .expect_code(0);
    fixture
        .apply("web", &set(broken(), "v1", 1), &WAIT)
        .expect_code(0);

    // The plan says so of this object and plans the others, and an apply applies the others.
    let file = fixture.manifest(&set(broken(), "v2", 2));
    let planned = fixture
        .run(&["plan", "-f", &file, "--component", "web"])
        .expect_code(2);
    assert!(planned.out.contains("~ ConfigMap/"), "{}", planned.out);
    assert!(
        planned.out.contains("it cannot be read: "),
        "{}",
        planned.out
    );
    let applied = fixture
        .apply("web", &set(broken(), "v2", 2), &WAIT)
        .expect_code(1);
    assert!(
        applied.err.contains("conversion webhook"),
        "{}",
        applied.err
    );
    let path = format!("/api/v1/namespaces/{}/configmaps/m", fixture.namespace);
    assert_eq!(fixture.get(&path).await["data"]["a"], "2");

    // The same set with a conversion that works mends it, as does an approved plan of it.
    let (file, saved) = (
        fixture.manifest(&set(none(), "v2", 3)),
        fixture.path("plan"),
    );
    fixture
        .run(&["plan", "-f", &file, "--component", "web", "--out", &saved])
        .expect_code(2);
    let applied = fixture
        .run(&["apply", &saved, "--deploy-wait", "false"])
        .expect_code(1);
    assert!(applied.err.contains("plan again"), "{}", applied.err);
    fixture
        .apply("web", &set(none(), "v2", 4), &WAIT)
        .expect_code(0);
    let object = fixture.get(&format!("{}/a", kind.path("v2"))).await;
    assert_eq!(object["spec"]["a"], 4);

    // Its status and its deletion do not touch the others either.
    fixture.apply("web", &set(broken(), "v2", 4), &WAIT);
    let status = fixture
        .run(&["status", "--component", "web"])
        .expect_code(4);
    assert!(
        status.out.contains("ConfigMap/") && status.out.contains("it cannot be read"),
        "{}",
        status.out
    );
    let torn = fixture
        .tear_down("web", &["--with-contents"])
        .expect_code(1);
    assert!(torn.err.contains("it cannot be read"), "{}", torn.err);
    assert!(fixture.get(&path).await.is_null());
    let definition = format!(
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/changes.{}",
        kind.group()
    );
    fixture
        .merge(
            &definition,
            json!({"spec": {"conversion": {"strategy": "None", "webhook": null}}}),
        )
        .await;
    fixture
        .tear_down("web", &["--with-contents"])
        .expect_code(0);
}
