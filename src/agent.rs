//! The agent, a daemon: builds every client once, owns every task, and defines the order of startup
//! and shutdown.
//!
//! [`Agent::build`] locks the state directory, opens the journal, makes the clients, and binds the
//! admin server's address. [`Agent::run`] starts the heartbeat (on a thread of its own) and the
//! admin server, reads the settings and registers, then runs jobs until a stop is requested. Every
//! exit, also after an error or a third signal, passes `stop`, which ends the heartbeat and the
//! admin server and closes the journal.

mod admin;
mod boot;
mod build;
mod check;
mod drain;
mod error;
mod heartbeat;
mod lock;
mod mode;

use std::fs::File;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use admin::{Admin, AdminListener};
use build::BuildContext;
pub use check::check;
use drain::Draining;
pub use drain::Signal;
pub use error::AgentError;
use heartbeat::HeartbeatThread;
pub use lock::take as lock_state_dir;
pub use mode::Mode;
use prometheus::Registry;
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use crate::base::clock::Clock;
use crate::base::guard::is_loopback;
use crate::base::secret::Redactor;
use crate::base::stop::Stop;
use crate::clients::http::Authorities;
use crate::clients::{Clients, Local};
use crate::config::Config;
use crate::control::token::TokenSource;
use crate::control::wire::{ProcessUpdate, Settings};
use crate::control::{Client, ControlStatus};
use crate::job::ProcessId;
use crate::journal::Journal;
use crate::journal::check::probe as probe_journal;
use crate::worker::Worker;
use crate::worker::dispatch::DispatchStatus;
use crate::worker::recover::{self, PreviousProcesses};

/// The runner's version, as reported to the control plane.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Timeout for reporting, at the end, that this process has stopped.
const SHUTDOWN_REPORT_TIMEOUT: Duration = Duration::from_secs(2);

/// Timeout for closing the journal, in which a last transaction may run.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// How the agent ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// No execution is left open.
    Orderly,
    /// Executions are left open for the next process.
    Forced,
}

/// The inputs of the agent.
pub struct AgentOptions {
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
}

/// An agent that is ready to run: its clients are made, and the admin server's address is bound.
pub struct Agent {
    work: Work,
    /// A client with connections of its own, so that job traffic cannot delay a heartbeat.
    heartbeat_client: Client,
    admin: Admin,
    listener: AdminListener,
    draining: Draining,
    _lock: File,
}

impl Agent {
    /// Locks the state directory, opens the journal, makes all clients, and binds the admin
    /// server's address. Sends no request yet.
    ///
    /// # Errors
    /// [`AgentError`] if a setting is missing, or something cannot be opened, made or bound.
    // Long: the list of all that is made, in order.
    pub async fn build(options: AgentOptions) -> Result<Self, AgentError> {
        let AgentOptions {
            config,
            mode,
            clock,
            redactor,
            signals,
            local_registries,
        } = options;
        log_start(&config, mode);
        if let Some(fault) = check::unusable_files(&config).into_iter().next() {
            return Err(AgentError::Missing(fault));
        }
        let lock = lock::take(&config.journal.state_dir)?;
        probe_journal(&config.journal)?;
        let mut journal = Journal::open(&config.journal, clock.clone()).await?;
        let previous = recover::previous_processes(&journal.open_claims().await?);
        let registry = Registry::new();
        journal.register_metrics(&registry)?;
        let variable = |name: &str| std::env::var(name).ok();
        let authorities = Authorities::read(config.clients.tls_ca_file.as_deref(), &variable)?;
        let control_status = ControlStatus::default();
        let context = BuildContext {
            config: &config,
            mode,
            clock: &clock,
            redactor: &redactor,
            journal: &journal,
            authorities: &authorities,
            control_status: &control_status,
            registry: &registry,
        };
        let local = Local {
            loopback: is_loopback(&config.control.url),
            registries: local_registries,
        };
        let clients = Clients::new(&config.clients, &authorities, local, &clock, &variable)?;
        let control_metrics = crate::control::metrics::Metrics::register(&registry)?;
        let control = context.control_client(&control_metrics)?;
        let heartbeat_client = context.control_client(&control_metrics)?;
        let (dispatch_status, status) = watch::channel(DispatchStatus::default());
        let (settings, current_settings) = watch::channel(Arc::default());
        let (drain, cancel) = (Stop::default(), Stop::default());
        let worker = Worker::new(
            context
                .worker_services(&control, control_metrics, clients)
                .await?,
            config.worker.clone(),
            current_settings.clone(),
            drain.clone(),
            cancel.clone(),
        );
        let heartbeat = HeartbeatThread::new(
            mode,
            &clock,
            previous.clone(),
            status.clone(),
            current_settings.clone(),
        );
        let admin = Admin::new(
            &registry,
            journal.clone(),
            clock.clone(),
            status,
            current_settings,
            heartbeat.clone(),
            control_status.clone(),
        )?;
        let listener = AdminListener::bind(config.admin_listen).await?;
        let draining = Draining::new(
            signals,
            drain.clone(),
            cancel,
            config.drain_timeout,
            clock.clone(),
        );
        let work = Work {
            mode,
            clock,
            control,
            journal,
            previous,
            worker: Arc::new(worker),
            heartbeat,
            drain,
            dispatch_status,
            settings,
        };
        Ok(Self {
            work,
            heartbeat_client,
            admin,
            listener,
            draining,
            _lock: lock,
        })
    }

