//! The admin server: serves `/livez`, `/readyz` and `/metrics` on a separate address. Its responses
//! contain no secrets.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use prometheus::{Encoder as _, Gauge, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::{AgentError, VERSION};
use crate::agent::heartbeat::HeartbeatThread;
use crate::base::clock::Clock;
use crate::control::wire::Settings;
use crate::control::{ControlStatus, LONG_POLL_TIMEOUT};
use crate::journal::Journal;
use crate::worker::dispatch::{DispatchStatus, POLL_INTERVAL};

/// Maximum concurrent connections: one for each of the few clients, and some to spare. The process
/// needs its remaining file descriptors for jobs.
const MAX_CONNECTIONS: usize = 64;

/// Timeout for reading a request's head, and for the next request on a connection.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum lifetime of a connection; clients then reconnect.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(120);

/// Maximum size of a request's head, in bytes.
const MAX_HEADER_BYTES: usize = 16 << 10;

/// Pause after accepting a connection has failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Number of poll intervals without a successful poll after which the poll loop counts as stuck.
const MAX_MISSED_POLLS: u32 = 3;

/// The state of the admin server. Cheap to clone.
#[derive(Clone)]
pub struct Admin(Arc<Inner>);

struct Inner {
    registry: Registry,
    journal: Journal,
    clock: Clock,
    dispatch_status: watch::Receiver<DispatchStatus>,
    settings: watch::Receiver<Arc<Settings>>,
    heartbeat: HeartbeatThread,
    control_status: ControlStatus,
    depth: IntGauge,
    oldest: Gauge,
    heartbeat_age: Gauge,
}

impl Admin {
    /// Registers the gauges that are computed at each scrape.
    ///
    /// # Errors
    /// If a metric with one of their names is already registered.
    pub fn new(
        registry: &Registry,
        journal: Journal,
        clock: Clock,
        dispatch_status: watch::Receiver<DispatchStatus>,
        settings: watch::Receiver<Arc<Settings>>,
        heartbeat: HeartbeatThread,
        control_status: ControlStatus,
    ) -> Result<Self, prometheus::Error> {
        let depth = IntGauge::new(
            "nuon_runner_outbox_reports",
            "Reports waiting for delivery to the control plane.",
        )?;
        let oldest = Gauge::new(
            "nuon_runner_outbox_oldest_seconds",
            "Age of the oldest report waiting for delivery.",
        )?;
        let heartbeat_age = Gauge::new(
            "nuon_runner_heart_beat_age_seconds",
            "Time since the last heartbeat arrived; -1 for never.",
        )?;
        let build = IntGaugeVec::new(
            Opts::new(
                "nuon_runner_build_info",
                "Always 1; its label is the version.",
            ),
            &["version"],
        )?;
        build.with_label_values(&[VERSION]).set(1);
        registry.register(Box::new(depth.clone()))?;
        registry.register(Box::new(oldest.clone()))?;
        registry.register(Box::new(heartbeat_age.clone()))?;
        registry.register(Box::new(build))?;
        let registry = registry.clone();
        Ok(Self(Arc::new(Inner {
            registry,
            journal,
            clock,
            dispatch_status,
            settings,
            heartbeat,
            control_status,
            depth,
            oldest,
            heartbeat_age,
        })))
    }

    /// Answers requests until it is dropped. It is the last to end, so that a shutdown can be
    /// observed.
    pub async fn serve(self, listener: AdminListener) {
        let router = Router::new()
            .route("/livez", get(async || "ok\n"))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics))
            .with_state(self);
        accept(listener.listener, router).await;
    }
}

/// The bound address of the admin server.
pub struct AdminListener {
    listener: TcpListener,
    address: SocketAddr,
}

impl AdminListener {
    /// Binds an address.
    ///
    /// # Errors
    /// [`AgentError::Listen`] if the address cannot be bound.
    pub async fn bind(address: SocketAddr) -> Result<Self, AgentError> {
        let failed = |source| AgentError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// Returns the bound address, with the port that was chosen for port 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Accepts connections: a limited number, each for a limited time. A new connection replaces the
/// oldest one, so that idle connections, however many, cannot block a probe.
async fn accept(listener: TcpListener, router: Router) {
    let mut open: VecDeque<AbortOnDropHandle<()>> = VecDeque::new();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the admin server cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        open.retain(|connection| !connection.is_finished());
        while open.len() >= MAX_CONNECTIONS {
            open.pop_front();
        }
        open.push_back(AbortOnDropHandle::new(tokio::spawn(serve_connection(
            stream,
            router.clone(),
        ))));
    }
}

async fn serve_connection(stream: TcpStream, router: Router) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Ok(Err(error)) = tokio::time::timeout(CONNECTION_TIMEOUT, served).await {
        tracing::debug!(%error, "a connection to the admin server ended early");
    }
}

impl Inner {
    /// Returns why the runner is not ready; empty if it is ready.
    async fn reasons_not_ready(&self) -> Vec<String> {
        let dispatch = *self.dispatch_status.borrow();
        if dispatch.draining {
            return vec![format!("draining; running jobs: {}", dispatch.running)];
        }
        let refused = self.control_status.refused_ago(&self.clock).map(|ago| {
            let seconds = ago.as_secs();
            format!("the control plane refuses the token (401), the last time {seconds} s ago")
        });
        let period = if self.settings.borrow().long_poll_jobs {
            LONG_POLL_TIMEOUT
        } else {
            POLL_INTERVAL
        };
        let polls = match self.dispatch_status.borrow().last_poll {
            // Polling begins once the settings have been received.
            None => Some("the control plane has not given settings and jobs yet"),
            Some(at) if self.clock.elapsed().saturating_sub(at) > period * MAX_MISSED_POLLS => {
                Some("no poll for jobs was answered lately")
            }
            Some(_) => None,
        };
        let journal = (!self.journal.is_healthy().await).then_some("the journal does not answer");
        let polls = polls.map(|polls| {
            let failures = self.control_status.failures();
            let all = std::iter::once(polls.to_owned()).chain(failures);
            all.collect::<Vec<_>>().join(": ")
        });
        // Without a valid token nothing is polled.
        let polls = refused.or(polls);
        journal
            .map(str::to_owned)
            .into_iter()
            .chain(polls)
            .collect()
    }
}

async fn ready(State(Admin(inner)): State<Admin>) -> Response {
    let reasons = inner.reasons_not_ready().await;
    if reasons.is_empty() {
        return "ok\n".into_response();
    }
    (
        StatusCode::SERVICE_UNAVAILABLE,
        format!("{}\n", reasons.join("\n")),
    )
        .into_response()
}

async fn metrics(State(Admin(inner)): State<Admin>) -> Response {
    if let Ok(backlog) = inner.journal.backlog().await {
        inner
            .depth
            .set(i64::try_from(backlog.depth).unwrap_or(i64::MAX));
        inner.oldest.set(
            backlog
                .oldest
                .map_or(0.0, |at| inner.clock.since(at).as_secs_f64()),
        );
    }
    inner
        .heartbeat_age
        .set(inner.heartbeat.age().map_or(-1.0, |age| age.as_secs_f64()));
    let encoder = TextEncoder::new();
    let mut text = Vec::new();
    match encoder.encode(&inner.registry.gather(), &mut text) {
        Ok(()) => (
            [(header::CONTENT_TYPE, encoder.format_type().to_owned())],
            text,
        )
            .into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
