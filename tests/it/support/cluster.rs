//! The commands that work on a cluster, against a real API server and its controllers.

use std::process::Command;

use http::{Method, Request};
use serde_json::{Value, json};

use crate::support::parts::{testbed, unique};

/// Output and exit code of a command.
#[derive(Debug)]
pub struct CommandOutput {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl From<std::process::Output> for CommandOutput {
    fn from(output: std::process::Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl CommandOutput {
    /// Waits for a command that was started.
    pub async fn wait(child: std::process::Child) -> Self {
        tokio::task::spawn_blocking(move || child.wait_with_output().unwrap())
            .await
            .unwrap()
            .into()
    }

    /// Expects this exit code.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}\n{}", self.out, self.err);
        self
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("{}\n{}", self.out, self.err))
    }
}

/// A namespace, a component, and a client that calls the API server directly.
pub struct ClusterFixture {
    pub namespace: String,
    directory: tempfile::TempDir,
    client: kube::Client,
}

impl ClusterFixture {
    /// Creates the namespace.
    pub async fn new() -> Self {
        let fixture = Self::empty().await;
        fixture
            .create(
                "/api/v1/namespaces",
                json!({"metadata": {"name": fixture.namespace}}),
            )
            .await;
        fixture
    }

    /// Leaves the namespace to be created.
    pub async fn empty() -> Self {
        let kubeconfig = kube::config::Kubeconfig::from_yaml(&testbed().kubeconfig()).unwrap();
        let options = kube::config::KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options);
        let client = kube::Client::try_from(config.await.unwrap()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("kubeconfig"), testbed().kubeconfig()).unwrap();
        Self {
            namespace: unique("cluster"),
            directory,
            client,
        }
    }

    /// Returns a path in the fixture's directory.
    pub fn path(&self, name: &str) -> String {
        self.directory
            .path()
            .join(name)
            .to_str()
            .unwrap()
            .to_owned()
    }

    /// Writes a manifest. Returns its path.
    pub fn manifest(&self, text: &str) -> String {
        let path = self.path(&unique("manifest"));
        std::fs::write(&path, text).unwrap();
        path
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nuon-runner"));
        command
            .env_clear()
            .args(arguments)
            .args(["-n", &self.namespace]);
        command.args(["--kubeconfig", &self.path("kubeconfig")]);
        command
    }

    pub fn run(&self, arguments: &[&str]) -> CommandOutput {
        self.command(arguments).output().unwrap().into()
    }

    /// Starts a command in the background. Its output is captured.
    pub fn start(&self, arguments: &[&str]) -> std::process::Child {
        let piped = std::process::Stdio::piped;
        self.command(arguments)
            .stdout(piped())
            .stderr(piped())
            .spawn()
            .unwrap()
    }

    /// Waits until an object exists.
    pub async fn wait_until_exists(&self, path: &str) {
        crate::support::daemon::eventually_async(path, async || {
            Some(self.get(path).await).filter(|object| !object.is_null())
        })
        .await;
    }

    /// Applies a manifest as a component.
    pub fn apply(&self, component: &str, text: &str, more: &[&str]) -> CommandOutput {
        let file = self.manifest(text);
        self.run(
            &[
                &["apply", "--yes", "-f", &file, "--component", component],
                more,
            ]
            .concat(),
        )
    }

    pub fn tear_down(&self, component: &str, more: &[&str]) -> CommandOutput {
        self.run(&[&["delete", "--yes", "--component", component], more].concat())
    }

    /// Plans a manifest as a component. Returns the JSON document.
    pub fn plan(&self, component: &str, text: &str) -> Value {
        let file = self.manifest(text);
        self.run(&["plan", "-f", &file, "--component", component, "-o", "json"])
            .json()
    }

    pub async fn request(
        &self,
        method: Method,
        path: &str,
        kind: &str,
        body: Value,
    ) -> Result<Value, kube::Error> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", kind);
        self.client
            .request(request.body(serde_json::to_vec(&body).unwrap()).unwrap())
            .await
    }

    pub async fn create(&self, path: &str, body: Value) -> Value {
        self.request(Method::POST, path, "application/json", body)
            .await
            .unwrap()
    }

    /// Returns an object; null if the API server responds with 404.
    pub async fn get(&self, path: &str) -> Value {
        let request = Request::get(path).body(Vec::new()).unwrap();
        match self.client.request(request).await {
            Ok(object) => object,
            Err(kube::Error::Api(status)) if status.code == 404 => Value::Null,
            Err(error) => panic!("{path} cannot be read: {error}"),
        }
    }

    pub async fn merge(&self, path: &str, body: Value) -> Value {
        self.request(Method::PATCH, path, "application/merge-patch+json", body)
            .await
            .unwrap()
    }

    pub async fn delete(&self, path: &str) {
        self.request(Method::DELETE, path, "application/json", json!({}))
            .await
            .unwrap();
    }

    /// Applies an object as another field manager.
    pub async fn apply_as(&self, manager: &str, path: &str, body: Value) -> Value {
        let path = format!("{path}?fieldManager={manager}&force=true");
        self.request(Method::PATCH, &path, "application/apply-patch+yaml", body)
            .await
            .unwrap()
    }

    pub fn config_map(&self, name: &str) -> String {
        format!("/api/v1/namespaces/{}/configmaps/{name}", self.namespace)
    }
}

/// Returns the manifest of a ConfigMap.
pub fn config_map(name: &str, value: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{a: \
         {value:?}}}\n---\n"
    )
}

/// Returns the manifest of a Deployment.
pub fn deployment(name: &str, replicas: u32) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}}}\nspec:\n  replicas: \
         {replicas}\n  selector: {{matchLabels: {{app: {name}}}}}\n  template:\n    metadata: \
         {{labels: {{app: {name}}}}}\n    spec: {{containers: [{{name: c, image: \
         'registry.invalid/web:1'}}]}}\n---\n"
    )
}

/// Returns the object and operation of each change in a plan's document.
pub fn changes(document: &Value) -> Vec<String> {
    let changes = document["changes"].as_array().unwrap().iter();
    let change = |diff: &Value| {
        format!(
            "{}/{} {}",
            diff["kind"].as_str().unwrap(),
            diff["name"].as_str().unwrap(),
            diff["type"]
        )
    };
    changes
        .filter(|diff| diff["type"] != 0)
        .map(change)
        .collect()
}
