//! An API server that answers as a test says: what a real one cannot be made to do.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::{Method, StatusCode};
use serde_json::{Value, json};

/// A request that the server received.
#[derive(Debug, Clone)]
pub struct ReceivedRequest {
    pub method: Method,
    pub path: String,
    pub query: String,
    pub body: Value,
    /// Number of earlier requests with the same method, path and kind (dry run or not).
    pub earlier: usize,
}

impl ReceivedRequest {
    pub fn is_dry_run(&self) -> bool {
        self.query.contains("dryRun=All")
    }

    /// Returns true for a request that changes an object.
    pub fn is_write(&self) -> bool {
        self.method != Method::GET && !self.is_dry_run()
    }

    fn is_like(&self, other: &Self) -> bool {
        let key = |one: &Self| (one.method.clone(), one.path.clone(), one.is_dry_run());
        key(self) == key(other)
    }
}

/// An answer other than that of a healthy server.
pub enum Answer {
    /// A status with its reason and message.
    Refuse(u16, &'static str, &'static str),
    /// This body.
    Body(Value),
    /// None, ever.
    Never,
}

type Script = Box<dyn Fn(&ReceivedRequest) -> Option<Answer> + Send + Sync>;

struct Shared {
    script: Script,
    requests: Mutex<Vec<ReceivedRequest>>,
}

/// A cluster with the kinds Namespace, ConfigMap and Secret, and without objects. What is applied
/// is answered with an UID and is not kept. Stops when it is dropped.
pub struct ScriptedCluster {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for ScriptedCluster {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ScriptedCluster {
    /// Starts a server. Where `script` returns `None`, it answers as a healthy one.
    pub async fn start(
        script: impl Fn(&ReceivedRequest) -> Option<Answer> + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::new(Shared {
            script: Box::new(script),
            requests: Mutex::default(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = axum::Router::new()
            .fallback(answer)
            .with_state(shared.clone());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            address,
            shared,
            task,
        }
    }

    pub fn kubeconfig(&self) -> String {
        let server = format!("http://{}", self.address);
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": server}}],
            "users": [{"name": "u", "user": {"token": "scripted"}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        })
        .to_string()
    }

    pub fn requests(&self) -> Vec<ReceivedRequest> {
        self.shared.requests.lock().unwrap().clone()
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20)
        .await
        .unwrap_or_default();
    let mut request = ReceivedRequest {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        body: serde_json::from_slice(&body).unwrap_or_default(),
        earlier: 0,
    };
    {
        let mut requests = shared.requests.lock().unwrap();
        let earlier = requests.iter().filter(|other| request.is_like(other));
        request.earlier = earlier.count();
        requests.push(request.clone());
    }
    let (status, body) = match (shared.script)(&request) {
        None => healthy(&request),
        Some(Answer::Body(body)) => (200, body),
        Some(Answer::Refuse(status, reason, message)) => (status, refusal(status, reason, message)),
        Some(Answer::Never) => std::future::pending().await,
    };
    Response::builder()
        .status(StatusCode::from_u16(status).unwrap())
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()))
        .unwrap()
}

fn healthy(request: &ReceivedRequest) -> (u16, Value) {
    let path = request.path.as_str();
    match (request.method.as_str(), path) {
        ("GET", "/version") => (
            200,
            json!({"major": "1", "minor": "34", "gitVersion": "v1.34.0"}),
        ),
        ("GET", "/api") => (200, discovery()),
        ("GET", "/apis") => (
            200,
            json!({"apiVersion": "apidiscovery.k8s.io/v2", "kind": "APIGroupDiscoveryList", "metadata": {}, "items": []}),
        ),
        ("GET", _)
            if ["namespaces", "configmaps", "secrets"]
                .iter()
                .any(|kind| path.ends_with(kind)) =>
        {
            (
                200,
                json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "1"}, "items": []}),
            )
        }
        ("GET", "/api/v1/namespaces/default") => (
            200,
            stored(
                &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}}),
            ),
        ),
        ("GET", _) => (404, refusal(404, "NotFound", "not found")),
        _ => (200, stored(&request.body)),
    }
}

/// Returns an object as the server would return it.
pub fn stored(object: &Value) -> Value {
    let mut object = object.clone();
    object["metadata"]["uid"] = "5c0b5c9e-0000-4000-8000-000000000001".into();
    object["metadata"]["resourceVersion"] = "2".into();
    object
}

fn discovery() -> Value {
    let resource = |kind: &str, plural: &str, scope: &str| {
        json!({
            "resource": plural, "scope": scope, "singularResource": plural.trim_end_matches('s'),
            "responseKind": {"group": "", "version": "v1", "kind": kind},
            "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"],
        })
    };
    json!({
        "apiVersion": "apidiscovery.k8s.io/v2", "kind": "APIGroupDiscoveryList", "metadata": {},
        "items": [{"metadata": {}, "versions": [{"version": "v1", "freshness": "Current", "resources": [
            resource("Namespace", "namespaces", "Cluster"),
            resource("ConfigMap", "configmaps", "Namespaced"),
            resource("Secret", "secrets", "Namespaced"),
        ]}]}],
    })
}

fn refusal(status: u16, reason: &str, message: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
        "code": status, "reason": reason, "message": message,
    })
}
