//! Sends requests and reads answers.
//!
//! A stack of tower layers, outermost first: the caller's deadline, retry by the route's verdict,
//! a limit on calls at once (below the retry, so that a call that waits holds no slot), a timeout
//! for each attempt. A call either keeps trying until its deadline ([`Patience::Until`]) or is tried
//! once ([`Patience::Once`]), for callers that own a schedule.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tower::{Layer as _, Service, ServiceExt as _};
use url::Url;

use super::metrics::Metrics;
use super::route::{Outcome, Route, Verdict};
use super::wire::{
    ExecutionRecord, HeartBeat, JobRecord, JobUpdate, NewProcess, OutputsReport, ProcessRecord, ProcessUpdate, Refusal,
    ResultReport, Settings, Shutdown, StatusUpdate,
};
use crate::base::backoff::Backoff;
use crate::base::clock::Clock;
use crate::base::secret::{Learned, Redactor, Secret};
use crate::job::{ExecutionId, Group, JobId, LogStreamId, ProcessId, RunnerId};

/// The longest that one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(10);

/// The longest that a poll or a look of the monitor may take: they come again soon.
const SHORT_ATTEMPT: Duration = Duration::from_secs(5);

/// How long a long poll is held by the server, and how much longer we wait for it.
const TAIL_WAIT: Duration = Duration::from_secs(25);
const TAIL_GRACE: Duration = Duration::from_secs(5);

/// Calls at once. Held polls count, so there is room for one per group beside all else.
const CALLS_AT_ONCE: usize = 24;

/// The largest answer that is read. Plans hold whole manifests.
const LARGEST_ANSWER: usize = 64 << 20;

/// How often a call is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Once; the caller has a schedule of its own.
    Once,
    /// Until this much time has passed.
    Until(Duration),
}

/// Why a call was in vain.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The server refused.
    #[error("the control plane refused {route} with {status}{}", detail(.message))]
    Refused {
        /// Which call.
        route: Route,
        /// Its status.
        status: u16,
        /// The server's words, without secrets.
        message: String,
        /// Whether the body was no JSON: the route is not there.
        plain: bool,
        /// What the server asked us to wait.
        delay: Option<Duration>,
    },
    /// There was no answer.
    #[error("the control plane did not answer {route}: {message}")]
    NoAnswer {
        /// Which call.
        route: Route,
        /// What happened, without secrets.
        message: String,
    },
    /// The answer was cut off or is not what was promised.
    #[error("the control plane's answer to {route} cannot be read: {message}")]
    Broken {
        /// Which call.
        route: Route,
        /// What is wrong with it.
        message: String,
    },
    /// The deadline struck.
    #[error("the control plane could not be reached for {route} in {waited:?}")]
    Deadline {
        /// Which call.
        route: Route,
        /// How long it was tried.
        waited: Duration,
    },
}

fn detail(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

impl ControlError {
    /// What the route's table says of this.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Refused { route, status, .. } => route.verdict(Outcome::Status(*status)),
            Self::NoAnswer { route, .. } => route.verdict(Outcome::NoAnswer),
            Self::Broken { route, .. } => route.verdict(Outcome::Broken),
            Self::Deadline { .. } => Verdict::Final,
        }
    }

    /// Whether the server does not know the route: an older generation, or one that has it switched off.
    pub fn is_absent_route(&self) -> bool {
        matches!(self, Self::Refused { status: 404, plain: true, .. })
    }

    /// Whether the server answered with this status.
    pub fn is_status(&self, wanted: u16) -> bool {
        matches!(self, Self::Refused { status, .. } if *status == wanted)
    }

    /// The wait that the server asked for.
    pub fn delay(&self) -> Option<Duration> {
        match self {
            Self::Refused { delay, .. } => *delay,
            _ => None,
        }
    }
}

/// Where the runner's token comes from.
pub enum TokenSource {
    /// Given once.
    Value(Secret),
    /// A file that is read again whenever the token is refused.
    File(std::path::PathBuf),
}

/// What a client is made of.
pub struct Parts {
    /// The server; only scheme, host and port count.
    pub url: Url,
    /// The runner.
    pub runner: RunnerId,
    /// The token.
    pub token: TokenSource,
    /// Our version.
    pub version: String,
    /// Connections, with the certificates and proxies of the configuration. Must not follow redirects.
    pub http: reqwest::Client,
    /// Time.
    pub clock: Clock,
    /// Hides the token in every text.
    pub redactor: Redactor,
    /// Counters.
    pub metrics: Metrics,
}

