//! What is deleted with namespaces and CRDs: nothing of others, unless a person says so.

use serde_json::{Value, json};

use crate::support::cluster::{ClusterFixture, config_map, deployment};

fn namespace(name: &str) -> String {
    format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n---\n")
}

fn config_map_in(namespace: &str, name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: {namespace}}}\n---\n"
    )
}

async fn create_config_map(fixture: &ClusterFixture, namespace: &str, name: &str) {
    fixture
        .create(
            &format!("/api/v1/namespaces/{namespace}/configmaps"),
            json!({"metadata": {"name": name}}),
        )
        .await;
}

impl ClusterFixture {
    async fn exists(&self, path: &str) -> bool {
        let object = self.get(path).await;
        !object.is_null() && object["metadata"]["deletionTimestamp"].is_null()
    }
}

#[tokio::test]
async fn a_namespace_with_objects_of_others_stays_until_they_are_named() {
    let fixture = ClusterFixture::empty().await;
    let name = &fixture.namespace;
    let manifest = namespace(name) + &config_map("ours", "1") + &deployment("web", 1);
    fixture.apply("web", &manifest, &[]).expect_code(0);
    let maps = format!("/api/v1/namespaces/{name}/configmaps");
    create_config_map(&fixture, name, "theirs").await;
    let told = format!("it holds an object that is not of this component: ConfigMap/{name}/theirs");

    let dry = fixture.run(&["delete", "--dry-run", "--component", "web"]);
    let dry = dry.expect_code(2);
    assert!(dry.err.contains(&told), "{}", dry.err);
    assert!(dry.out.contains("2 to delete"), "{}", dry.out);

    let torn = fixture.tear_down("web", &[]).expect_code(0);
    assert!(
        torn.err
            .contains(&format!("Namespace/{name} stays, because {told}")),
        "{}",
        torn.err
    );
    assert!(fixture.exists(&format!("/api/v1/namespaces/{name}")).await);
    assert!(fixture.exists(&format!("{maps}/theirs")).await);
    assert!(!fixture.exists(&format!("{maps}/ours")).await);

    let torn = fixture
        .tear_down("web", &["--with-contents"])
        .expect_code(0);
    assert!(torn.err.contains("ConfigMap"), "{}", torn.err);
    assert!(!fixture.exists(&format!("/api/v1/namespaces/{name}")).await);
}

#[tokio::test]
async fn a_crd_with_objects_of_others_stays() {
    let fixture = ClusterFixture::new().await;
    let name = &fixture.namespace;
    let group = format!("{name}.example.test");
    let crd = format!(
        "---\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{name: \
         widgets.{group}}}\nspec:\n  group: {group}\n  scope: Namespaced\n  names: {{plural: widgets, \
         singular: widget, kind: Widget}}\n  versions:\n  - {{name: v1, served: true, storage: true, \
         schema: {{openAPIV3Schema: {{type: object}}}}}}\n"
    );
    let ours = format!("---\napiVersion: {group}/v1\nkind: Widget\nmetadata: {{name: ours}}\n");
    fixture.apply("web", &(crd + &ours), &[]).expect_code(0);
    let widgets = format!("/apis/{group}/v1/namespaces/default/widgets");
    let theirs = json!({"apiVersion": format!("{group}/v1"), "kind": "Widget", "metadata": {"name": "theirs"}});
    fixture.create(&widgets, theirs).await;
    let torn = fixture.tear_down("web", &[]).expect_code(0);
    assert!(torn.err.contains("Widget/default/theirs"), "{}", torn.err);
    assert!(fixture.exists(&format!("{widgets}/theirs")).await);
    fixture
        .tear_down("web", &["--with-contents"])
        .expect_code(0);
    assert_eq!(fixture.get(&widgets).await, Value::Null);
}

#[tokio::test]
async fn a_plan_lists_what_a_pruned_namespace_holds_and_allows_nothing_else() {
    let fixture = ClusterFixture::new().await;
    let other = format!("{}-b", fixture.namespace);
    let path = format!("/api/v1/namespaces/{other}");
    let both = namespace(&other) + &config_map_in(&other, "ours") + &config_map("kept", "1");
    fixture.apply("web", &both, &[]).expect_code(0);
    create_config_map(&fixture, &other, "theirs").await;
    let file = fixture.manifest(&config_map("kept", "1"));
    let plan = fixture.path("plan");
    let arguments = ["plan", "-f", &file, "--component", "web", "--out", &plan];
    let planned = fixture.run(&arguments).expect_code(2);
    assert!(
        planned
            .out
            .contains(&format!("not of this component: ConfigMap/{other}/theirs")),
        "{}\n{}",
        planned.out,
        planned.err
    );

    create_config_map(&fixture, &other, "later").await;
    let applied = fixture.run(&["apply", &plan]).expect_code(0);
    assert!(
        applied.err.contains(&format!(
            "ConfigMap/{other}/later, which the approved plan does not list"
        )),
        "{}",
        applied.err
    );
    assert!(fixture.exists(&path).await);
    assert!(fixture.exists(&format!("{path}/configmaps/theirs")).await);

    fixture.run(&arguments).expect_code(2);
    fixture.run(&["apply", &plan]).expect_code(0);
    assert!(!fixture.exists(&path).await);
}

#[tokio::test]
async fn an_entry_for_an_object_that_is_gone_protects_no_object_of_that_name() {
    let fixture = ClusterFixture::new().await;
    let path = format!("/api/v1/namespaces/{}/configmaps/shared", fixture.namespace);
    fixture
        .apply("old", &config_map("shared", "1"), &[])
        .expect_code(0);
    fixture.delete(&path).await;
    let both = config_map("shared", "2") + &config_map("other", "2");
    fixture.apply("new", &both, &[]).expect_code(0);

    let pruned = fixture
        .apply("new", &config_map("other", "2"), &[])
        .expect_code(0);
    assert!(!fixture.exists(&path).await, "{}", pruned.err);

    fixture.apply("new", &both, &[]).expect_code(0);
    let torn = fixture.tear_down("new", &[]).expect_code(0);
    assert!(!fixture.exists(&path).await, "{}", torn.err);
    fixture.tear_down("old", &[]).expect_code(0);
}
