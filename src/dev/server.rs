//! The HTTP server of the control plane, on loopback.
#![expect(
    clippy::indexing_slicing,
    reason = "a member or item that a JSON value lacks reads as null"
)]

mod faults;
mod respond;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use faults::{misbehave, next_fault};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use respond::{Body, ConnectionClosed, respond, truncated};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use url::Url;

use super::answer::{self, Answer};
use super::fault::{Fault, FaultKind};
use super::store::{Call, Generation, NewJob, Store, StoredJob};
use crate::base::clock::Clock;
use crate::base::invalid::InvalidInput;

/// Maximum time that a long poll waits for a job.
const LONG_POLL_WAIT: Duration = Duration::from_secs(25);

/// Interval at which a waiting long poll checks for jobs.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Validates every request against the contract.
pub trait CheckRequest: Send + Sync {
    /// Validates one request. `body` is the raw body.
    ///
    /// # Errors
    /// The request violates the contract; the message says how. It is recorded, and the request is
    /// still answered.
    fn check(
        &self,
        method: &Method,
        path: &str,
        query: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<(), InvalidInput>;
}

/// Options of the control plane.
pub struct ControlPlaneOptions {
    /// Generation of the server to imitate.
    pub generation: Generation,
    /// Whether long polls are supported (second generation only).
    pub long_poll: bool,
    /// The only bearer token that is accepted.
    pub token: String,
    /// Clock of the process.
    pub clock: Clock,
    /// Overrides of the default settings.
    pub settings: Map<String, Value>,
    /// Validates every request.
    pub checker: Option<Arc<dyn CheckRequest>>,
}

impl ControlPlaneOptions {
    /// Returns the defaults for a generation and a token: no long polls, no checker.
    pub fn new(generation: Generation, token: &str) -> Self {
        Self {
            generation,
            long_poll: false,
            token: token.into(),
            clock: Clock::system(),
            settings: Map::new(),
            checker: None,
        }
    }
}

/// A running control plane. It stops when it is dropped.
pub struct ControlPlane {
    shared: Arc<Shared>,
    address: SocketAddr,
    tasks: JoinSet<()>,
}

struct Shared {
    store: Mutex<Store>,
    faults: Mutex<Vec<Fault>>,
    /// Whether every connection is closed without a response.
    down: Mutex<bool>,
    options: ControlPlaneOptions,
}

impl ControlPlane {
    /// Starts the server on a free port of loopback.
    ///
    /// # Errors
    /// The socket cannot be bound.
    pub async fn start(mut options: ControlPlaneOptions) -> std::io::Result<Self> {
        if options.long_poll {
            options
                .settings
                .insert("long_poll_jobs".into(), true.into());
        }
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let store = Store::new(
            options.generation,
            options.clock.clone(),
            options.settings.clone(),
        );
        let clock = options.clock.clone();
        let shared = Arc::new(Shared {
            store: Mutex::new(store),
            faults: Mutex::default(),
            down: Mutex::new(false),
            options,
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, shared.clone()));
        let supervised = shared.clone();
        tasks.spawn(async move {
            loop {
                clock.sleep(Duration::from_secs(1)).await;
                lock(&supervised.store).supervise();
            }
        });
        Ok(Self {
            shared,
            address,
            tasks,
        })
    }

    /// Returns its base URL.
    pub fn url(&self) -> Url {
        // A socket address is always a valid host.
        Url::parse(&format!("http://{}", self.address))
            .unwrap_or_else(|_| unreachable!("a socket address is a host"))
    }

    /// Returns its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Locks the store. Every request waits while the lock is held.
    pub fn store(&self) -> MutexGuard<'_, Store> {
        lock(&self.shared.store)
    }

    /// Makes a job available and returns its id.
    pub fn offer(&self, job: NewJob) -> String {
        self.store().offer(job)
    }

    /// Makes the job that applies a finished plan available, as the server does after an approval,
    /// and returns its id. Like the server, converts the contents to standard base64. Returns none
    /// if the plan job has no result with contents.
    pub fn offer_apply(&self, plan_job: &str) -> Option<String> {
        let mut store = self.store();
        let job = store.jobs.get(plan_job)?.clone();
        let result = job.executions.last()?.result.clone()?;
        let contents = result["contents_compressed"]
            .as_str()?
            .replace('-', "+")
            .replace('_', "/");
        let (member, mut plan) = job.new.plan.clone();
        plan["apply_plan_contents"] = contents.into();
        Some(store.offer(NewJob {
            operation: "apply-plan".into(),
            plan: (member, plan),
            ..job.new
        }))
    }