/// The control plane. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    limit: tower::limit::ConcurrencyLimit<Sender>,
}

struct Shared {
    base: Url,
    runner: RunnerId,
    token: Token,
    client_version: String,
    http: reqwest::Client,
    clock: Clock,
    redactor: Redactor,
    metrics: Metrics,
}

struct Token {
    source: TokenSource,
    current: std::sync::RwLock<(Secret, Learned)>,
    redactor: Redactor,
}

/// A token that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the token from {path}")]
pub struct TokenError {
    path: std::path::PathBuf,
    #[source]
    source: std::io::Error,
}

impl Token {
    fn new(source: TokenSource, redactor: Redactor) -> Result<Self, TokenError> {
        let first = Self::load(&source)?;
        let learned = redactor.learn(first.expose());
        Ok(Self { source, current: std::sync::RwLock::new((first, learned)), redactor })
    }

    fn load(source: &TokenSource) -> Result<Secret, TokenError> {
        match source {
            TokenSource::Value(secret) => Ok(secret.clone()),
            TokenSource::File(path) => std::fs::read_to_string(path)
                .map(|text| text.trim().into())
                .map_err(|source| TokenError { path: path.clone(), source }),
        }
    }

    /// Reads the token again; the old one stays if that fails.
    fn refresh(&self) {
        match Self::load(&self.source) {
            Ok(secret) => {
                let learned = self.redactor.learn(secret.expose());
                let mut current = self.current.write().unwrap_or_else(std::sync::PoisonError::into_inner);
                *current = (secret, learned);
            }
            Err(error) => tracing::warn!(%error, "the token was refused and cannot be read again"),
        }
    }

    fn header(&self) -> String {
        let current = self.current.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        format!("Bearer {}", current.0.expose())
    }
}

/// One request, ready to be sent any number of times.
#[derive(Debug, Clone)]
struct Call {
    route: Route,
    path: String,
    body: Body,
    timeout: Duration,
    patience: Patience,
}

#[derive(Debug, Clone)]
enum Body {
    None,
    Json(Bytes),
    Protobuf(Bytes),
}

/// A good answer.
struct Answer {
    route: Route,
    body: Bytes,
}

impl Answer {
    fn json<T: DeserializeOwned>(&self) -> Result<T, ControlError> {
        serde_json::from_slice(&self.body).map_err(|error| ControlError::Broken {
            route: self.route,
            // The error's own text may quote the body.
            message: format!("unexpected JSON at line {}, column {}", error.line(), error.column()),
        })
    }
}

impl Client {
    /// Makes a client; nothing is sent.
    ///
    /// # Errors
    /// [`TokenError`] if the token's file cannot be read.
    pub fn new(parts: Parts) -> Result<Self, TokenError> {
        let mut base = parts.url;
        base.set_path("");
        base.set_query(None);
        base.set_fragment(None);
        let shared = Arc::new(Shared {
            base,
            runner: parts.runner,
            token: Token::new(parts.token, parts.redactor.clone())?,
            client_version: format!("runner:{}", parts.version),
            http: parts.http,
            clock: parts.clock,
            redactor: parts.redactor,
            metrics: parts.metrics,
        });
        let limit = tower::limit::ConcurrencyLimitLayer::new(CALLS_AT_ONCE).layer(Sender(shared.clone()));
        Ok(Self { shared, limit })
    }

    /// How we call ourselves to the server; becomes `client.version` of our executions.
    pub fn client_version(&self) -> &str {
        &self.shared.client_version
    }

    /// The server's address.
    pub fn base(&self) -> &Url {
        &self.shared.base
    }

    /// The runner we are.
    pub fn runner(&self) -> &RunnerId {
        &self.shared.runner
    }

    /// Reads the token from its file again.
    pub fn refresh_token(&self) {
        self.shared.token.refresh();
    }

    /// Reads the settings.
    ///
    /// # Errors
    /// [`ControlError`], as for every call.
    pub async fn settings(&self, patience: Patience) -> Result<Settings, ControlError> {
        self.read(Route::Settings, self.runner_path("/settings"), patience).await
    }

