//! Jobs: their identifiers, kinds, and the state machine of executions. Pure.

pub mod id;
pub mod kind;
pub mod report;
pub mod state;

use std::time::Duration;

pub use id::{ExecutionId, JobId, LogStreamId, ProcessId, RunnerId};
use jiff::Timestamp;
pub use kind::{Group, JobKind, Operation};
pub use report::Report;
use serde::{Deserialize, Serialize};
pub use state::{ExecutionStatus, JobStatus, Step};

/// A job as the worker and the journal represent it. Contains no secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Id in the control plane.
    pub id: JobId,
    /// Selects the handler.
    pub kind: JobKind,
    /// The queue that the job came from.
    pub group: Group,
    /// The operation of a deploy job.
    pub operation: Operation,
    /// When the control plane created the job; also the `created` time of an artifact that it
    /// builds.
    pub created_at: Timestamp,
    /// Time limit of one execution.
    pub execution_timeout: Duration,
    /// Stream for the job's log lines. Without one they go to the process log only.
    pub log_stream: Option<LogStreamId>,
    /// Id of the record that the job belongs to. Tag of a build's artifact if the plan has none.
    pub owner: String,
    /// `shutdown_type` from the job's metadata, for jobs that stop the process.
    pub shutdown_type: Option<String>,
}
