//! State of the control plane, and its rules.

mod record;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::base::clock::Clock;

/// Generation of the server. Both are in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// The server of December 2025.
    First,
    /// The server of 2026: registers processes, keeps failed results, and shows the text of
    /// failures.
    Second,
}

/// A runner that started more than this after its execution was created counts as restarted.
const RESTART_TOLERANCE: Duration = Duration::from_secs(60);

/// A runner without a heartbeat for longer than this is in error.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(15);

/// An available job that is not claimed for longer than this times out.
const AVAILABLE_TIMEOUT: Duration = Duration::from_secs(30);

/// A job to make available.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// Wire name of the kind, such as `kubernetes-manifest-build`.
    pub kind: String,
    /// Wire name of the group, such as `build`.
    pub group: String,
    /// Wire name of the operation, such as `create-apply-plan`.
    pub operation: String,
    /// Id of the record that owns the job; empty for a new one.
    pub owner: String,
    /// Member of the composite plan that holds the plan, and the plan. The plan is null for kinds
    /// without one.
    pub plan: (String, Value),
    /// Time limit of an execution.
    pub execution_timeout: Duration,
    /// The job's `metadata`.
    pub metadata: BTreeMap<String, String>,
}

impl NewJob {
    /// Creates a job without a plan: operation `exec`, 300 s.
    pub fn new(kind: &str, group: &str) -> Self {
        Self {
            kind: kind.into(),
            group: group.into(),
            operation: "exec".into(),
            owner: String::new(),
            plan: (String::new(), Value::Null),
            execution_timeout: Duration::from_secs(300),
            metadata: BTreeMap::new(),
        }
    }

    /// Creates a build job.
    pub fn build(plan: Value) -> Self {
        Self {
            operation: "build".into(),
            plan: ("build_plan".into(), plan),
            ..Self::new("kubernetes-manifest-build", "build")
        }
    }

    /// Creates an image build, 900 s.
    pub fn image(plan: Value) -> Self {
        Self {
            operation: "build".into(),
            plan: ("build_plan".into(), plan),
            execution_timeout: Duration::from_secs(900),
            ..Self::new("container-image-build", "build")
        }
    }

    /// Creates a job that fetches image metadata.
    pub fn image_metadata(plan: Value) -> Self {
        Self {
            plan: ("fetch_image_metadata_plan".into(), plan),
            ..Self::new("fetch-image-metadata", "sync")
        }
    }

    /// Creates a sync job, 900 s.
    pub fn sync(plan: Value) -> Self {
        Self {
            plan: ("sync_oci_plan".into(), plan),
            execution_timeout: Duration::from_secs(900),
            ..Self::new("oci-sync", "sync")
        }
    }

    /// Creates a deploy job with this operation, 900 s.
    pub fn deploy(operation: &str, plan: Value) -> Self {
        Self {
            operation: operation.into(),
            plan: ("deploy_plan".into(), plan),
            execution_timeout: Duration::from_secs(900),
            ..Self::new("kubernetes-manifest-deploy", "deploy")
        }
    }
}

/// A job, with its executions.
#[derive(Debug, Clone)]
pub struct StoredJob {
    /// Id, as `job` and 23 digits.
    pub id: String,
    /// The job as it was offered.
    pub new: NewJob,
    /// Wire name of the status, such as `in-progress`.
    pub status: String,
    /// Description of the status, for people.
    pub description: String,
    /// Time of creation.
    pub created_at: Timestamp,
    /// Id of its log stream.
    pub log_stream: String,
    /// Executions, oldest first; at most one.
    pub executions: Vec<Execution>,
}