    /// Waits until a job and its last execution have ended, for at most `limit`. Returns the job as
    /// it is then, or none if it does not exist.
    pub async fn wait(&self, id: &str, limit: Duration) -> Option<StoredJob> {
        let ended = async {
            loop {
                let job = self.store().jobs.get(id).cloned()?;
                let open = matches!(job.status.as_str(), "queued" | "available" | "in-progress");
                let running = job
                    .executions
                    .last()
                    .is_some_and(|e| !super::store::is_final(&e.status));
                if !open && !running {
                    return Some(job);
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        match tokio::time::timeout(limit, ended).await {
            Ok(job) => job,
            Err(_) => self.store().jobs.get(id).cloned(),
        }
    }

    /// Adds a fault.
    pub fn add_fault(&self, fault: Fault) {
        lock(&self.shared.faults).push(fault);
    }

    /// Removes all faults.
    pub fn clear_faults(&self) {
        lock(&self.shared.faults).clear();
    }

    /// Closes every connection without a response, or accepts them again.
    pub fn set_down(&self, down: bool) {
        *lock(&self.shared.down) = down;
    }

    /// Stops the server.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        if *lock(&shared.down) {
            continue;
        }
        // Sends small responses without delay.
        let _ = stream.set_nodelay(true);
        let shared = shared.clone();
        connections.spawn(async move {
            let service = hyper::service::service_fn(|request| serve(shared.clone(), request));
            // Fails if a fault closes the connection.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

// Long: one request, from its bytes to its answer.
async fn serve(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Body>, ConnectionClosed> {
    let (parts, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map_err(|_| ConnectionClosed)?
        .to_bytes();
    let path = parts.uri.path().to_owned();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let mut call = Call {
        at: shared.options.clock.elapsed(),
        method: parts.method.to_string(),
        path: path.clone(),
        query: query.clone(),
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        status: 0,
        committed: false,
    };
    if *lock(&shared.down) {
        lock(&shared.store).calls.push(call);
        return Err(ConnectionClosed);
    }
    if let Some(checker) = &shared.options.checker
        && let Err(violation) = checker.check(&parts.method, &path, &query, &parts.headers, &body)
    {
        lock(&shared.store)
            .violations
            .push(format!("{} {path}: {violation}", parts.method));
    }
    let fault_kind = next_fault(&shared, &parts.method, &path);
    if let Some(outcome) = misbehave(&shared, fault_kind.as_ref(), &mut call).await {
        lock(&shared.store).calls.push(call);
        if let (Some(FaultKind::Hang(time)), Err(_)) = (&fault_kind, &outcome) {
            shared.options.clock.sleep(*time).await;
        }
        return outcome;
    }
    let header = |name: &str| {
        parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let request = answer::Request {
        method: parts.method.as_str(),
        path: &path,
        query: &query,
        client_version: header("x-nuon-client-version"),
        body: &body,
    };
    let answer = if header("authorization") == format!("Bearer {}", shared.options.token) {
        execute(&shared, &request, &mut call).await
    } else {
        Answer::error(401, "invalid token")
    };
    call.status = answer.status;
    call.committed = answer.status < 300;
    let lost = matches!(fault_kind, Some(FaultKind::DropResponse));
    if lost {
        call.status = 0;
    }
    lock(&shared.store).calls.push(call);
    match fault_kind {
        Some(FaultKind::DropResponse) => Err(ConnectionClosed),
        Some(FaultKind::TruncateBody) => Ok(truncated(answer)),
        Some(FaultKind::InvalidJson) => Ok(respond(Answer {
            body: b"<html>".to_vec(),
            ..answer
        })),
        _ => Ok(respond(answer)),
    }
}

async fn execute(shared: &Shared, request: &answer::Request<'_>, call: &mut Call) -> Answer {
    let long_poll = shared.options.long_poll;
    let until = shared.options.clock.elapsed() + LONG_POLL_WAIT;
    loop {
        call.at = shared.options.clock.elapsed();
        let answer = answer::handle(&mut lock(&shared.store), request, long_poll);
        let empty = answer.status == 200 && answer.body == b"[]";
        if !(request.is_long_poll() && empty) || shared.options.clock.elapsed() >= until {
            return answer;
        }
        shared.options.clock.sleep(POLL_INTERVAL).await;
    }
}

/// Returns a runner id and a random token for a local control plane.
pub fn credentials() -> (String, String) {
    (
        "run00000000000000000000000".into(),
        format!("dev-{:032x}", rand::random::<u128>()),
    )
}

/// Returns the build plan of a component.
pub fn build_plan(destination: Value, tag: &str, source: Value, git: Value) -> Value {
    json!({
        "component_id": "cmp00000000000000000000001",
        "component_build_id": tag,
        "git_source": git,
        "dst_registry": destination,
        "dst_tag": tag,
        "kubernetes_manifest_build_plan": source,
    })
}
