//! Sends the calls of the API.
//!
//! The transport is a stack of tower layers, outermost first: the caller's deadline, retries by the
//! route's verdict, a limit on concurrent calls (below the retries, so that a call that waits for
//! its next attempt holds no slot), and a timeout for each attempt. A call is retried until its
//! deadline ([`RetryPolicy::Within`]), or tried once ([`RetryPolicy::Once`]) for callers that have
//! a schedule of their own.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;
use tower::{Layer as _, Service, ServiceExt as _};
use url::Url;

use super::control_status::ControlStatus;
use super::error::ControlError;
use super::metrics::Metrics;
use super::route::{ResponseClass, Route, Verdict};
use super::token::{Token, TokenError, TokenSource};
use super::wire::ErrorBody;
use crate::base::backoff::delays;
use crate::base::bounded;
use crate::base::clock::Clock;
use crate::base::retry::with_retries;
use crate::base::secret::Redactor;
use crate::job::RunnerId;

/// The inputs of a [`Client`](super::Client).
pub struct ClientOptions {
    /// The server's URL; its path, query and fragment are ignored.
    pub url: Url,
    /// Id of this runner.
    pub runner: RunnerId,
    /// Where the API token comes from.
    pub token: TokenSource,
    /// Collects refusals of the token.
    pub control_status: ControlStatus,
    /// The runner's version.
    pub version: String,
    /// HTTP client with the configured certificates and proxies. Must not follow redirects.
    pub http: reqwest::Client,
    /// Clock for supervision, long polls and delays.
    pub clock: Clock,
    /// Masks the token in every text.
    pub redactor: Redactor,
    /// Counts calls and lost log lines.
    pub metrics: Metrics,
}

/// Maximum concurrent calls. Long polls count, so this allows one per group beside all other calls.
const MAX_CONCURRENT_CALLS: usize = 24;

/// How often a call is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryPolicy {
    /// Once; the caller has a schedule of its own.
    Once,
    /// Again and again, for at most this long in total.
    Within(Duration),
}

/// The layer stack. Cheap to clone.
#[derive(Clone)]
pub(super) struct Transport {
    shared: Arc<Shared>,
    limit: tower::limit::ConcurrencyLimit<Sender>,
}

struct Shared {
    base: Url,
    token: Token,
    control_status: ControlStatus,
    client_version: String,
    http: reqwest::Client,
    clock: Clock,
    redactor: Redactor,
    metrics: Metrics,
}

/// One request, which can be sent any number of times.
#[derive(Debug, Clone)]
struct Call {
    route: Route,
    path: String,
    body: Body,
    client_version: String,
}

/// The body of a request.
#[derive(Debug, Clone)]
pub(super) enum Body {
    None,
    Json(Bytes),
    Protobuf(Bytes),
}

/// A successful response.
pub(super) struct Received {
    route: Route,
    pub(super) body: Bytes,
}

impl Received {
    /// Parses the body as JSON.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, ControlError> {
        serde_json::from_slice(&self.body).map_err(|error| ControlError::Broken {
            route: self.route,
            // The error's own text may quote the body.
            message: format!(
                "unexpected JSON at line {}, column {}",
                error.line(),
                error.column()
            ),
        })
    }
}

impl Transport {
    /// Builds the stack; sends nothing.
    ///
    /// # Errors
    /// [`TokenError`] if the token file cannot be read.
    pub(super) fn new(parts: ClientOptions) -> Result<Self, TokenError> {
        let mut base = parts.url;
        base.set_path("");
        base.set_query(None);
        base.set_fragment(None);
        let shared = Arc::new(Shared {
            base,
            token: Token::new(parts.token, parts.redactor.clone())?,
            control_status: parts.control_status,
            client_version: format!("runner:{}", parts.version),
            http: parts.http,
            clock: parts.clock,
            redactor: parts.redactor,
            metrics: parts.metrics,
        });
        let limit = tower::limit::ConcurrencyLimitLayer::new(MAX_CONCURRENT_CALLS)
            .layer(Sender(shared.clone()));
        Ok(Self { shared, limit })
    }

    /// Returns the name and version that the client sends.
    pub(super) fn client_version(&self) -> &str {
        &self.shared.client_version
    }

    /// Returns the client version of a claim with this nonce.
    pub(super) fn claim_version(&self, nonce: &str) -> String {
        format!("{}+claim.{nonce}", self.shared.client_version)
    }

    /// Returns the server's base URL.
    pub(super) fn base(&self) -> &Url {
        &self.shared.base
    }

    /// Reads the token from its file again.
    pub(super) fn refresh_token(&self) {
        self.shared.token.refresh();
    }

    /// Makes one call, with the retries that the policy allows.
    pub(super) async fn send(
        &self,
        route: Route,
        path: String,
        body: Body,
        retry: RetryPolicy,
    ) -> Result<Received, ControlError> {
        let call = self.call(route, path, body);
        match retry {
            RetryPolicy::Once => self.attempt(&call).await,
            RetryPolicy::Within(limit) => {
                let log = |error: &ControlError, wait| {
                    tracing::debug!(%route, %error, ?wait, "will try again");
                };
                let clock = &self.shared.clock;
                let attempts = with_retries(clock, delays(), log, || self.attempt(&call));
                match clock.timeout(limit, attempts).await {
                    Ok(done) => done,
                    Err(elapsed) => Err(ControlError::Deadline {
                        route,
                        waited: elapsed.0,
                    }),
                }
            }
        }
    }

