//! The admin server: `/livez`, `/readyz` and `/metrics`, on an address of its own, without any
//! secret.

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

use super::pulse::Pulse;
use super::{AgentError, VERSION};
use crate::base::clock::Clock;
use crate::control::LONG_POLL;
use crate::control::wire::Settings;
use crate::journal::Journal;
use crate::worker::dispatch::{POLL_PERIOD, Turn};

/// Connections at once: one for each of the few who ask, and then some. The rest of the process's files is for jobs.
const MAX_CONNECTIONS: usize = 64;

/// How long a request's head may take, and the next request on a connection.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection lives at most; whoever asks again connects again.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(120);

/// The most bytes of a request's head.
const MAX_HEADERS: usize = 16 << 10;

/// Pause after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A poll loop that has not turned for this many periods is stuck.
const PERIODS: u32 = 3;

/// The admin server's view of the daemon. Cheap to clone.
#[derive(Clone)]
pub struct Admin(Arc<Inner>);

struct Inner {
    registry: Registry,
    journal: Journal,
    clock: Clock,
    turns: watch::Receiver<Turn>,
    settings: watch::Receiver<Arc<Settings>>,
    pulse: Pulse,
    depth: IntGauge,
    oldest: Gauge,
    beat: Gauge,
}

impl Admin {
    /// Registers the gauges that are measured when they are asked for.
    ///
    /// # Errors
    /// If their names are taken.
    pub fn new(
        registry: &Registry,
        journal: Journal,
        clock: Clock,
        turns: watch::Receiver<Turn>,
        settings: watch::Receiver<Arc<Settings>>,
        pulse: Pulse,
    ) -> Result<Self, prometheus::Error> {
        let depth = IntGauge::new(
            "nuon_runner_outbox_reports",
            "Reports that wait for the control plane.",
        )?;
        let oldest = Gauge::new(
            "nuon_runner_outbox_oldest_seconds",
            "Age of the oldest report that waits.",
        )?;
        let beat = Gauge::new(
            "nuon_runner_heart_beat_age_seconds",
            "Time since the last heart beat arrived; -1 for never.",
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
        registry.register(Box::new(beat.clone()))?;
        registry.register(Box::new(build))?;
        let registry = registry.clone();
        Ok(Self(Arc::new(Inner {
            registry,
            journal,
            clock,
            turns,
            settings,
            pulse,
            depth,
            oldest,
            beat,
        })))
    }

    /// Listens; the returned address tells the port that was chosen.
    ///
    /// # Errors
    /// [`AgentError::Listen`].
    pub async fn serve(self, address: SocketAddr) -> Result<SocketAddr, AgentError> {
        let failed = |source| AgentError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        let router = Router::new()
            .route("/livez", get(async || "ok\n"))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics))
            .with_state(self);
        // Lives as long as the process: it is what tells how the stop goes on.
        tokio::spawn(accept(listener, router));
        Ok(bound)
    }
}

/// Serves connections: few at once, each for a limited time. The oldest makes room for a new one, so that no number of
/// connections that say nothing keeps a probe from its answer.
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
        .max_buf_size(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Ok(Err(error)) = tokio::time::timeout(CONNECTION_TIMEOUT, served).await {
        tracing::debug!(%error, "a connection to the admin server ended early");
    }
}

impl Inner {
    /// What stands in the way of being ready.
    async fn hindrances(&self) -> Vec<&'static str> {
        let period = if self.settings.borrow().long_poll_jobs {
            LONG_POLL
        } else {
            POLL_PERIOD
        };
        let polls = match self.turns.borrow().polled {
            // Polls begin when the settings have come.
            None => Some("the control plane has not given settings and jobs yet"),
            Some(at) if self.clock.elapsed().saturating_sub(at) > period * PERIODS => {
                Some("no poll for jobs was answered lately")
            }
            Some(_) => None,
        };
        let journal = (!self.journal.is_good().await).then_some("the journal does not answer");
        journal.into_iter().chain(polls).collect()
    }
}

async fn ready(State(Admin(inner)): State<Admin>) -> Response {
    let hindrances = inner.hindrances().await;
    if hindrances.is_empty() {
        return "ok\n".into_response();
    }
    (
        StatusCode::SERVICE_UNAVAILABLE,
        format!("{}\n", hindrances.join("\n")),
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
        .beat
        .set(inner.pulse.age().map_or(-1.0, |age| age.as_secs_f64()));
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
