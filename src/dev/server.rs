//! The control plane as a server on loopback.
#![expect(
    clippy::indexing_slicing,
    reason = "a member or item that a JSON value lacks reads as null"
)]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use url::Url;

use super::answer::{self, Answer};
use super::fault::{Fault, Misbehaviour};
use super::store::{Call, Generation, Job, NewJob, Store};
use crate::base::clock::Clock;

/// How long a held poll is held at most.
const HELD: Duration = Duration::from_secs(25);

/// How often a held poll looks.
const LOOK: Duration = Duration::from_millis(20);

/// Looks at every request; what it objects to is a violation of the contract.
pub trait CheckRequest: Send + Sync {
    /// Checks one request. The body is the bytes on the wire.
    ///
    /// # Errors
    /// What is wrong with it.
    fn check(
        &self,
        method: &Method,
        path: &str,
        query: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<(), String>;
}

/// How the control plane is.
pub struct Options {
    /// Which server it plays.
    pub generation: Generation,
    /// Whether it holds polls.
    pub long_poll: bool,
    /// The token it takes.
    pub token: String,
    /// Time.
    pub clock: Clock,
    /// Members of the settings that differ from the usual ones.
    pub settings: Map<String, Value>,
    /// Looks at every request.
    pub checker: Option<Arc<dyn CheckRequest>>,
}

impl Options {
    /// A control plane of a generation that takes this token.
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

/// A running control plane. It ends when it is dropped.
pub struct ControlPlane {
    shared: Arc<Shared>,
    address: SocketAddr,
    tasks: JoinSet<()>,
}

struct Shared {
    store: Mutex<Store>,
    faults: Mutex<Vec<Fault>>,
    /// Whether every connection is refused.
    down: Mutex<bool>,
    options: Options,
}

/// A connection that ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection was cut on purpose")]
struct Cut;

type Body = http_body_util::combinators::BoxBody<Bytes, Cut>;

impl ControlPlane {
    /// Starts it on a free port of loopback.
    ///
    /// # Errors
    /// Those of the socket.
    pub async fn start(mut options: Options) -> std::io::Result<Self> {
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

    /// Its address.
    pub fn url(&self) -> Url {
        // An address of this form is a URL.
        Url::parse(&format!("http://{}", self.address))
            .unwrap_or_else(|_| unreachable!("a socket address is a host"))
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// What it knows. Hold this briefly: every request waits.
    pub fn store(&self) -> MutexGuard<'_, Store> {
        lock(&self.shared.store)
    }

    /// Makes a job available; its id.
    pub fn offer(&self, job: NewJob) -> String {
        self.store().offer(job)
    }

    /// Makes the job that applies a finished plan, as the server does after an approval: the contents
    /// come back in standard base64.
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

    /// Waits until a job has ended and its execution too; the job as it is then, or as it is after `limit`.
    pub async fn wait(&self, id: &str, limit: Duration) -> Option<Job> {
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

    /// Misbehaves from now on.
    pub fn misbehave(&self, fault: Fault) {
        lock(&self.shared.faults).push(fault);
    }

    /// Behaves from now on.
    pub fn behave(&self) {
        lock(&self.shared.faults).clear();
    }

    /// Refuses every connection, or takes them again.
    pub fn set_down(&self, down: bool) {
        *lock(&self.shared.down) = down;
    }

    /// Ends it.
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
        // Small answers go out at once.
        let _ = stream.set_nodelay(true);
        let shared = shared.clone();
        connections.spawn(async move {
            let service = hyper::service::service_fn(|request| serve(shared.clone(), request));
            // A connection that was cut on purpose ends with an error.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn serve(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Body>, Cut> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
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
        return Err(Cut);
    }
    if let Some(checker) = &shared.options.checker
        && let Err(violation) = checker.check(&parts.method, &path, &query, &parts.headers, &body)
    {
        lock(&shared.store)
            .violations
            .push(format!("{} {path}: {violation}", parts.method));
    }
    let misbehaviour = {
        let mut faults = lock(&shared.faults);
        let hit = faults.iter_mut().find_map(|fault| {
            fault
                .hits(&parts.method, &path)
                .then(|| fault.misbehaviour.clone())
        });
        faults.retain(|fault| fault.times > 0);
        hit
    };
    match &misbehaviour {
        Some(Misbehaviour::Refuse(status, delay)) => {
            call.status = *status;
            lock(&shared.store).calls.push(call);
            let mut response = respond(Answer::error(*status, "refused on purpose"));
            if let Some(delay) = delay {
                response
                    .headers_mut()
                    .insert(http::header::RETRY_AFTER, (*delay).into());
            }
            return Ok(response);
        }
        Some(Misbehaviour::Reset) => {
            lock(&shared.store).calls.push(call);
            return Err(Cut);
        }
        Some(Misbehaviour::Silence(time)) => {
            lock(&shared.store).calls.push(call);
            shared.options.clock.sleep(*time).await;
            return Err(Cut);
        }
        Some(Misbehaviour::Redirect(to)) => {
            call.status = 307;
            lock(&shared.store).calls.push(call);
            let mut response = respond(Answer::error(307, "elsewhere"));
            if let Ok(to) = to.parse() {
                response.headers_mut().insert(http::header::LOCATION, to);
            }
            return Ok(response);
        }
        Some(Misbehaviour::Slow(time)) => shared.options.clock.sleep(*time).await,
        _ => {}
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
        carry_out(&shared, &request, &mut call).await
    } else {
        Answer::error(401, "invalid token")
    };
    call.status = answer.status;
    call.committed = answer.status < 300;
    let lost = matches!(misbehaviour, Some(Misbehaviour::LoseAnswer));
    if lost {
        call.status = 0;
    }
    lock(&shared.store).calls.push(call);
    match misbehaviour {
        Some(Misbehaviour::LoseAnswer) => Err(Cut),
        Some(Misbehaviour::HalfBody) => Ok(half(answer)),
        Some(Misbehaviour::BadJson) => Ok(respond(Answer {
            body: b"<html>".to_vec(),
            ..answer
        })),
        _ => Ok(respond(answer)),
    }
}

async fn carry_out(shared: &Shared, request: &answer::Request<'_>, call: &mut Call) -> Answer {
    let long_poll = shared.options.long_poll;
    let until = shared.options.clock.elapsed() + HELD;
    loop {
        call.at = shared.options.clock.elapsed();
        let answer = answer::answer(&mut lock(&shared.store), request, long_poll);
        let empty = answer.status == 200 && answer.body == b"[]";
        if !(request.is_tail() && empty) || shared.options.clock.elapsed() >= until {
            return answer;
        }
        shared.options.clock.sleep(LOOK).await;
    }
}

fn respond(answer: Answer) -> Response<Body> {
    let body = http_body_util::Full::new(Bytes::from(answer.body))
        .map_err(|never: Infallible| match never {})
        .boxed();
    let mut response = Response::new(body);
    *response.status_mut() =
        http::StatusCode::from_u16(answer.status).unwrap_or(http::StatusCode::OK);
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static(answer.content_type),
    );
    response
}

/// A good answer that stops in the middle.
fn half(answer: Answer) -> Response<Body> {
    let body = Bytes::from(answer.body);
    let whole = body.len();
    let half = body.slice(..whole / 2);
    let cut = async {
        // The first half must be on its way before the connection ends.
        tokio::time::sleep(Duration::from_millis(20)).await;
        Err(Cut)
    };
    let frames =
        futures_util::stream::iter([Ok(Frame::data(half))]).chain(futures_util::stream::once(cut));
    let mut response = respond(Answer {
        body: Vec::new(),
        ..answer
    });
    *response.body_mut() = http_body_util::BodyExt::boxed(StreamBody::new(frames));
    response
        .headers_mut()
        .insert(http::header::CONTENT_LENGTH, whole.max(1).into());
    response
}

/// Ids and a token that a control plane on this machine is content with.
pub fn credentials() -> (String, String) {
    (
        "run00000000000000000000000".into(),
        format!("dev-{:032x}", rand::random::<u128>()),
    )
}

/// The build plan of a component, for the control plane's own use.
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
