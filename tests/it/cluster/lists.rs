//! Lists of adopted and released objects: a plan shows what an apply does to them.

use serde_json::{Value, json};

use super::adoption::yaml;
use crate::support::cluster::{ClusterFixture, CommandOutput};

fn deployment(container: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "m"}, "spec": {
        "replicas": 0, "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container]}}}})
}

fn env(variables: &[(&str, &str)]) -> Value {
    let variables: Vec<Value> = variables
        .iter()
        .map(|(name, value)| json!({"name": name, "value": value}))
        .collect();
    deployment(json!({"name": "c", "image": "x:1", "env": variables}))
}

struct Lists {
    fixture: ClusterFixture,
    collection: String,
}

impl Lists {
    async fn new() -> Self {
        let fixture = ClusterFixture::new().await;
        let namespace = &fixture.namespace;
        let collection = format!("/apis/apps/v1/namespaces/{namespace}/deployments");
        Self {
            fixture,
            collection,
        }
    }

    async fn create_as(&self, manager: &str, object: &Value) {
        let path = format!("{}?fieldManager={manager}", self.collection);
        self.fixture.create(&path, object.clone()).await;
    }

    async fn container(&self) -> Value {
        let live = self.fixture.get(&format!("{}/m", self.collection)).await;
        live["spec"]["template"]["spec"]["containers"][0].clone()
    }

    /// Plans and applies. Returns the entries of the plan.
    fn roll(&self, wanted: &Value) -> String {
        let file = self.fixture.manifest(&yaml(wanted));
        let saved = self.fixture.path("plan");
        let plan = ["plan", "-f", &file, "--component", "web", "--out", &saved];
        let planned: CommandOutput = self.fixture.run(&plan).expect_code(2);
        let apply = ["apply", &saved, "--deploy-wait", "false"];
        self.fixture.run(&apply).expect_code(0);
        planned.out
    }
}

#[tokio::test]
async fn the_plan_of_an_adoption_shows_a_new_order() {
    let lists = Lists::new().await;
    let before = env(&[("A", "1"), ("B", "$(A)")]);
    lists.create_as("kubectl-client-side-apply", &before).await;
    let planned = lists.roll(&env(&[("B", "$(A)"), ("A", "1")]));
    let names = |container: &Value| -> Vec<String> {
        let env = container["env"].as_array().unwrap().iter();
        env.map(|one| one["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&lists.container().await), ["B", "A"]);
    assert!(planned.contains("env"), "{planned}");
}

#[tokio::test]
async fn the_plan_of_an_adoption_shows_that_a_double_item_goes() {
    let lists = Lists::new().await;
    let before = env(&[("A", "1"), ("A", "2")]);
    lists.create_as("kubectl-client-side-apply", &before).await;
    let planned = lists.roll(&env(&[("A", "1")]));
    let now = lists.container().await;
    assert_eq!(now["env"], json!([{"name": "A", "value": "1"}]));
    assert!(planned.contains("env[1]"), "{planned}");
}

#[tokio::test]
async fn an_item_that_is_twice_in_the_manifest_is_refused_by_the_plan_of_an_adoption() {
    let lists = Lists::new().await;
    lists
        .create_as("kubectl-client-side-apply", &env(&[("A", "1")]))
        .await;
    let file = lists
        .fixture
        .manifest(&yaml(&env(&[("A", "1"), ("A", "2")])));
    let plan = ["plan", "-f", &file, "--component", "web"];
    let refused = lists.fixture.run(&plan).expect_code(1);
    assert!(
        refused.out.contains("duplicate entries for key"),
        "{}",
        refused.out
    );
}

/// Nobody owns the fields of an object that a teardown has released.
#[tokio::test]
async fn an_edit_of_a_released_object_leaves_what_the_manifest_does_not_name() {
    let lists = Lists::new().await;
    let probe = |handler: &str| {
        let mut object = env(&[("KEPT", "1")]);
        object["spec"].as_object_mut().unwrap().remove("replicas");
        let handler = json!({handler: {"port": 80}});
        object["spec"]["template"]["spec"]["containers"][0]["readinessProbe"] = handler;
        object
    };
    lists
        .create_as("kubectl-client-side-apply", &probe("tcpSocket"))
        .await;
    let first = yaml(&probe("tcpSocket"));
    let applied = lists
        .fixture
        .apply("web", &first, &["--deploy-wait", "false"]);
    applied.expect_code(0);
    lists.fixture.tear_down("web", &[]).expect_code(0);
    let path = format!("{}/m", lists.collection);
    let scale = json!({"spec": {"replicas": 3}});
    lists
        .fixture
        .merge(&format!("{path}/scale?fieldManager=kubectl"), scale)
        .await;
    let mut wanted = probe("httpGet");
    let container = &mut wanted["spec"]["template"]["spec"]["containers"][0];
    container.as_object_mut().unwrap().remove("env");
    let planned = lists.roll(&wanted);
    for kept in ["replicas", "KEPT", "annotations"] {
        assert!(!planned.contains(kept), "{planned}");
    }
    assert_eq!(lists.fixture.get(&path).await["spec"]["replicas"], 3);
    let now = lists.container().await;
    assert_eq!(now["env"][0]["name"], "KEPT");
    assert!(now["readinessProbe"]["tcpSocket"].is_null(), "{now}");
}
