//! Polls for jobs, claims them, drives each through its six steps, and sees to it that every report
//! arrives. Generic: what a kind of job does is behind the [`Handler`] trait.
//!
//! ```text
//! dispatch ─ which job next ─▶ claim ─ an execution of ours ─▶ lifecycle ─ steps ─▶ Handler
//!                                                               │   ▲
//!                                         journal ◀─ intent ────┘   └── monitor: cancel, deadline
//!                                            └─ reports ─▶ outbox ─▶ control plane
//! ```
//!
//! Everything that must survive a kill goes through the journal; after a restart [`recover`]
//! delivers what is owed and drives on what is still wanted.

pub mod claim;
pub mod dispatch;
pub mod failure;
pub mod handler;
pub mod lifecycle;
pub mod metrics;
pub mod outbox;
pub mod recover;

mod exclusive;
mod monitor;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

pub use exclusive::Exclusive;
pub use failure::{Failure, FailureKind};
pub use handler::{Context, Handler, Outcome, Steps};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::base::clock::Clock;
use crate::base::secret::Redactor;
use crate::base::stop::Stop;
use crate::control::Client;
use crate::control::logs::LogContext;
use crate::control::wire::Settings;
use crate::job::{Group, JobKind};
use crate::journal::Journal;

/// What the worker is made of. Built once; shared by all that runs.
pub struct Worker {
    /// The control plane.
    pub control: Client,
    /// The journal.
    pub journal: Journal,
    /// Time.
    pub clock: Clock,
    /// Hides secrets.
    pub redactor: Redactor,
    /// What goes on log lines.
    pub logs: LogContext,
    /// The server's settings, as they change.
    pub settings: watch::Receiver<Arc<Settings>>,
    /// One for each kind of job.
    pub handlers: Vec<Arc<dyn Handler>>,
    /// The groups that this process serves.
    pub groups: Vec<Group>,
    /// Jobs at once per group, if the operator says so.
    pub concurrency: Option<usize>,
    /// Where directories of jobs are made.
    pub state_dir: PathBuf,
    /// No claim once this is stopped.
    pub drain: Stop,
    /// All jobs are cancelled, with clean-up, once this is stopped.
    pub cancel: Stop,
    /// Counters.
    pub metrics: metrics::Metrics,
    /// Deploys of one component, one after the other.
    pub exclusive: Exclusive,
    /// Deliveries that outlive their jobs.
    pub background: Background,
}

/// Tasks that end with the worker.
#[derive(Default)]
pub struct Background(Mutex<JoinSet<()>>);

impl Background {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    /// Ends all of them where they are. What they had not delivered is in the journal.
    fn end(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .abort_all();
    }
}

impl Worker {
    /// The handler of a kind.
    fn handler(&self, kind: &JobKind) -> Option<Arc<dyn Handler>> {
        self.handlers
            .iter()
            .find(|handler| handler.kinds().contains(kind))
            .cloned()
    }
}
