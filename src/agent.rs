//! The daemon: builds every client once, owns every task, and defines the order of startup and
//! shutdown.
//!
//! Startup: lock the state directory, open the journal, start the heartbeat (on a thread of its
//! own) and the admin server, read the settings and register, then run jobs. Shutdown: stop
//! claiming, let jobs end, deliver as many reports as possible, and stop the heartbeat last.

mod admin;
mod boot;
mod drain;
mod heartbeat;
mod lock;
mod mode;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use drain::Signal;
pub use mode::Mode;
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use crate::base::clock::Clock;
use crate::base::guard::is_loopback;
use crate::base::secret::Redactor;
use crate::base::stop::Stop;
use crate::clients::{Clients, Local, http};
use crate::cluster::rollout::inventory::Signer;
use crate::config::Config;
use crate::control::logs::LogContext;
use crate::control::wire::ProcessUpdate;
use crate::control::{Client, ClientOptions};
use crate::deployment::metrics::Metrics;
use crate::handlers;
use crate::handlers::Services;
use crate::journal::Journal;
use crate::worker::dispatch::DispatchStatus;
use crate::worker::{Background, ConcurrencyKeys, Worker, recover};

/// The runner's version, as reported to the control plane.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Timeout for reporting, at the end, that this process has stopped.
const SHUTDOWN_REPORT_TIMEOUT: Duration = Duration::from_secs(2);

/// How the daemon ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// No execution is left open.
    Orderly,
    /// Executions are left open for the next process.
    Forced,
}

