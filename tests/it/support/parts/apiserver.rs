//! A proxy before the real API server. It records the requests, and can inject the faults of
//! networks and busy servers.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use futures_util::StreamExt as _;
use http::{Method, StatusCode};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};

use super::testbed;

/// A request that passed through the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedRequest {
    pub method: Method,
    /// Path and query.
    pub uri: String,
    /// The body, if it is JSON; else null.
    pub body: Value,
}

impl RecordedRequest {
    pub fn is_dry_run(&self) -> bool {
        self.uri.contains("dryRun=All")
    }
}

struct Shared {
    http: reqwest::Client,
    upstream: String,
    requests: Mutex<Vec<RecordedRequest>>,
    /// Percentage of requests that fail, and the random generator that selects them.
    faults: Option<(u32, Mutex<StdRng>)>,
    /// Number of requests after which none is answered.
    silent_after: AtomicUsize,
    /// Path suffix, path and object: the object is created, as by another client, right before the
    /// first write to a path with the suffix.
    pending_object: Mutex<Option<(String, String, Value)>>,
    /// Path and merge patch: the object is changed, as by another client, right before the first write
    /// to it.
    pending_change: Mutex<Option<(String, Value)>>,
}

/// The proxy. Stops when it is dropped.
pub struct ApiProxy {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for ApiProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ApiProxy {
    pub async fn start() -> Self {
        Self::with_faults(0, 0).await
    }