/// An execution, with what the runner reported.
#[derive(Debug, Clone)]
pub struct Execution {
    /// Id, as `run` and 23 digits.
    pub id: String,
    /// Wire name of the status; also set by the supervisor.
    pub status: String,
    /// Every status that a runner reported, in order.
    pub history: Vec<String>,
    /// Description of the last status that had one.
    pub description: Option<String>,
    /// Time of creation.
    pub created_at: Timestamp,
    /// Version of the runner that created it.
    pub client_version: String,
    /// Stored result, at most one.
    pub result: Option<Value>,
    /// Stored outputs, at most one.
    pub outputs: Option<Value>,
    /// Number of results posted, refused ones included.
    pub results_offered: usize,
    /// Number of outputs posted, refused ones included.
    pub outputs_offered: usize,
}

/// A recorded request.
#[derive(Debug, Clone)]
pub struct Call {
    /// Elapsed time on the clock.
    pub at: Duration,
    /// HTTP method.
    pub method: String,
    /// Path, without the query.
    pub path: String,
    /// Query, empty if there is none.
    pub query: String,
    /// Body; null if it is not JSON.
    pub body: Value,
    /// Status of the response; 0 if the connection was closed instead.
    pub status: u16,
    /// Whether the request was executed and succeeded.
    pub committed: bool,
}

/// A line of a job's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Text of the line.
    pub text: String,
    /// Severity number of OTLP.
    pub severity: i32,
    /// Text attributes of the record and of its resource.
    pub attributes: BTreeMap<String, String>,
}

/// A heartbeat that was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredHeartbeat {
    /// Elapsed time on the clock.
    pub at: Duration,
    /// Start time of the runner, computed from the alive time that it reports.
    pub started_at: Timestamp,
    /// Id of the registered process, if the heartbeat has one.
    pub process_id: Option<String>,
}

/// The whole state of the control plane.
pub struct Store {
    pub(super) generation: Generation,
    pub(super) clock: Clock,
    /// Overrides of the default settings.
    pub(super) settings: Map<String, Value>,
    /// Jobs by id.
    pub jobs: BTreeMap<String, StoredJob>,
    /// Heartbeats, oldest first.
    pub heartbeats: Vec<StoredHeartbeat>,
    /// Status of the registered processes, by id.
    pub processes: BTreeMap<String, String>,
    /// Shutdown requests by process: id and status.
    pub shutdowns: HashMap<String, Vec<(String, String)>>,
    /// Log lines by stream id.
    pub logs: HashMap<String, Vec<LogLine>>,
    /// All requests, oldest first.
    pub calls: Vec<Call>,
    /// Violations of the contract that the checker found.
    pub violations: Vec<String>,
    ids: u64,
}

impl Store {
    pub(super) fn new(generation: Generation, clock: Clock, settings: Map<String, Value>) -> Self {
        Self {
            generation,
            clock,
            settings,
            jobs: BTreeMap::new(),
            heartbeats: Vec::new(),
            processes: BTreeMap::new(),
            shutdowns: HashMap::new(),
            logs: HashMap::new(),
            calls: Vec::new(),
            violations: Vec::new(),
            ids: 0,
        }
    }

    /// Returns a new id in the format of the real server: a prefix and 23 digits.
    pub(super) fn id(&mut self, prefix: &str) -> String {
        self.ids += 1;
        format!("{prefix}{:023}", self.ids)
    }

    /// Makes a job available and returns its id.
    pub fn offer(&mut self, mut new: NewJob) -> String {
        let id = self.id("job");
        if new.owner.is_empty() {
            new.owner = self.id("own");
        }
        let job = StoredJob {
            id: id.clone(),
            new,
            status: "available".into(),
            description: "waiting for runner to reserve job".into(),
            created_at: self.clock.now(),
            log_stream: self.id("log"),
            executions: Vec::new(),
        };
        self.jobs.insert(id.clone(), job);
        id
    }

    /// Overrides a setting.
    pub fn set_setting(&mut self, member: &str, value: Value) {
        self.settings.insert(member.to_owned(), value);
    }

    /// Cancels a job and its running execution, as a user does.
    pub fn cancel(&mut self, id: &str) {
        if let Some(job) = self.jobs.get_mut(id) {
            job.status = "cancelled".into();
            if let Some(execution) = job
                .executions
                .last_mut()
                .filter(|execution| !is_final(&execution.status))
            {
                execution.status = "cancelled".into();
            }
        }
    }

