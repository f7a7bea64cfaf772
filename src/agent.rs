//! The daemon: builds every client once, owns every task, and knows the order of starting and of
//! stopping.
//!
//! Start: lock of the state directory, journal, heart beat (on a thread of its own), admin server,
//! settings and registration, work. Stop: no claim, jobs to their end, deliveries as far as they
//! come, and the heart beat last.

mod admin;
mod boot;
mod drain;
mod lock;
mod mode;
mod pulse;

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
use crate::control::{Client, Parts};
use crate::deployment::metrics::Metrics;
use crate::handlers;
use crate::handlers::Services;
use crate::journal::Journal;
use crate::worker::dispatch::Turn;
use crate::worker::{Background, Exclusive, Worker, recover};

/// Our version, as the control plane sees it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What the last deliveries and the server's own farewell may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// How the daemon ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// In good order.
    Orderly,
    /// With executions left open for the next process.
    Forced,
}

/// Why the daemon could not start, or not go on.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// A setting that is needed is not there.
    #[error("{0}")]
    Missing(String),
    /// Another process has the state directory.
    #[error(
        "the state directory {path} is in use by {holder}; stop that process, or set state_dir"
    )]
    Locked {
        /// Which directory.
        path: PathBuf,
        /// Who has it.
        holder: String,
    },
    /// The state directory cannot be used.
    #[error("cannot use the state directory {path}")]
    StateDir {
        /// Which directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The journal does not work.
    #[error(transparent)]
    Journal(#[from] crate::journal::JournalError),
    /// Certificates or connections cannot be set up.
    #[error(transparent)]
    Http(#[from] http::HttpError),
    /// The token's file cannot be read.
    #[error(transparent)]
    Token(#[from] crate::control::token::TokenError),
    /// The admin server has no address.
    #[error("cannot listen on {address} (admin.listen)")]
    Listen {
        /// Where.
        address: std::net::SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Two metrics of one name.
    #[error("cannot register metrics")]
    Metrics(#[from] prometheus::Error),
    /// A task that must not end has ended.
    #[error("{0} has ended by itself; this is a fault of the runner")]
    Fault(&'static str),
}

/// What the daemon is run with.
pub struct Agent {
    /// Settings.
    pub config: Config,
    /// Which jobs it serves.
    pub mode: Mode,
    /// Time.
    pub clock: Clock,
    /// Hides secrets.
    pub redactor: Redactor,
    /// Signals, from the system or from a test.
    pub signals: mpsc::UnboundedReceiver<Signal>,
    /// Whether folders on disk may be registries; only `dev` may.
    pub local_registries: bool,
    /// Told the admin server's address.
    pub listening: Option<tokio::sync::oneshot::Sender<std::net::SocketAddr>>,
}

impl Agent {
    /// Runs the daemon to its end.
    ///
    /// # Errors
    /// [`AgentError`].
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
        let inheritance = recover::inheritance(&journal.open_claims().await?);
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
            let key = journal.fingerprint_key(&id.to_string()).await?;
            services.deploy.options.signer = Some(Signer::new(&key));
            services.deploy.options.fields.key = Some(key.into());
        }
        let control_metrics = crate::control::metrics::Metrics::register(&registry)?;
        let parts = || -> Result<Parts, AgentError> {
            let token = config
                .api_token
                .clone()
                .ok_or_else(|| missing("api.token", "RUNNER_API_TOKEN"))?;
            Ok(Parts {
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
        let control = Client::new(parts()?)?;
        let (turns, turned) = watch::channel(Turn::default());
        let (settings_in, settings) = watch::channel(Arc::default());
        // A connection pool of its own: no job's traffic stands before a beat.
        let pulse = pulse::Pulse::new(
            mode,
            &clock,
            inheritance.clone(),
            turned.clone(),
            settings.clone(),
        );
        let beating = pulse.start(Client::new(parts()?)?);

        let admin = admin::Admin::new(
            &registry,
            journal.clone(),
            clock.clone(),
            turned,
            settings.clone(),
            pulse.clone(),
        )?;
        let address = admin.serve(config.admin_listen).await?;
        tracing::info!(%address, "the admin server listens");
        if let Some(listening) = listening {
            // Nobody may want to know any more.
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
            booted = boot::boot(&control, mode, inheritance.as_ref(), &clock) => booted,
            () = draining.first() => {
                pulse.stop();
                journal.close().await;
                return Ok(Exit::Orderly);
            }
        };
        settings_in.send_replace(booted.settings);
        if let Some(process) = &booted.process {
            journal.registered_as(process).await?;
            pulse.registered_as(process.clone());
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
            exclusive: Exclusive::default(),
            background: Background::default(),
        });
        pulse.first().await;
        tracing::info!(version = VERSION, mode = mode.as_str(), "the runner works");
        // A task of its own: what wakes it does not look at all the others here.
        let mut working = AbortOnDropHandle::new(tokio::spawn({
            let worker = worker.clone();
            async move { worker.run(&turns).await.map_err(AgentError::from) }
        }));
        let drained = tokio::select! {
            drained = &mut working => drained.unwrap_or(Err(AgentError::Fault("the worker's task")))?,
            () = boot::refresh(&control, &settings_in, &clock, draining.reload()) => return Err(AgentError::Fault("the settings' refresh")),
            () = boot::watch_shutdowns(&control, booted.process.as_ref(), &drain, &clock) => return Err(AgentError::Fault("the shutdown watch")),
            () = pulse::lost(beating) => return Err(AgentError::Fault("the heart beat")),
            forced = draining.watch() => {
                tracing::error!("the third signal: ends at once; open executions are left for the next process");
                return Ok(forced);
            }
        };
        if let Some(process) = &booted.process {
            let update = ProcessUpdate {
                status: "shut-down".into(),
                status_description: "runner stopped".into(),
            };
            // The server notices by itself if it cannot be told.
            let _ = clock
                .timeout(FAREWELL, control.update_process(process, &update))
                .await;
        }
        pulse.stop();
        drop(worker);
        journal.close().await;
        tracing::info!(left = drained.left, "the runner has stopped");
        Ok(if drained.left > 0 {
            Exit::Forced
        } else {
            Exit::Orderly
        })
    }
}

fn missing(setting: &str, variable: &str) -> AgentError {
    AgentError::Missing(format!(
        "{setting} is not set; set it in the configuration file or by {variable}"
    ))
}
