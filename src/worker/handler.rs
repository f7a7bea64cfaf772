//! The interface that each kind of job implements.

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::failure::{FailureKind, StepFailure};
use crate::base::clock::Clock;
use crate::base::interrupt;
use crate::base::secret::Redactor;
use crate::base::stop::Stop;
use crate::control::{Client, JobLog};
use crate::job::report::ResultReport;
use crate::job::{ExecutionId, Job, JobKind};
use crate::workspace::dir::JobDir;

/// Runs one or more kinds of jobs. One value serves the whole process; the state of a job is in its
/// [`Steps`].
pub trait Handler: Send + Sync {
    /// Returns its name in error reports.
    fn name(&self) -> &'static str;

    /// Returns the kinds of jobs that it runs.
    fn kinds(&self) -> &'static [JobKind];

    /// Creates the steps of one job. Has no effect yet.
    fn start(&self) -> Box<dyn Steps>;
}

/// The future that a step returns.
pub type StepFuture<'a, T = ()> = BoxFuture<'a, Result<T, StepFailure>>;

/// The steps of one execution, called in the order in which they are declared here.
///
/// A step may be dropped at any await point when the job is stopped; everything it started must end
/// with it. Every step may run again after a crash, under the same execution.
pub trait Steps: Send {
    /// Reads the plan and fetches sources.
    fn fetch<'a>(&'a mut self, _: &'a Context) -> StepFuture<'a> {
        Box::pin(async { Ok(()) })
    }

    /// Returns the time that a step has to end by itself, and to record what it has done, when the
    /// job is stopped. Then it is dropped.
    fn wind_down(&self) -> Duration {
        Duration::ZERO
    }

    /// Returns the concurrency key, if any: executions with the same key never run at the same
    /// time. Called after `fetch`.
    fn concurrency_key(&self) -> Option<String> {
        None
    }

    /// Creates clients and pulls the artifact.
    fn initialize<'a>(&'a mut self, _: &'a Context) -> StepFuture<'a> {
        Box::pin(async { Ok(()) })
    }

    /// Checks everything that can be checked before the effect.
    fn validate<'a>(&'a mut self, _: &'a Context) -> StepFuture<'a> {
        Box::pin(async { Ok(()) })
    }

    /// Performs the effect. Must be idempotent: it is called again if the process crashes during
    /// it.
    fn exec<'a>(&'a mut self, context: &'a Context) -> StepFuture<'a, Outcome>;

    /// Removes what the job left outside of its directory. Always called, even after a failure.
    fn cleanup<'a>(&'a mut self, _: &'a Context) -> StepFuture<'a> {
        Box::pin(async { Ok(()) })
    }
}

/// What the effect produced. Stored in the journal, so it must not contain secrets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum Outcome {
    /// The effect is done.
    Done {
        /// The result to post, for kinds of jobs that have one.
        result: Option<ResultReport>,
        /// The outputs to post.
        outputs: Map<String, Value>,
    },
    /// A plan was made: the job fails unless the server accepts its result.
    Planned {
        /// The result to post.
        result: ResultReport,
    },
    /// The effect failed, and still has a result to post.
    Failed {
        /// The result to post.
        result: ResultReport,
        /// Why it failed.
        message: String,
    },
    /// The process stops after this job.
    StopProcess {
        /// True if the runner must set the job's own status, because the control plane does not
        /// supervise the job.
        finishes_job: bool,
    },
}

impl Outcome {
    /// Reads an outcome from the journal.
    ///
    /// # Errors
    /// Fails if this version does not know its form.
    pub fn from_journal(stored: &Value) -> Result<Self, serde_json::Error> {
        Self::deserialize(stored)
    }

    /// Returns the result to post.
    pub fn result(&self) -> Option<&ResultReport> {
        match self {
            Self::Done { result, .. } => result.as_ref(),
            Self::Planned { result } | Self::Failed { result, .. } => Some(result),
            Self::StopProcess { .. } => None,
        }
    }

    /// Returns the outputs to post; `None` if the effect failed.
    pub fn outputs(&self) -> Option<Map<String, Value>> {
        match self {
            Self::Done { outputs, .. } => Some(outputs.clone()),
            Self::Failed { .. } => None,
            Self::Planned { .. } | Self::StopProcess { .. } => Some(Map::new()),
        }
    }
}

impl Default for Outcome {
    fn default() -> Self {
        Self::Done {
            result: None,
            outputs: Map::new(),
        }
    }
}

/// The data and clients that a step uses.
pub struct Context {
    /// The job to run.
    pub job: Job,
    /// Id of the job's execution.
    pub execution: ExecutionId,
    /// Whether an earlier process began the execution, and may have done a part of its effect.
    pub is_resumed: bool,
    /// The job's log. Lines written through it carry no step.
    pub log: JobLog,
    /// Stopped when the job is cancelled, its time is up, or the runner stops.
    pub stop: Stop,
    /// Client of the control plane's API.
    pub control: Client,
    /// Masks secrets in logs and reports.
    pub redactor: Redactor,
    /// The process's clock; manual in tests.
    pub clock: Clock,
    /// When the job times out, as time since the clock started.
    pub deadline: std::time::Duration,
    pub(super) directory: OnceLock<JobDir>,
    pub(super) state_dir: std::path::PathBuf,
}

impl Context {
    /// Returns the time that the job has left.
    pub fn time_left(&self) -> std::time::Duration {
        self.deadline.saturating_sub(self.clock.elapsed())
    }

    /// Returns the job's own directory. It is created on first use and removed after the job.
    ///
    /// # Errors
    /// [`StepFailure`] of kind `Machine` if the directory cannot be created.
    pub fn directory(&self) -> Result<&Path, StepFailure> {
        if let Some(directory) = self.directory.get() {
            return Ok(directory.path());
        }
        let made = JobDir::create(&self.state_dir, self.execution.as_str()).map_err(|error| {
            StepFailure::new(
                FailureKind::Machine,
                format!(
                    "cannot create a directory for the job in {}: {error}",
                    self.state_dir.display()
                ),
            )
        })?;
        Ok(self.directory.get_or_init(|| made).path())
    }

    /// Runs CPU-bound work on a blocking thread. Parsing and printing in it end early when the job
    /// is stopped.
    ///
    /// # Errors
    /// [`StepFailure`] of kind `Internal` if the work panics.
    pub async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, StepFailure> {
        let stop = self.stop.clone();
        let span = tracing::Span::current();
        let wanted = tokio::task::spawn_blocking(move || {
            span.in_scope(|| interrupt::with_stop(&stop, work))
        });
        wanted.await.map_err(|_| {
            StepFailure::new(
                FailureKind::Internal,
                "the runner panicked in this job; this is a fault of the runner",
            )
        })
    }
}