/// Why the daemon could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// A required setting is missing.
    #[error("{0}")]
    Missing(String),
    /// Another process holds the state directory.
    #[error(
        "the state directory {path} is in use by {holder}; stop that process, or set state_dir"
    )]
    Locked {
        /// The state directory.
        path: PathBuf,
        /// The process that holds it, with its process id if that can be read.
        holder: String,
    },
    /// The state directory cannot be used.
    #[error("cannot use the state directory {path}")]
    StateDir {
        /// The state directory.
        path: PathBuf,
        /// The underlying error.
        #[source]
        source: std::io::Error,
    },
    /// The journal cannot be opened, read or written.
    #[error(transparent)]
    Journal(#[from] crate::journal::JournalError),
    /// Certificates or HTTP clients cannot be set up.
    #[error(transparent)]
    Http(#[from] http::HttpError),
    /// The token file cannot be read.
    #[error(transparent)]
    Token(#[from] crate::control::token::TokenError),
    /// The admin server cannot listen on its address.
    #[error("cannot listen on {address} (admin.listen)")]
    Listen {
        /// The configured address.
        address: std::net::SocketAddr,
        /// The underlying error.
        #[source]
        source: std::io::Error,
    },
    /// Two metrics have the same name.
    #[error("cannot register metrics")]
    Metrics(#[from] prometheus::Error),
    /// A task that must not end has ended.
    #[error("{0} has ended unexpectedly; this is a fault of the runner")]
    TaskEnded(&'static str),
}

/// The inputs of the daemon.
pub struct Agent {
    /// The operator's configuration.
    pub config: Config,
    /// Selects the groups of jobs to serve.
    pub mode: Mode,
    /// The process's clock; manual in tests.
    pub clock: Clock,
    /// Masks secrets in logs and reports.
    pub redactor: Redactor,
    /// Signals, from the system or from a test.
    pub signals: mpsc::UnboundedReceiver<Signal>,
    /// True if directories on disk may serve as registries; only `dev` sets it.
    pub local_registries: bool,
    /// Receives the admin server's address once it is bound.
    pub listening: Option<tokio::sync::oneshot::Sender<std::net::SocketAddr>>,
}

impl Agent {
    /// Runs the daemon until it ends.
    ///
    /// # Errors
    /// [`AgentError`] if the daemon cannot start, the journal fails, or a task ends unexpectedly.
    pub async fn run(self) -> Result<Exit, AgentError> {
        let Self {
            config,
            mode,
            clock,
            redactor,
            signals,
            local_registries,
            listening,
        } = self;
        let _lock = lock::take(&config.state_dir)?;
        let journal = Journal::open(
            config.journal_url.as_deref(),
            &config.state_dir,
            clock.clone(),
        )
        .await?;
        let previous = recover::previous_processes(&journal.open_claims().await?);
        let variable = |name: &str| std::env::var(name).ok();
        let authorities =
            http::Authorities::read(config.clients.tls_ca_file.as_deref(), &variable)?;
        let registry = prometheus::Registry::new();
        let groups = mode.groups();
        let local = Local {
            loopback: groups.is_empty() || is_loopback(&config.api_url),
            registries: local_registries,
        };
        let mut services = Services {
            clock: clock.clone(),
            redactor: redactor.clone(),
            groups,
            clients: Clients::new(&config.clients, &authorities, local, &variable)?,
            build: config.build.clone(),
            deploy: config.deploy.clone(),
            metrics: Metrics::new()?,
        };
        services.metrics.register(&registry)?;
        if let Some(id) = &config.id {
            let key = journal.hash_key(&id.to_string()).await?;
            services.deploy.options.signer = Some(Signer::new(&key));
            services.deploy.options.fields.key = Some(key.into());
        }
        let control_metrics = crate::control::metrics::Metrics::register(&registry)?;
        let client_options = || -> Result<ClientOptions, AgentError> {
            let token = config
                .api_token
                .clone()
                .ok_or_else(|| missing("api.token", "RUNNER_API_TOKEN"))?;
            Ok(ClientOptions {
                url: config.api_url.clone(),
                runner: config
                    .id
                    .clone()
                    .ok_or_else(|| missing("id", "RUNNER_ID"))?,
                token: token.into(),
                version: VERSION.to_owned(),
                http: http::client(&authorities)?,
                clock: clock.clone(),
                redactor: redactor.clone(),
                metrics: control_metrics.clone(),
            })
        };
        let control = Client::new(client_options()?)?;
        let (status_sender, dispatch_status) = watch::channel(DispatchStatus::default());
        let (settings_sender, settings) = watch::channel(Arc::default());
        // A separate connection pool, so that job traffic cannot delay a heartbeat.
        let heartbeat = heartbeat::HeartbeatThread::new(
            mode,
            &clock,
            previous.clone(),
            dispatch_status.clone(),
            settings.clone(),
        );
        let heartbeat_end = heartbeat.start(Client::new(client_options()?)?);

        let admin = admin::Admin::new(
            &registry,
            journal.clone(),
            clock.clone(),
            dispatch_status,
            settings.clone(),
            heartbeat.clone(),
        )?;
        let address = admin.serve(config.admin_listen).await?;
        tracing::info!(%address, "the admin server is listening");
        if let Some(listening) = listening {
            // The receiver may be gone.
            let _ = listening.send(address);
        }

        let drain = Stop::default();
        let cancel = Stop::default();
        let mut draining = drain::Draining::new(
            signals,
            drain.clone(),
            cancel.clone(),
            config.drain_timeout,
            clock.clone(),
        );
        let booted = tokio::select! {
            booted = boot::boot(&control, mode, previous.as_ref(), &clock) => booted,
            () = draining.next_terminate() => {
                heartbeat.stop();
                journal.close().await;
                return Ok(Exit::Orderly);
            }
        };
        settings_sender.send_replace(booted.settings);
        if let Some(process) = &booted.process {
            journal.record_process_id(process).await?;
            heartbeat.registered_as(process.clone());
        }
        let worker = Arc::new(Worker {
            control: control.clone(),
            journal: journal.clone(),
            clock: clock.clone(),
            redactor: redactor.clone(),
            logs: LogContext {
                client: control.clone(),
                version: VERSION.to_owned(),
                clock: clock.clone(),
                redactor: redactor.clone(),
                metrics: control_metrics.clone(),
            },
            settings,
            handlers: handlers::all(services),
            groups: mode.groups(),
            concurrency: config.worker_concurrency,
            state_dir: config.state_dir.clone(),
            drain: drain.clone(),
            cancel,
            metrics: crate::worker::metrics::Metrics::register(&registry)?,
            concurrency_keys: ConcurrencyKeys::default(),
            background: Background::default(),
        });
        heartbeat.wait_for_first().await;
        tracing::info!(
            version = VERSION,
            mode = mode.as_str(),
            "the runner is ready for jobs"
        );
        // A separate task: an event that wakes it does not poll the other branches here.
        let mut working = AbortOnDropHandle::new(tokio::spawn({
            let worker = worker.clone();
            async move { worker.run(&status_sender).await.map_err(AgentError::from) }
        }));
        let summary = tokio::select! {
            drained = &mut working => drained.unwrap_or(Err(AgentError::TaskEnded("the worker's task")))?,
            () = boot::refresh(&control, &settings_sender, &clock, draining.reload()) => return Err(AgentError::TaskEnded("the settings' refresh")),
            () = boot::watch_shutdowns(&control, booted.process.as_ref(), &drain, &clock) => return Err(AgentError::TaskEnded("the shutdown watch")),
            () = heartbeat::ended(heartbeat_end) => return Err(AgentError::TaskEnded("the heartbeat")),
            forced = draining.watch() => {
                tracing::error!("third signal: ending at once; open executions are left for the next process");
                return Ok(forced);
            }
        };
        if let Some(process) = &booted.process {
            let update = ProcessUpdate {
                status: "shut-down".into(),
                status_description: "runner stopped".into(),
            };
            // The server notices the end by itself if this fails.
            let _ = clock
                .timeout(
                    SHUTDOWN_REPORT_TIMEOUT,
                    control.update_process(process, &update),
                )
                .await;
        }
        heartbeat.stop();
        drop(worker);
        journal.close().await;
        tracing::info!(left = summary.suspended, "the runner has stopped");
        Ok(if summary.suspended > 0 {
            Exit::Forced
        } else {
            Exit::Orderly
        })
    }
}

fn missing(setting: &str, variable: &str) -> AgentError {
    AgentError::Missing(format!(
        "{setting} is not set; set it in the configuration file or with {variable}"
    ))
}