    /// Sends a heart beat, once, for at most 5 s.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn heart_beat(&self, beat: &HeartBeat) -> Result<(), ControlError> {
        self.write(Route::HeartBeat, self.runner_path("/heart-beats"), beat, Patience::Once).await
    }

    /// The available jobs of all groups, newest first, once, for at most 5 s.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn jobs(&self) -> Result<Vec<JobRecord>, ControlError> {
        self.read(Route::Jobs, self.runner_path("/jobs?limit=100"), Patience::Once).await
    }

    /// The available jobs of one group, held by the server for up to 25 s.
    ///
    /// # Errors
    /// [`ControlError`]; 404 if the server has no such route or has it switched off.
    pub async fn jobs_tail(&self, group: &Group) -> Result<Vec<JobRecord>, ControlError> {
        let path = self.runner_path(&format!("/jobs/tail?group={group}&wait={}s", TAIL_WAIT.as_secs()));
        self.read(Route::JobsTail, path, Patience::Once).await
    }

    /// Reads a job with its newest execution.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn job(&self, id: &JobId, patience: Patience) -> Result<JobRecord, ControlError> {
        self.read(Route::Job, format!("/v1/runner-jobs/{id}"), patience).await
    }

    /// Reads a job to see whether it is still wanted, once, for at most 5 s.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn monitor(&self, id: &JobId) -> Result<JobRecord, ControlError> {
        self.read(Route::Monitor, format!("/v1/runner-jobs/{id}"), Patience::Once).await
    }

    /// The text of a job's plan.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn plan(&self, id: &JobId, patience: Patience) -> Result<String, ControlError> {
        self.text(Route::Plan, format!("/v1/runner-jobs/{id}/plan"), patience).await
    }

    /// The text of a job's composite plan.
    ///
    /// # Errors
    /// [`ControlError`]; [`ControlError::is_absent_route`] on older servers.
    pub async fn composite_plan(&self, id: &JobId, patience: Patience) -> Result<String, ControlError> {
        self.text(Route::CompositePlan, format!("/v1/runner-jobs/{id}/composite-plan"), patience).await
    }

    /// Sets a job's status.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn update_job(&self, id: &JobId, update: &JobUpdate) -> Result<(), ControlError> {
        self.write(Route::UpdateJob, format!("/v1/runner-jobs/{id}"), update, Patience::Once).await
    }

    /// Makes an execution. Tried once: what a lost answer means is the caller's to find out.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn create_execution(&self, id: &JobId) -> Result<ExecutionRecord, ControlError> {
        let body = Body::Json(Bytes::from_static(b"{}"));
        let path = format!("/v1/runner-jobs/{id}/executions");
        self.send(Route::CreateExecution, path, body, Patience::Once).await?.json()
    }

    /// Reads an execution.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn execution(
        &self,
        job: &JobId,
        id: &ExecutionId,
        patience: Patience,
    ) -> Result<ExecutionRecord, ControlError> {
        self.read(Route::Execution, format!("/v1/runner-jobs/{job}/executions/{id}"), patience).await
    }

    /// Sets an execution's status, once.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn update_execution(
        &self,
        job: &JobId,
        id: &ExecutionId,
        update: &StatusUpdate,
    ) -> Result<(), ControlError> {
        let path = format!("/v1/runner-jobs/{job}/executions/{id}");
        self.write(Route::UpdateExecution, path, update, Patience::Once).await
    }

    /// Posts an execution's result, once.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn post_result(&self, job: &JobId, id: &ExecutionId, report: &ResultReport) -> Result<(), ControlError> {
        let path = format!("/v1/runner-jobs/{job}/executions/{id}/result");
        self.write(Route::Result, path, report, Patience::Once).await
    }

    /// Posts an execution's outputs, once.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn post_outputs(
        &self,
        job: &JobId,
        id: &ExecutionId,
        report: &OutputsReport,
    ) -> Result<(), ControlError> {
        let path = format!("/v1/runner-jobs/{job}/executions/{id}/outputs");
        self.write(Route::Outputs, path, report, Patience::Once).await
    }

    /// Ships a batch of log lines, as binary protobuf.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn ship_logs(&self, stream: &LogStreamId, batch: Bytes, patience: Patience) -> Result<(), ControlError> {
        let path = format!("/v1/log-streams/{stream}/logs");
        self.send(Route::Logs, path, Body::Protobuf(batch), patience).await.map(drop)
    }

    /// Registers this process.
    ///
    /// # Errors
    /// [`ControlError`]; [`ControlError::is_absent_route`] on older servers.
    pub async fn register(&self, process: &NewProcess, patience: Patience) -> Result<ProcessRecord, ControlError> {
        let body = encode(Route::CreateProcess, process)?;
        self.send(Route::CreateProcess, self.runner_path("/processes"), body, patience).await?.json()
    }

    /// Reads a registered process.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn process(&self, id: &ProcessId, patience: Patience) -> Result<ProcessRecord, ControlError> {
        self.read(Route::Process, self.runner_path(&format!("/processes/{id}")), patience).await
    }

    /// Sets a registered process's status.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn update_process(&self, id: &ProcessId, update: &ProcessUpdate) -> Result<(), ControlError> {
        let path = self.runner_path(&format!("/processes/{id}"));
        self.write(Route::UpdateProcess, path, update, Patience::Once).await
    }

    /// Wishes that a registered process ends.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn shutdowns(&self, id: &ProcessId) -> Result<Vec<Shutdown>, ControlError> {
        self.read(Route::Shutdowns, self.runner_path(&format!("/processes/{id}/shutdowns")), Patience::Once).await
    }

    /// Says that such a wish was heard.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn complete_shutdown(&self, id: &ProcessId, shutdown: &str) -> Result<(), ControlError> {
        let path = self.runner_path(&format!("/processes/{id}/shutdowns/{shutdown}/complete"));
        self.send(Route::CompleteShutdown, path, Body::None, Patience::Once).await.map(drop)
    }

    // ---- how calls are made ----

    fn runner_path(&self, rest: &str) -> String {
        format!("/v1/runners/{}{rest}", self.shared.runner)
    }

    async fn read<T: DeserializeOwned>(
        &self,
        route: Route,
        path: String,
        patience: Patience,
    ) -> Result<T, ControlError> {
        self.send(route, path, Body::None, patience).await?.json()
    }

    async fn text(&self, route: Route, path: String, patience: Patience) -> Result<String, ControlError> {
        let answer = self.send(route, path, Body::None, patience).await?;
        String::from_utf8(answer.body.into())
            .map_err(|_| ControlError::Broken { route, message: "the text is not UTF-8".into() })
    }

    async fn write(
        &self,
        route: Route,
        path: String,
        body: &impl Serialize,
        patience: Patience,
    ) -> Result<(), ControlError> {
        self.send(route, path, encode(route, body)?, patience).await.map(drop)
    }

    async fn send(&self, route: Route, path: String, body: Body, patience: Patience) -> Result<Answer, ControlError> {
        let timeout = match route {
            Route::JobsTail => TAIL_WAIT + TAIL_GRACE,
            Route::Jobs | Route::Monitor | Route::HeartBeat => SHORT_ATTEMPT,
            _ => ATTEMPT,
        };
        let call = Call { route, path, body, timeout, patience };
        let retry = Retry { shared: self.shared.clone(), backoff: Backoff::default() };
        let stack = tower::retry::RetryLayer::new(retry).layer(self.limit.clone());
        match patience {
            Patience::Once => stack.oneshot(call).await,
            Patience::Until(limit) => match self.shared.clock.timeout(limit, stack.oneshot(call)).await {
                Ok(done) => done,
                Err(elapsed) => Err(ControlError::Deadline { route, waited: elapsed.0 }),
            },
        }
    }
}

