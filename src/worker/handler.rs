//! What a kind of job has to offer.

use std::path::Path;
use std::sync::OnceLock;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::failure::{Failure, FailureKind};
use crate::base::clock::Clock;
use crate::base::interrupt;
use crate::base::secret::Redactor;
use crate::base::stop::Stop;
use crate::control::wire::ResultReport;
use crate::control::{Client, JobLog};
use crate::job::{ExecutionId, Job, JobKind};
use crate::workspace::dir::JobDir;

/// Knows kinds of jobs. One value for the whole process; the state of a job is in its [`Steps`].
pub trait Handler: Send + Sync {
    /// Its name in reports.
    fn name(&self) -> &'static str;

    /// The kinds it knows.
    fn kinds(&self) -> &'static [JobKind];

    /// Begins a job: nothing happens yet.
    fn start(&self) -> Box<dyn Steps>;
}

/// What a step gives back.
pub type StepFuture<'a, T = ()> = BoxFuture<'a, Result<T, Failure>>;

/// The steps of one execution, called in the order in which they stand here.
///
/// A step may be dropped at any of its waits, when the job is stopped; what it started must end
/// with it. All steps may run again after a crash, under the same execution.
pub trait Steps: Send {
    /// Reads the plan, fetches sources.
    fn fetch<'a>(&'a mut self, _: &'a Context) -> StepFuture<'a> {
        Box::pin(async { Ok(()) })
    }

    /// Asked after the fetch: no two executions with the same key run at once.
    fn exclusive(&self) -> Option<String> {
        None
    }

    /// Makes clients, pulls the artifact.
    fn initialize<'a>(&'a mut self, _: &'a Context) -> StepFuture<'a> {
        Box::pin(async { Ok(()) })
    }

    /// Checks all that can be checked before an effect.
    fn validate<'a>(&'a mut self, _: &'a Context) -> StepFuture<'a> {
        Box::pin(async { Ok(()) })
    }

    /// The effect. Must be idempotent: after a crash in mid-effect it is called again.
    fn exec<'a>(&'a mut self, context: &'a Context) -> StepFuture<'a, Outcome>;

    /// Removes what the job left outside of its directory. Always called, also after a failure.
    fn cleanup<'a>(&'a mut self, _: &'a Context) -> StepFuture<'a> {
        Box::pin(async { Ok(()) })
    }
}

/// What an effect produced. Kept in the journal: must hold no secret.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The result to post, for kinds that have one.
    pub result: Option<ResultReport>,
    /// The outputs to post.
    pub outputs: Map<String, Value>,
    /// Whether the job is worthless unless its result is stored: a plan is.
    #[serde(default)]
    pub needs_result: bool,
    /// Whether the effect itself went wrong although it has a result to show.
    #[serde(default)]
    pub failure: Option<String>,
    /// Whether the process ends with this job.
    #[serde(default)]
    pub stops_process: bool,
    /// Whether nobody but the runner finishes the job itself.
    #[serde(default)]
    pub finishes_job: bool,
}

/// What a step may use.
pub struct Context {
    /// The job.
    pub job: Job,
    /// The execution.
    pub execution: ExecutionId,
    /// The job's log, with the step on every line.
    pub log: JobLog,
    /// Stopped when the job is.
    pub stop: Stop,
    /// The control plane.
    pub control: Client,
    /// Hides secrets.
    pub redactor: Redactor,
    /// Time.
    pub clock: Clock,
    /// When the job's time is over, on the clock's count.
    pub deadline: std::time::Duration,
    pub(super) directory: OnceLock<JobDir>,
    pub(super) state_dir: std::path::PathBuf,
}

impl Context {
    /// How much time the job has left.
    pub fn time_left(&self) -> std::time::Duration {
        self.deadline.saturating_sub(self.clock.elapsed())
    }

    /// The job's own directory, made when it is first asked for, removed after the job.
    ///
    /// # Errors
    /// [`Failure`] if it cannot be made.
    pub fn directory(&self) -> Result<&Path, Failure> {
        if let Some(directory) = self.directory.get() {
            return Ok(directory.path());
        }
        let made = JobDir::create(&self.state_dir, self.execution.as_str()).map_err(|error| {
            Failure::new(
                FailureKind::Machine,
                format!(
                    "cannot make a directory for the job below {}: {error}",
                    self.state_dir.display()
                ),
            )
        })?;
        Ok(self.directory.get_or_init(|| made).path())
    }

    /// Runs work that keeps a core busy where it holds nobody up; parsing and printing in it end early when the job is
    /// stopped.
    ///
    /// # Errors
    /// [`Failure`] of kind `Internal` if the work panics.
    pub async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let stop = self.stop.clone();
        let wanted = tokio::task::spawn_blocking(move || interrupt::while_wanted(&stop, work));
        wanted.await.map_err(|_| {
            Failure::new(
                FailureKind::Internal,
                "the runner panicked in this job; this is a fault of the runner",
            )
        })
    }
}
