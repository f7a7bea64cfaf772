//! What a job is: its identifiers, its kind, and the one state machine of its execution. Pure.

pub mod id;
pub mod kind;
pub mod state;

use std::time::Duration;

pub use id::{ExecutionId, JobId, LogStreamId, ProcessId, RunnerId};
use jiff::Timestamp;
pub use kind::{Group, JobKind, Operation};
use serde::{Deserialize, Serialize};
pub use state::{ExecutionStatus, JobStatus, Step};

/// A job as the worker knows it, and as the journal keeps it. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// What is to be done.
    pub kind: JobKind,
    /// The queue it came from.
    pub group: Group,
    /// What a deploy job does.
    pub operation: Operation,
    /// When the control plane made it; also the `created` time of an artifact that it builds.
    pub created_at: Timestamp,
    /// How long one execution may take.
    pub execution_timeout: Duration,
    /// Where its log lines go; without one they stay in the process log.
    pub log_stream: Option<LogStreamId>,
    /// The record that the job works for; for a build its id is the tag of last resort.
    pub owner: String,
    /// `shutdown_type` of the job's metadata, for jobs that end the process.
    pub shutdown_type: Option<String>,
}