fn encode(route: Route, body: &impl Serialize) -> Result<Body, ControlError> {
    serde_json::to_vec(body)
        .map(|bytes| Body::Json(bytes.into()))
        .map_err(|error| ControlError::Broken { route, message: format!("the request has no JSON form: {error}") })
}

/// Tries a call again when its route says so.
#[derive(Clone)]
struct Retry {
    shared: Arc<Shared>,
    backoff: Backoff,
}

impl tower::retry::Policy<Call, Answer, ControlError> for Retry {
    type Future = BoxFuture<'static, ()>;

    fn retry(&mut self, call: &mut Call, result: &mut Result<Answer, ControlError>) -> Option<Self::Future> {
        let error = result.as_ref().err()?;
        let verdict = error.verdict();
        if verdict == Verdict::Reauthenticate {
            self.shared.token.refresh();
        }
        let again = matches!(verdict, Verdict::Retry | Verdict::Reauthenticate);
        if !again || call.patience == Patience::Once {
            return None;
        }
        let wait = self.backoff.next(error.delay());
        tracing::debug!(route = %call.route, %error, ?wait, "will try again");
        Some(self.shared.clock.sleep(wait))
    }

    fn clone_request(&mut self, call: &Call) -> Option<Call> {
        Some(call.clone())
    }
}