    /// Creates an execution, once. Its client version carries the nonce.
    pub(super) async fn claim(&self, path: String, nonce: &str) -> Result<Received, ControlError> {
        let body = Body::Json(Bytes::from_static(b"{}"));
        let call = Call {
            client_version: self.claim_version(nonce),
            ..self.call(Route::CreateExecution, path, body)
        };
        self.attempt(&call).await
    }

    fn call(&self, route: Route, path: String, body: Body) -> Call {
        Call {
            route,
            path,
            body,
            client_version: self.shared.client_version.clone(),
        }
    }

    /// Makes one attempt. If the token is refused, it is read again for the next one.
    async fn attempt(&self, call: &Call) -> Result<Received, ControlError> {
        let answer = self.limit.clone().oneshot(call.clone()).await;
        let shared = &self.shared;
        if let Err(error) = &answer {
            let status = &shared.control_status;
            status.failed(call.route, error, &shared.redactor);
        }
        match &answer {
            Ok(_) => shared.control_status.accepted(call.route),
            Err(error) if error.is_status(401) => {
                shared
                    .control_status
                    .refused(&shared.clock, &shared.token.help());
                shared.token.refresh();
            }
            Err(error) if error.verdict() == Verdict::Reauthenticate => shared.token.refresh(),
            Err(_) => {}
        }
        answer
    }
}

/// Sends one attempt.
#[derive(Clone)]
struct Sender(Arc<Shared>);

impl Service<Call> for Sender {
    type Response = Received;
    type Error = ControlError;
    type Future = BoxFuture<'static, Result<Received, ControlError>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), ControlError>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call) -> Self::Future {
        let shared = self.0.clone();
        Box::pin(async move {
            let route = call.route;
            let attempt = tower::timeout::Timeout::new(
                tower::service_fn(|call| shared.attempt(call)),
                route.timeout(),
            );
            let result = match attempt.oneshot(call).await {
                Ok(answer) => Ok(answer),
                Err(error) => Err(match error.downcast::<ControlError>() {
                    Ok(error) => *error,
                    Err(_) => ControlError::NoAnswer {
                        route,
                        message: "timed out".into(),
                    },
                }),
            };
            shared.metrics.count(route, outcome(&result));
            result
        })
    }
}

fn outcome(result: &Result<Received, ControlError>) -> ResponseClass {
    match result {
        Ok(_) => ResponseClass::Status(200),
        Err(ControlError::Refused { status, .. }) => ResponseClass::Status(*status),
        Err(ControlError::Broken { .. }) => ResponseClass::Broken,
        Err(ControlError::NoAnswer { .. } | ControlError::Deadline { .. }) => {
            ResponseClass::NoAnswer
        }
    }
}

impl Shared {
    async fn attempt(&self, call: Call) -> Result<Received, ControlError> {
        let route = call.route;
        let url = self
            .base
            .join(&call.path)
            .map_err(|_| ControlError::Broken {
                route,
                message: "bad URL".into(),
            })?;
        let mut request = self
            .http
            .request(route.method(), url)
            .header(http::header::AUTHORIZATION, self.token.header())
            .header("X-Nuon-Client-Version", &call.client_version)
            .header(http::header::ACCEPT, "application/json");
        request = match call.body {
            Body::None => request,
            Body::Json(bytes) => request
                .header(http::header::CONTENT_TYPE, "application/json")
                .body(bytes),
            Body::Protobuf(bytes) => request
                .header(http::header::CONTENT_TYPE, "application/x-protobuf")
                .body(bytes),
        };
        let response = request
            .send()
            .await
            .map_err(|error| ControlError::NoAnswer {
                route,
                message: self.redactor.mask(&chain(&error)).into_owned(),
            })?;
        let status = response.status();
        let headers = response.headers().clone();
        let body = bounded::read(response, route.max_response_bytes()).await;
        if status.is_success() {
            let body = body.map_err(|error| ControlError::Broken {
                route,
                message: error.to_string(),
            })?;
            // For calls whose response carries nothing, a success status is enough.
            return Ok(Received { route, body });
        }
        Err(self.refusal(route, status, &headers, &body.unwrap_or_default()))
    }

    fn refusal(
        &self,
        route: Route,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
    ) -> ControlError {
        let refusal: Option<ErrorBody> = serde_json::from_slice(body).ok();
        let message = match (&refusal, status.is_redirection()) {
            (_, true) => {
                "it redirects to another address, which is not followed; check the API URL"
                    .to_owned()
            }
            (Some(refusal), _) if !refusal.error.is_empty() => refusal.error.clone(),
            (Some(refusal), _) => refusal.description.clone(),
            (None, _) => String::new(),
        };
        ControlError::Refused {
            route,
            status: status.as_u16(),
            message: self.redactor.mask(&message).chars().take(500).collect(),
            not_json: refusal.is_none(),
            delay: server_delay(headers, &self.clock),
        }
    }
}

/// Returns the delay of `Retry-After`, which is in seconds or a date.
fn server_delay(headers: &HeaderMap, clock: &Clock) -> Option<Duration> {
    let text = headers
        .get(http::header::RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Some(Duration::try_from(date.duration_since(clock.now())).unwrap_or_default())
}

/// Returns the causes of an error in one line. The error's own text, which contains the URL, is
/// left out: the route names the call.
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
    if text.is_empty() {
        "the connection failed".into()
    } else {
        text
    }
}
