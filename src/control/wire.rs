//! The wire types. The server omits fields that are zero, so every field that may be missing has a
//! default.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::job::{
    ExecutionId, ExecutionStatus, Group, Job, JobId, JobKind, JobStatus, Operation, ProcessId,
};

/// Settings of a runner's group.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Interval between heartbeats, in nanoseconds; 0 for the default.
    pub heart_beat_timeout: u64,
    /// True if job logs are shipped.
    pub enable_logging: bool,
    /// Minimum severity of shipped log lines: `INFO`, possibly with an offset; unreadable text
    /// counts as `INFO`.
    pub logging_level: String,
    /// Attributes for all telemetry.
    pub metadata: Option<BTreeMap<String, Option<String>>>,
    /// True if jobs must only be simulated.
    pub sandbox_mode: bool,
    /// True if long polls may be used.
    pub long_poll_jobs: bool,
    /// Maximum concurrent jobs per group, as decimal text.
    pub job_group_parallelism: Option<BTreeMap<String, String>>,
}

impl Settings {
    /// Returns the interval between heartbeats; 5 s if the server sets none.
    pub fn heartbeat_interval(&self) -> Duration {
        match self.heart_beat_timeout {
            0 => Duration::from_secs(5),
            nanos => Duration::from_nanos(nanos),
        }
    }

    /// Returns the maximum number of concurrent jobs of a group; 1 unless the server sets 1 to 64.
    pub fn parallelism(&self, group: &Group) -> usize {
        let text = self
            .job_group_parallelism
            .as_ref()
            .and_then(|groups| groups.get(group.as_str()));
        text.and_then(|text| text.trim().parse().ok())
            .filter(|count| (1..=64).contains(count))
            .unwrap_or(1)
    }

    /// Returns the minimum severity of log lines that are shipped, as an OTLP severity number.
    pub fn min_severity(&self) -> i32 {
        let level = self.logging_level.to_ascii_uppercase();
        match level.split(['+', '-']).next().unwrap_or_default().trim() {
            "DEBUG" => 5,
            "WARN" => 13,
            "ERROR" => 17,
            _ => 9,
        }
    }
}

/// A heartbeat.
#[derive(Debug, Clone, Serialize)]
pub struct Heartbeat {
    /// Nanoseconds since the process started, or since a previous process did whose executions are
    /// still running.
    pub alive_time: u64,
    /// The runner's version.
    pub version: String,
    /// The sub-command; empty for `run`.
    pub process: String,
    /// Id of the process's registration, on servers that register processes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process_id: Option<ProcessId>,
}

/// A job as the server returns it.
#[derive(Debug, Clone, Deserialize)]
pub struct JobRecord {
    /// Its id.
    pub id: JobId,
    /// Its status.
    #[serde(default = "unknown_job_status")]
    pub status: JobStatus,
    /// The kind of job, which selects the handler.
    #[serde(rename = "type")]
    pub kind: JobKind,
    /// The group, which selects the processes that serve the job.
    pub group: Group,
    /// What the job does; `exec` if missing.
    #[serde(default = "exec")]
    pub operation: Operation,
    /// When it was created.
    #[serde(default = "epoch")]
    pub created_at: Timestamp,
    /// Timeout of an execution, in nanoseconds; 0 for the server's default.
    #[serde(default)]
    pub execution_timeout: u64,
    /// Id of its log stream; missing or empty if there is none.
    #[serde(default)]
    pub log_stream_id: Option<String>,
    /// Id of the record that it works for.
    #[serde(default)]
    pub owner_id: String,
    /// Free-form texts.
    #[serde(default)]
    pub metadata: Option<BTreeMap<String, Option<String>>>,
    /// The newest execution; only present when a single job is read.
    #[serde(default)]
    pub executions: Option<Vec<ExecutionRecord>>,
}

/// A list of jobs. One that cannot be read does not hide the others.
#[derive(Debug, Clone, Default)]
pub struct JobList {
    /// The jobs that could be read.
    pub jobs: Vec<JobRecord>,
    /// The ids of those that could not, each with the reason.
    pub malformed: Vec<(String, String)>,
}

impl<'de> Deserialize<'de> for JobList {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut list = Self::default();
        for item in Vec::<serde_json::Value>::deserialize(deserializer)? {
            let id = item.get("id").and_then(serde_json::Value::as_str);
            let id = id.unwrap_or("without an id").to_owned();
            match JobRecord::deserialize(item) {
                Ok(job) => list.jobs.push(job),
                Err(error) => list.malformed.push((id, error.to_string())),
            }
        }
        Ok(list)
    }
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
    /// Converts this to the job that the worker uses.
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

    /// Returns the newest execution, if the server included it.
    pub fn newest_execution(&self) -> Option<&ExecutionRecord> {
        self.executions.as_ref().and_then(|executions| {
            executions
                .iter()
                .max_by_key(|execution| execution.created_at)
        })
    }
}

/// An execution as the server returns it.
#[derive(Debug, Clone, Deserialize)]
pub struct ExecutionRecord {
    /// Its id.
    pub id: ExecutionId,
    /// Its status.
    #[serde(default = "unknown_status")]
    pub status: ExecutionStatus,
    /// When it was created.
    #[serde(default = "epoch")]
    pub created_at: Timestamp,
    /// Free-form texts; `client.version` is the version of the client that created it.
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
    /// Returns the version that the client that created it sent.
    pub fn client_version(&self) -> Option<&str> {
        self.metadata.as_ref()?.get("client.version")?.as_deref()
    }
}

/// The registration of a process.
#[derive(Debug, Clone, Serialize)]
pub struct NewProcess {
    /// The sub-command; empty for `run`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The runner's version.
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

/// The status of a registered process.
#[derive(Debug, Clone, Deserialize)]
pub struct CompositeStatus {
    /// `pending`, `active`, …
    #[serde(default)]
    pub status: String,
}

impl ProcessRecord {
    /// Returns true if the server considers the process active.
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
    /// Description for people.
    pub status_description: String,
}

/// A request of the server that the process shuts down.
#[derive(Debug, Clone, Deserialize)]
pub struct Shutdown {
    /// Its id.
    pub id: String,
    /// `requested` until it is completed.
    #[serde(default)]
    pub status: String,
}

/// The body of a refusal.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ErrorBody {
    /// The error message.
    pub error: String,
    /// Description for people; used if `error` is empty.
    pub description: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_cannot_be_read_does_not_hide_the_others() {
        let good = r#"{"id": "job1", "type": "noop-build", "group": "build"}"#;
        let text = format!(r#"[{{"id": "job0", "type": 5}}, {good}, {{"type": "noop"}}]"#);
        let list: JobList = serde_json::from_str(&text).unwrap();
        assert_eq!(list.jobs.len(), 1);
        let ids: Vec<&str> = list.malformed.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(ids, ["job0", "without an id"]);
    }
}