/// Sends one attempt.
#[derive(Clone)]
struct Sender(Arc<Shared>);

impl Service<Call> for Sender {
    type Response = Answer;
    type Error = ControlError;
    type Future = BoxFuture<'static, Result<Answer, ControlError>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), ControlError>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call) -> Self::Future {
        let shared = self.0.clone();
        Box::pin(async move {
            let route = call.route;
            let attempt = tower::timeout::Timeout::new(tower::service_fn(|call| shared.attempt(call)), call.timeout);
            let result = match attempt.oneshot(call).await {
                Ok(answer) => Ok(answer),
                Err(error) => Err(match error.downcast::<ControlError>() {
                    Ok(error) => *error,
                    Err(_) => ControlError::NoAnswer { route, message: "silent for too long".into() },
                }),
            };
            shared.metrics.count(route, outcome(&result));
            result
        })
    }
}

fn outcome(result: &Result<Answer, ControlError>) -> Outcome {
    match result {
        Ok(_) => Outcome::Status(200),
        Err(ControlError::Refused { status, .. }) => Outcome::Status(*status),
        Err(ControlError::Broken { .. }) => Outcome::Broken,
        Err(ControlError::NoAnswer { .. } | ControlError::Deadline { .. }) => Outcome::NoAnswer,
    }
}

impl Shared {
    async fn attempt(&self, call: Call) -> Result<Answer, ControlError> {
        let route = call.route;
        let url = self.base.join(&call.path).map_err(|_| ControlError::Broken { route, message: "bad URL".into() })?;
        let mut request = self
            .http
            .request(route.method(), url)
            .header(http::header::AUTHORIZATION, self.token.header())
            .header("X-Nuon-Client-Version", &self.client_version)
            .header(http::header::ACCEPT, "application/json");
        request = match call.body {
            Body::None => request,
            Body::Json(bytes) => request.header(http::header::CONTENT_TYPE, "application/json").body(bytes),
            Body::Protobuf(bytes) => request.header(http::header::CONTENT_TYPE, "application/x-protobuf").body(bytes),
        };
        let response = request.send().await.map_err(|error| ControlError::NoAnswer {
            route,
            message: self.redactor.mask(&chain(&error)).into_owned(),
        })?;
        let status = response.status();
        let headers = response.headers().clone();
        let body = read_body(response).await;
        if status.is_success() {
            let body = body.map_err(|message| ControlError::Broken { route, message })?;
            // Calls whose answer carries nothing are done when the status says so.
            return Ok(Answer { route, body });
        }
        Err(self.refusal(route, status, &headers, &body.unwrap_or_default()))
    }

    fn refusal(&self, route: Route, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> ControlError {
        let refusal: Option<Refusal> = serde_json::from_slice(body).ok();
        let message = match (&refusal, status.is_redirection()) {
            (_, true) => "it redirects elsewhere, which is not followed; check the API URL".to_owned(),
            (Some(refusal), _) if !refusal.error.is_empty() => refusal.error.clone(),
            (Some(refusal), _) => refusal.description.clone(),
            (None, _) => String::new(),
        };
        ControlError::Refused {
            route,
            status: status.as_u16(),
            message: self.redactor.mask(&message).chars().take(500).collect(),
            plain: refusal.is_none(),
            delay: server_delay(headers, &self.clock),
        }
    }
}

/// `Retry-After`, in seconds or as a date.
fn server_delay(headers: &HeaderMap, clock: &Clock) -> Option<Duration> {
    let text = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Some(Duration::try_from(date.duration_since(clock.now())).unwrap_or_default())
}

async fn read_body(mut response: reqwest::Response) -> Result<Bytes, String> {
    let mut body = bytes::BytesMut::new();
    loop {
        match response.chunk().await {
            Ok(None) => return Ok(body.freeze()),
            Ok(Some(chunk)) if body.len() + chunk.len() <= LARGEST_ANSWER => body.extend_from_slice(&chunk),
            Ok(Some(_)) => return Err(format!("it is longer than {LARGEST_ANSWER} bytes")),
            Err(error) => return Err(chain(&error)),
        }
    }
}

/// An error with its causes, in one line. URLs are left out: they are in the route.
fn chain(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    if text.is_empty() { "the connection failed".into() } else { text }
}
