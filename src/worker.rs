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
pub mod recover;

mod concurrency;
mod monitor;
mod slots;
mod staged;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

pub use concurrency::ConcurrencyKeys;
pub use failure::{Failure, FailureKind};
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

/// The worker's clients, settings and shared state. Built once; shared by all of its tasks.
pub struct Worker {
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
    /// The control plane's settings; changes when they are refreshed.
    pub settings: watch::Receiver<Arc<Settings>>,
    /// One handler for each kind of job.
    pub handlers: Vec<Arc<dyn Handler>>,
    /// The groups that this process serves.
    pub groups: Vec<Group>,
    /// Maximum concurrent jobs per group, if the operator sets it; otherwise the control plane's
    /// setting applies.
    pub concurrency: Option<usize>,
    /// Directory below which job directories are created.
    pub state_dir: PathBuf,
    /// Once this is stopped, no job is claimed.
    pub drain: Stop,
    /// Once this is stopped, all jobs are cancelled and cleaned up.
    pub cancel: Stop,
    /// Metrics of jobs, steps and polls.
    pub metrics: metrics::Metrics,
    /// Concurrency keys, so that deploys of one component run one after the other.
    pub concurrency_keys: ConcurrencyKeys,
    /// Report deliveries that outlive their jobs.
    pub background: Background,
}

/// Tasks that are aborted when the worker ends.
#[derive(Default)]
pub struct Background(Mutex<JoinSet<()>>);

impl Background {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task.in_current_span());
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
    /// Returns the handler of a kind of job.
    fn handler(&self, kind: &JobKind) -> Option<Arc<dyn Handler>> {
        self.handlers
            .iter()
            .find(|handler| handler.kinds().contains(kind))
            .cloned()
    }
}
