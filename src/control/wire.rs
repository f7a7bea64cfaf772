//! What goes over the wire, as serde sees it. Members that are zero are left out by the server, so
//! everything that may be missing has a default.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::job::{
    ExecutionId, ExecutionStatus, Group, Job, JobId, JobKind, JobStatus, Operation, ProcessId,
};

/// Settings of a runner's group.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Period of the heart beat, in nanoseconds.
    pub heart_beat_timeout: u64,
    /// Whether job logs are wanted.
    pub enable_logging: bool,
    /// `INFO`, perhaps with an offset; unreadable text counts as `INFO`.
    pub logging_level: String,
    /// Goes on all telemetry.
    pub metadata: Option<BTreeMap<String, Option<String>>>,
    /// Jobs are to be pretended.
    pub sandbox_mode: bool,
    /// Whether polls may be held by the server.
    pub long_poll_jobs: bool,
    /// Jobs at once per group, as decimal text.
    pub job_group_parallelism: Option<BTreeMap<String, String>>,
}

impl Settings {
    /// The heart beat's period; 5 s if the server names none.
    pub fn heart_beat(&self) -> Duration {
        match self.heart_beat_timeout {
            0 => Duration::from_secs(5),
            nanos => Duration::from_nanos(nanos),
        }
    }

    /// How many jobs of a group may run at once; 1 if the server does not say.
    pub fn parallelism(&self, group: &Group) -> usize {
        let text = self
            .job_group_parallelism
            .as_ref()
            .and_then(|groups| groups.get(group.as_str()));
        text.and_then(|text| text.trim().parse().ok())
            .filter(|count| (1..=64).contains(count))
            .unwrap_or(1)
    }

    /// The least severity of log lines that are shipped, by OTLP's numbers.
    pub fn least_severity(&self) -> i32 {
        let level = self.logging_level.to_ascii_uppercase();
        match level.split(['+', '-']).next().unwrap_or_default().trim() {
            "DEBUG" => 5,
            "WARN" => 13,
            "ERROR" => 17,
            _ => 9,
        }
    }
}

/// A heart beat.
#[derive(Debug, Clone, Serialize)]
pub struct HeartBeat {
    /// Nanoseconds since the process started.
    pub alive_time: u64,
    /// Our version.
    pub version: String,
    /// The sub-command.
    pub process: String,
    /// The registered process, on servers that register them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process_id: Option<ProcessId>,
}

/// A job as the server shows it.
#[derive(Debug, Clone, Deserialize)]
pub struct JobRecord {
    /// Its id.
    pub id: JobId,
    /// Its status.
    #[serde(default = "unknown_job_status")]
    pub status: JobStatus,
    /// Kind.
    #[serde(rename = "type")]
    pub kind: JobKind,
    /// Group.
    pub group: Group,
    /// Operation.
    #[serde(default = "exec")]
    pub operation: Operation,
    /// When it was made.
    #[serde(default = "epoch")]
    pub created_at: Timestamp,
    /// Nanoseconds that an execution may take.
    #[serde(default)]
    pub execution_timeout: u64,
    /// The stream for its log lines; missing or empty if there is none.
    #[serde(default)]
    pub log_stream_id: Option<String>,
    /// The record it works for.
    #[serde(default)]
    pub owner_id: String,
    /// Free texts.
    #[serde(default)]
    pub metadata: Option<BTreeMap<String, Option<String>>>,
    /// The newest execution, on a read of one job.
    #[serde(default)]
    pub executions: Option<Vec<ExecutionRecord>>,
}

fn unknown_job_status() -> JobStatus {
    JobStatus::Unknown
}

fn exec() -> Operation {
    Operation::Exec
}

fn epoch() -> Timestamp {
    Timestamp::UNIX_EPOCH
}

impl JobRecord {
    /// The job as the worker knows it.
    pub fn job(&self) -> Job {
        let shutdown_type = self
            .metadata
            .as_ref()
            .and_then(|metadata| metadata.get("shutdown_type").cloned().flatten());
        Job {
            id: self.id.clone(),
            kind: self.kind.clone(),
            group: self.group.clone(),
            operation: self.operation.clone(),
            created_at: self.created_at,
            execution_timeout: match self.execution_timeout {
                // The server's own default for a job without one.
                0 => Duration::from_secs(300),
                nanos => Duration::from_nanos(nanos),
            },
            log_stream: self.log_stream_id.clone().and_then(|id| id.try_into().ok()),
            owner: self.owner_id.clone(),
            shutdown_type,
        }
    }

