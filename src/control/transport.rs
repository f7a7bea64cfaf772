//! How a call is made.
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
use serde::de::DeserializeOwned;
use tower::{Layer as _, Service, ServiceExt as _};
use url::Url;

use super::error::ControlError;
use super::metrics::Metrics;
use super::route::{Outcome, Route, Verdict};
use super::token::{Token, TokenError, TokenSource};
use super::wire::Refusal;
use crate::base::backoff::Backoff;
use crate::base::bounded;
use crate::base::clock::Clock;
use crate::base::secret::Redactor;
use crate::job::RunnerId;

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

/// The longest that one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(10);

/// The longest that a poll or a look of the monitor may take: they come again soon.
const SHORT_ATTEMPT: Duration = Duration::from_secs(5);

/// How long a long poll is held by the server.
pub(super) const TAIL_WAIT: Duration = Duration::from_secs(25);

/// The longest that a long poll may take: the time it is held, and a grace.
pub const LONG_POLL: Duration = TAIL_WAIT.saturating_add(Duration::from_secs(5));

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

/// The stack. Cheap to clone.
#[derive(Clone)]
pub(super) struct Transport {
    shared: Arc<Shared>,
    limit: tower::limit::ConcurrencyLimit<Sender>,
}

struct Shared {
    base: Url,
    token: Token,
    client_version: String,
    http: reqwest::Client,
    clock: Clock,
    redactor: Redactor,
    metrics: Metrics,
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

/// What a request carries.
#[derive(Debug, Clone)]
pub(super) enum Body {
    None,
    Json(Bytes),
    Protobuf(Bytes),
}

/// A good answer.
pub(super) struct Answer {
    route: Route,
    pub(super) body: Bytes,
}

impl Answer {
    /// Reads it.
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
    /// Makes the stack; nothing is sent.
    ///
    /// # Errors
    /// [`TokenError`] if the token's file cannot be read.
    pub(super) fn new(parts: Parts) -> Result<Self, TokenError> {
        let mut base = parts.url;
        base.set_path("");
        base.set_query(None);
        base.set_fragment(None);
        let shared = Arc::new(Shared {
            base,
            token: Token::new(parts.token, parts.redactor.clone())?,
            client_version: format!("runner:{}", parts.version),
            http: parts.http,
            clock: parts.clock,
            redactor: parts.redactor,
            metrics: parts.metrics,
        });
        let limit =
            tower::limit::ConcurrencyLimitLayer::new(CALLS_AT_ONCE).layer(Sender(shared.clone()));
        Ok(Self { shared, limit })
    }

    /// How we call ourselves to the server.
    pub(super) fn client_version(&self) -> &str {
        &self.shared.client_version
    }

    /// The server's address.
    pub(super) fn base(&self) -> &Url {
        &self.shared.base
    }

    /// Reads the token from its file again.
    pub(super) fn refresh_token(&self) {
        self.shared.token.refresh();
    }

    /// Makes one call.
    ///
    /// # Errors
    /// [`ControlError`].
    pub(super) async fn send(
        &self,
        route: Route,
        path: String,
        body: Body,
        patience: Patience,
    ) -> Result<Answer, ControlError> {
        let timeout = match route {
            Route::JobsTail => LONG_POLL,
            Route::Jobs | Route::Monitor | Route::HeartBeat => SHORT_ATTEMPT,
            _ => ATTEMPT,
        };
        let call = Call {
            route,
            path,
            body,
            timeout,
            patience,
        };
        let retry = Retry {
            shared: self.shared.clone(),
            backoff: Backoff::default(),
        };
        let stack = tower::retry::RetryLayer::new(retry).layer(self.limit.clone());
        match patience {
            Patience::Once => stack.oneshot(call).await,
            Patience::Until(limit) => {
                match self.shared.clock.timeout(limit, stack.oneshot(call)).await {
                    Ok(done) => done,
                    Err(elapsed) => Err(ControlError::Deadline {
                        route,
                        waited: elapsed.0,
                    }),
                }
            }
        }
    }
}

/// Tries a call again when its route says so.
#[derive(Clone)]
struct Retry {
    shared: Arc<Shared>,
    backoff: Backoff,
}

impl tower::retry::Policy<Call, Answer, ControlError> for Retry {
    type Future = BoxFuture<'static, ()>;

    fn retry(
        &mut self,
        call: &mut Call,
        result: &mut Result<Answer, ControlError>,
    ) -> Option<Self::Future> {
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
                call.timeout,
            );
            let result = match attempt.oneshot(call).await {
                Ok(answer) => Ok(answer),
                Err(error) => Err(match error.downcast::<ControlError>() {
                    Ok(error) => *error,
                    Err(_) => ControlError::NoAnswer {
                        route,
                        message: "silent for too long".into(),
                    },
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
            .header("X-Nuon-Client-Version", &self.client_version)
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
        let body = bounded::read(response, LARGEST_ANSWER).await;
        if status.is_success() {
            let body = body.map_err(|error| ControlError::Broken {
                route,
                message: error.to_string(),
            })?;
            // Calls whose answer carries nothing are done when the status says so.
            return Ok(Answer { route, body });
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
        let refusal: Option<Refusal> = serde_json::from_slice(body).ok();
        let message = match (&refusal, status.is_redirection()) {
            (_, true) => {
                "it redirects elsewhere, which is not followed; check the API URL".to_owned()
            }
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
    if text.is_empty() {
        "the connection failed".into()
    } else {
        text
    }
}