    /// `percent` of the requests fail, selected by `seed`.
    pub async fn with_faults(percent: u32, seed: u64) -> Self {
        // Fails if a provider is already installed, which is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let authority = std::fs::read(testbed().authority()).unwrap();
        let http = reqwest::Client::builder()
            .tls_certs_only([reqwest::Certificate::from_pem(&authority).unwrap()])
            .no_proxy()
            .build()
            .unwrap();
        let shared = Arc::new(Shared {
            http,
            upstream: format!("https://{}", testbed().apiserver()),
            requests: Mutex::default(),
            faults: (percent > 0).then(|| (percent, Mutex::new(StdRng::seed_from_u64(seed)))),
            silent_after: AtomicUsize::new(usize::MAX),
            pending_object: Mutex::default(),
            pending_change: Mutex::default(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = axum::Router::new()
            .fallback(forward)
            .with_state(shared.clone());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            address,
            shared,
            task,
        }
    }

    /// Creates an object (a POST), as another client would, right before our first write to a path
    /// that ends with `ending`.
    pub fn create_before_write(&self, ending: &str, path: &str, object: Value) {
        *self.shared.pending_object.lock().unwrap() =
            Some((ending.to_owned(), path.to_owned(), object));
    }

    /// Changes an object (a merge patch), as another client would, right before our first write to it.
    pub fn change_before_write(&self, path: &str, patch: Value) {
        *self.shared.pending_change.lock().unwrap() = Some((path.to_owned(), patch));
    }

    /// A kubeconfig that uses the proxy.
    pub fn kubeconfig(&self) -> String {
        testbed().kubeconfig().replace(
            &format!("https://{}", testbed().apiserver()),
            &format!("http://{}", self.address),
        )
    }

    /// Returns the requests since the last call.
    pub fn take(&self) -> Vec<RecordedRequest> {
        std::mem::take(&mut self.shared.requests.lock().unwrap())
    }

    /// Number of requests since the last [`take`](Self::take).
    pub fn count(&self) -> usize {
        self.shared.requests.lock().unwrap().len()
    }

    /// Forwards `count` more requests, counted from the last [`take`](Self::take), and never
    /// answers the ones after them.
    pub fn silence_after(&self, count: usize) {
        self.shared.silent_after.store(count, Ordering::SeqCst);
    }
}

async fn forward(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let uri = parts
        .uri
        .path_and_query()
        .map(ToString::to_string)
        .unwrap_or_default();
    let body = axum::body::to_bytes(body, 64 << 20)
        .await
        .unwrap_or_default();
    let number = {
        let mut requests = shared.requests.lock().unwrap();
        requests.push(RecordedRequest {
            method: parts.method.clone(),
            uri: uri.clone(),
            body: serde_json::from_slice(&body).unwrap_or_default(),
        });
        requests.len()
    };
    if number > shared.silent_after.load(Ordering::SeqCst) {
        std::future::pending::<()>().await;
    }
    let is_write = parts.method == Method::PATCH && !uri.contains("dryRun");
    let pending_object = shared
        .pending_object
        .lock()
        .unwrap()
        .take_if(|(ending, ..)| is_write && parts.uri.path().ends_with(&**ending));
    if let Some((_, path, object)) = pending_object {
        let made = shared
            .http
            .post(format!("{}{path}", shared.upstream))
            .json(&object);
        let made = parts
            .headers
            .get(http::header::AUTHORIZATION)
            .into_iter()
            .fold(made, |made, value| made.header("authorization", value));
        assert!(made.send().await.unwrap().status().is_success());
    }
    let pending_change = shared
        .pending_change
        .lock()
        .unwrap()
        .take_if(|(path, _)| is_write && parts.uri.path() == path);
    if let Some((path, patch)) = pending_change {
        let changed = shared
            .http
            .patch(format!("{}{path}", shared.upstream))
            .header("content-type", "application/merge-patch+json")
            .body(patch.to_string());
        let changed = parts
            .headers
            .get(http::header::AUTHORIZATION)
            .into_iter()
            .fold(changed, |changed, value| {
                changed.header("authorization", value)
            });
        assert!(changed.send().await.unwrap().status().is_success());
    }
    let fault = shared.faults.as_ref().and_then(|(percent, dice)| {
        let mut dice = dice.lock().unwrap();
        (dice.random_range(0..100) < *percent).then(|| dice.random_range(0..8))
    });
    let is_watch = uri.contains("watch=true");
    match fault {
        Some(0) if parts.method == Method::PATCH => {
            return refusal(
                StatusCode::CONFLICT,
                "Conflict",
                "please apply your changes to the latest version",
            );
        }
        Some(1) if uri.contains("continue=") || is_watch => {
            return refusal(StatusCode::GONE, "Expired", "too old resource version");
        }
        Some(2) => return refusal(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", "wait"),
        Some(3) => {
            return refusal(
                StatusCode::INTERNAL_SERVER_ERROR,
                "InternalError",
                "etcdserver: leader changed",
            );
        }
        Some(4) => {
            return refusal(
                StatusCode::SERVICE_UNAVAILABLE,
                "ServiceUnavailable",
                "apiserver is shutting down",
            );
        }
        Some(5) => tokio::time::sleep(Duration::from_secs(2)).await,
        _ => {}
    }
    let mut upstream = shared
        .http
        .request(parts.method, format!("{}{uri}", shared.upstream))
        .body(body);
    for (name, value) in parts
        .headers
        .iter()
        .filter(|(name, _)| *name != http::header::HOST && *name != http::header::CONTENT_LENGTH)
    {
        upstream = upstream.header(name, value);
    }
    let Ok(answer) = upstream.send().await else {
        return refusal(StatusCode::BAD_GATEWAY, "", "the API server is not there");
    };
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers().iter().filter(|(name, _)| {
        *name != http::header::TRANSFER_ENCODING && *name != http::header::CONTENT_LENGTH
    }) {
        response = response.header(name, value);
    }
    let cut = || std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    let body = match fault {
        // The request took effect, but the response is lost, or cut in half.
        Some(6) => Body::from_stream(futures_util::stream::iter([Err::<Bytes, _>(cut())])),
        Some(7) if !is_watch => {
            let whole = answer.bytes().await.unwrap_or_default();
            Body::from_stream(futures_util::stream::iter([
                Ok(whole.slice(..whole.len() / 2)),
                Err(cut()),
            ]))
        }
        _ => Body::from_stream(
            answer
                .bytes_stream()
                .map(|chunk| chunk.map_err(std::io::Error::other)),
        ),
    };
    response.body(body).unwrap()
}

fn refusal(code: StatusCode, reason: &str, message: &str) -> Response {
    let status = json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code.as_u16(), "reason": reason, "message": message,
        "details": {"retryAfterSeconds": u32::from(code == StatusCode::TOO_MANY_REQUESTS)},
    });
    Response::builder()
        .status(code)
        .header("content-type", "application/json")
        .body(status.to_string().into())
        .unwrap()
}