    /// Returns the address of the admin server, with the port that was chosen for port 0.
    pub fn admin_address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// Runs jobs until a signal, a job or the control plane stops the agent, or something fails.
    ///
    /// # Errors
    /// [`AgentError`] if the journal fails, or a task ends unexpectedly.
    pub async fn run(self) -> Result<Exit, AgentError> {
        let Self {
            work,
            heartbeat_client,
            admin,
            listener,
            mut draining,
            _lock,
        } = self;
        let heartbeat_end = work.heartbeat.start(heartbeat_client);
        tracing::info!(address = %listener.address(), "the admin server is listening");
        let mut serving = AbortOnDropHandle::new(tokio::spawn(admin.serve(listener)));
        let ended = tokio::select! {
            ended = work.run(&mut draining) => ended,
            () = heartbeat::ended(heartbeat_end) => Err(AgentError::TaskEnded("the heartbeat")),
            _ = &mut serving => Err(AgentError::TaskEnded("the admin server")),
        };
        stop(&work.heartbeat, work.journal).await;
        drop(serving);
        ended
    }
}

/// Logs who starts, and with which settings.
fn log_start(config: &Config, mode: Mode) {
    let token_from = match &config.control.token {
        Some(TokenSource::File(path)) => path.display().to_string(),
        _ => "api.token".to_owned(),
    };
    tracing::info!(
        version = VERSION,
        mode = mode.as_str(),
        runner = config.control.runner.as_ref().map(ToString::to_string),
        control_plane = %config.control.url,
        state_dir = %config.journal.state_dir.display(),
        token_from,
        "starting"
    );
}

/// The work between startup and shutdown.
struct Work {
    mode: Mode,
    clock: Clock,
    control: Client,
    journal: Journal,
    previous: Option<PreviousProcesses>,
    worker: Arc<Worker>,
    heartbeat: HeartbeatThread,
    drain: Stop,
    dispatch_status: watch::Sender<DispatchStatus>,
    settings: watch::Sender<Arc<Settings>>,
}

impl Work {
    /// Registers at the control plane, runs jobs, and reports that the process has stopped once the
    /// worker has drained.
    async fn run(&self, draining: &mut Draining) -> Result<Exit, AgentError> {
        let reload = draining.reload();
        let booted = tokio::select! {
            booted = boot::boot(&self.control, self.mode, self.previous.as_ref(), &self.clock, &reload) => booted,
            () = draining.next_terminate() => {
                tracing::info!("the runner has stopped, before it was ready for jobs");
                return Ok(Exit::Orderly);
            }
        };
        self.settings.send_replace(booted.settings);
        let process = booted.process.as_ref();
        if let Some(process) = process {
            self.journal.record_process_id(process).await?;
            self.heartbeat.registered_as(process.clone());
        }
        self.heartbeat.wait_for_first().await;
        let mode = self.mode.as_str();
        tracing::info!(version = VERSION, mode, "the runner is ready for jobs");
        // A separate task: an event that wakes it does not poll the other branches here.
        let (worker, status) = (self.worker.clone(), self.dispatch_status.clone());
        let work = async move { worker.run(&status).await.map_err(AgentError::from) };
        let mut working = AbortOnDropHandle::new(tokio::spawn(work));
        let summary = tokio::select! {
            drained = &mut working => drained.unwrap_or(Err(AgentError::TaskEnded("the worker's task")))?,
            () = boot::refresh(&self.control, &self.settings, &self.clock, reload) => return Err(AgentError::TaskEnded("the settings' refresh")),
            () = boot::watch_shutdowns(&self.control, process, &self.drain, &self.clock) => return Err(AgentError::TaskEnded("the shutdown watch")),
            forced = draining.watch() => {
                tracing::error!("third signal: ending at once; open executions are left for the next process");
                return Ok(forced);
            }
        };
        if let Some(process) = process {
            report_stopped(&self.control, process, &self.clock).await;
        }
        let undelivered = self.journal.backlog().await;
        let undelivered = undelivered.map_or(0, |backlog| backlog.depth);
        if undelivered > 0 {
            tracing::warn!(
                undelivered,
                "reports are not delivered yet; they wait in the journal for the next start"
            );
        }
        tracing::info!(left = summary.suspended, "the runner has stopped");
        Ok(match summary.suspended {
            0 => Exit::Orderly,
            _ => Exit::Forced,
        })
    }
}

/// Reports that the process has stopped. The server notices the end by itself if this fails.
async fn report_stopped(control: &Client, process: &ProcessId, clock: &Clock) {
    let update = ProcessUpdate {
        status: "shut-down".into(),
        status_description: "runner stopped".into(),
    };
    let reported = control.update_process(process, &update);
    let _ = clock.timeout(SHUTDOWN_REPORT_TIMEOUT, reported).await;
}

/// Ends the heartbeat and closes the journal.
async fn stop(heartbeat: &HeartbeatThread, journal: Journal) {
    heartbeat.stop().await;
    if tokio::time::timeout(CLOSE_TIMEOUT, journal.close())
        .await
        .is_err()
    {
        tracing::warn!("the journal is still in use; nothing in it is lost");
    }
}