    /// The newest execution, if the server showed it.
    pub fn newest_execution(&self) -> Option<&ExecutionRecord> {
        self.executions.as_ref().and_then(|executions| {
            executions
                .iter()
                .max_by_key(|execution| execution.created_at)
        })
    }
}

/// An execution as the server shows it.
#[derive(Debug, Clone, Deserialize)]
pub struct ExecutionRecord {
    /// Its id.
    pub id: ExecutionId,
    /// Its status.
    #[serde(default = "unknown_status")]
    pub status: ExecutionStatus,
    /// When it was made.
    #[serde(default = "epoch")]
    pub created_at: Timestamp,
    /// Free texts; `client.version` is ours.
    #[serde(default)]
    pub metadata: Option<BTreeMap<String, Option<String>>>,
    /// Its result, if one is stored.
    #[serde(default)]
    pub result: Option<Value>,
    /// Its outputs, if any are stored.
    #[serde(default)]
    pub outputs: Option<Value>,
}

fn unknown_status() -> ExecutionStatus {
    ExecutionStatus::Unknown
}

impl ExecutionRecord {
    /// The client that made it, as it called itself.
    pub fn client_version(&self) -> Option<&str> {
        self.metadata.as_ref()?.get("client.version")?.as_deref()
    }
}

/// A change of an execution's status.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusUpdate {
    /// The new status.
    pub status: ExecutionStatus,
    /// For people; at most 2,048 characters.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status_description: Option<String>,
}

/// A result.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ResultReport {
    /// Whether the job did what it was for.
    pub success: bool,
    /// What a build pushed; an addition of ours that older servers ignore.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub oci_artifact: Option<PushedArtifact>,
    /// Always 0 so far; only with a failure.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error_code: Option<i64>,
    /// What went wrong: `handler`, `job_type`, `step`, `message`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error_metadata: Option<BTreeMap<String, String>>,
    /// Packed contents.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub contents_compressed: Option<String>,
    /// Packed display; comes with contents and only with them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub contents_display_compressed: Option<String>,
}

/// Where a pushed artifact is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PushedArtifact {
    /// `host/name`.
    pub url: String,
    /// `sha256:…` of its manifest.
    pub digest: String,
}

/// What a job produced.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutputsReport {
    /// Free-form.
    pub outputs: Map<String, Value>,
}

/// A change of a job's status, for jobs that nobody supervises.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobUpdate {
    /// The new status.
    pub status: JobStatus,
}

/// The registration of a process.
#[derive(Debug, Clone, Serialize)]
pub struct NewProcess {
    /// The sub-command.
    #[serde(rename = "type")]
    pub kind: String,
    /// Our version.
    pub version: String,
}

/// A registered process.
#[derive(Debug, Clone, Deserialize)]
pub struct ProcessRecord {
    /// Its id.
    pub id: ProcessId,
    /// Its status.
    #[serde(default)]
    pub composite_status: Option<CompositeStatus>,
}

/// A status with its word.
#[derive(Debug, Clone, Deserialize)]
pub struct CompositeStatus {
    /// `pending`, `active`, …
    #[serde(default)]
    pub status: String,
}

impl ProcessRecord {
    /// Whether the server still counts on the process.
    pub fn is_active(&self) -> bool {
        self.composite_status
            .as_ref()
            .is_some_and(|status| status.status == "active")
    }
}

/// A change of a process's status.
#[derive(Debug, Clone, Serialize)]
pub struct ProcessUpdate {
    /// `pending-shutdown`, `shutting-down` or `shut-down`.
    pub status: String,
    /// For people.
    pub status_description: String,
}

/// A wish of the server that the process ends.
#[derive(Debug, Clone, Deserialize)]
pub struct Shutdown {
    /// Its id.
    pub id: String,
    /// `requested` until it is completed.
    #[serde(default)]
    pub status: String,
}

/// What the server says when it refuses.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Refusal {
    /// Text.
    pub error: String,
    /// Text for people.
    pub description: String,
}
