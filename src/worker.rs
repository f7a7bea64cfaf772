//! Polls for jobs, claims them, runs each through its six steps, and delivers every report.
//! Independent of the kinds of jobs: those are behind the [`Handler`] trait.
//!
//! ```text
//! dispatch ─ which job next ─▶ claim ─ an execution of ours ─▶ lifecycle ─ steps ─▶ Handler
//!                                                               │   ▲
//!                                         journal ◀─ intent ────┘   └── monitor: cancel
//!                                            └─ reports ─▶ outbox ─▶ control plane
//! ```
//!
//! Everything that must survive a kill goes through the journal. After a restart [`recover`]
//! delivers pending reports and resumes the executions that are still wanted.

pub mod claim;
pub mod dispatch;
pub mod failure;
pub mod handler;
pub mod lifecycle;
pub mod metrics;
pub mod outbox;
mod poll_failures;
pub mod recover;

mod concurrency;
mod malformed;
mod monitor;
mod slots;
mod staged;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use concurrency::ConcurrencyKeys;
pub use failure::{FailureKind, StepFailure};
pub use handler::{Context, Handler, Outcome, Steps};
pub use staged::{Staged, StagedJob};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::Instrument as _;

use crate::base::clock::Clock;
use crate::base::secret::Redactor;
use crate::base::stop::Stop;
use crate::control::Client;
use crate::control::logs::LogContext;
use crate::control::wire::Settings;
use crate::job::{Group, JobKind};
use crate::journal::Journal;

/// Runs jobs. Built once; shared by all of its tasks.
pub struct Worker {
    services: WorkerServices,
    config: WorkerConfig,
    /// The control plane's settings; changes when they are refreshed.
    settings: watch::Receiver<Arc<Settings>>,
    /// Once this is stopped, no job is claimed.
    drain: Stop,
    /// Once this is stopped, all jobs are cancelled and cleaned up.
    cancel: Stop,
    concurrency_keys: ConcurrencyKeys,
    background: Background,
    /// Logs of ended jobs whose last lines are being shipped.
    closing_logs: Background,
}

/// What the worker uses.
pub struct WorkerServices {
    /// Client of the control plane's API.
    pub control: Client,
    /// Durable record of executions and of reports to deliver.
    pub journal: Journal,
    /// The process's clock; manual in tests.
    pub clock: Clock,
    /// Masks secrets in logs and reports.
    pub redactor: Redactor,
    /// Shared by the logs of all jobs.
    pub logs: LogContext,
    /// One handler for each kind of job.
    pub handlers: Vec<Arc<dyn Handler>>,
    /// The groups of jobs that this process serves.
    pub groups: Vec<Group>,
    /// Metrics of jobs, steps and polls.
    pub metrics: metrics::Metrics,
}

/// Settings of the worker.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// Maximum concurrent jobs per group; `None` for the control plane's setting.
    pub concurrency: Option<usize>,
    /// Directory below which job directories are created.
    pub state_dir: PathBuf,
}

/// Deliveries of reports that outlive their jobs. They are aborted when the worker ends.
#[derive(Default)]
struct Background(Mutex<JoinSet<()>>);

impl Background {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task.in_current_span());
    }

    /// Waits for all tasks, which end within a few seconds by themselves.
    async fn finish(&self) {
        let tasks = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.join_all().await;
    }

    /// Aborts all tasks. Reports that they have not delivered stay in the journal.
    fn abort_all(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .abort_all();
    }
}

impl Worker {
    /// Creates a worker. `settings` are the control plane's; once `drain` is stopped no job is
    /// claimed, and once `cancel` is stopped all jobs are cancelled and cleaned up.
    pub fn new(
        services: WorkerServices,
        config: WorkerConfig,
        settings: watch::Receiver<Arc<Settings>>,
        drain: Stop,
        cancel: Stop,
    ) -> Self {
        Self {
            services,
            config,
            settings,
            drain,
            cancel,
            concurrency_keys: ConcurrencyKeys::default(),
            background: Background::default(),
            closing_logs: Background::default(),
        }
    }

    /// Returns the handler of a kind of job.
    fn handler(&self, kind: &JobKind) -> Option<Arc<dyn Handler>> {
        self.services
            .handlers
            .iter()
            .find(|handler| handler.kinds().contains(kind))
            .cloned()
    }
}