    /// Returns the execution with this id, and its job.
    pub fn execution(&self, id: &str) -> Option<(&StoredJob, &Execution)> {
        self.jobs.values().find_map(|job| {
            job.executions
                .iter()
                .find(|e| e.id == id)
                .map(|execution| (job, execution))
        })
    }

    /// Creates an execution; none if the job does not exist. If the job already has one, refuses
    /// and cancels the job (`max_executions` is 1). Does not check the job's status.
    pub(super) fn create_execution(
        &mut self,
        job: &str,
        client_version: &str,
    ) -> Option<Result<Value, ()>> {
        let (id, now) = (self.id("run"), self.clock.now());
        let job = self.jobs.get_mut(job)?;
        if !job.executions.is_empty() {
            job.status = "cancelled".into();
            return Some(Err(()));
        }
        job.executions.push(Execution {
            id,
            status: "pending".into(),
            history: Vec::new(),
            description: None,
            created_at: now,
            client_version: client_version.to_owned(),
            result: None,
            outputs: None,
            results_offered: 0,
            outputs_offered: 0,
        });
        job.status = "in-progress".into();
        job.executions
            .last()
            .map(|execution| Ok(execution.record(&job.id)))
    }

    /// Runs one round of the supervisor, with the rules of the real server.
    // Long: one rule of the server after the other.
    pub fn supervise(&mut self) {
        let now = self.clock.now();
        let heartbeat = self.heartbeats.last().cloned();
        let alive = heartbeat
            .as_ref()
            .is_some_and(|beat| self.clock.elapsed().saturating_sub(beat.at) <= HEARTBEAT_TIMEOUT);
        if alive {
            // The health check of the real server activates pending processes.
            self.processes
                .values_mut()
                .filter(|status| *status == "pending")
                .for_each(|status| *status = "active".into());
        }
        let registered = self.processes.values().any(|status| status == "active");
        let second = self.generation == Generation::Second;
        let since =
            |then: Timestamp| Duration::try_from(now.duration_since(then)).unwrap_or_default();
        for job in self.jobs.values_mut() {
            if job.status == "available" && since(job.created_at) > AVAILABLE_TIMEOUT {
                job.status = "timed-out".into();
            }
            let Some(execution) = job.executions.last_mut() else {
                continue;
            };
            if job.status == "cancelled" && !is_final(&execution.status) {
                execution.status = "cancelled".into();
            }
            if job.status != "in-progress" {
                continue;
            }
            let restarted = heartbeat.as_ref().is_some_and(|beat| {
                let after = beat.started_at.duration_since(execution.created_at);
                Duration::try_from(after).unwrap_or_default() > RESTART_TOLERANCE
            });
            let (to_job, to_execution) = match execution.status.as_str() {
                "finished" => (Some("finished"), None),
                "failed" | "timed-out" | "not-attempted" => (Some("failed"), None),
                "cancelled" => (None, None),
                _ if since(execution.created_at) > job.new.execution_timeout => {
                    (Some("timed-out"), Some("timed-out"))
                }
                _ if heartbeat.is_none() => {
                    if second {
                        (Some("failed"), Some("failed"))
                    } else {
                        (None, None)
                    }
                }
                _ if restarted => (None, Some("cancelled")),
                _ if !alive || (second && !registered) => (Some("failed"), Some("failed")),
                _ => (None, None),
            };
            if let Some(status) = to_execution {
                execution.status = status.into();
            }
            if let Some(status) = to_job {
                job.status = status.into();
                if second {
                    job.description = execution.description.clone().unwrap_or_default();
                }
            }
        }
    }
}

/// Returns true if the status of an execution is final.
pub(super) fn is_final(status: &str) -> bool {
    matches!(
        status,
        "finished" | "failed" | "timed-out" | "not-attempted" | "cancelled"
    )
}
