//! What the control plane knows, and its rules.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::base::clock::Clock;

/// Which of the two servers in the field it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// December 2025.
    First,
    /// 2026: registers processes, keeps failed results, shows their text.
    Second,
}

/// How old a runner may seem to be younger than its execution.
const RESTART_TOLERANCE: Duration = Duration::from_secs(60);

/// Without a beat for this long the runner is in error.
const SILENT: Duration = Duration::from_secs(15);

/// An available job that nobody takes is timed out after this.
const AVAILABLE: Duration = Duration::from_secs(30);

/// A job to be made available.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// Kind.
    pub kind: String,
    /// Group.
    pub group: String,
    /// Operation.
    pub operation: String,
    /// The record it works for; a fresh id if empty.
    pub owner: String,
    /// The composite document's member that holds the plan, and the plan; null for kinds without.
    pub plan: (String, Value),
    /// How long an execution may take.
    pub execution_timeout: Duration,
    /// Free texts.
    pub metadata: BTreeMap<String, String>,
}

impl NewJob {
    /// A job of a kind without a plan.
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

    /// A build with its plan.
    pub fn build(plan: Value) -> Self {
        Self {
            operation: "build".into(),
            plan: ("build_plan".into(), plan),
            ..Self::new("kubernetes-manifest-build", "build")
        }
    }

    /// A deploy with its operation and plan.
    pub fn deploy(operation: &str, plan: Value) -> Self {
        Self {
            operation: operation.into(),
            plan: ("deploy_plan".into(), plan),
            execution_timeout: Duration::from_secs(900),
            ..Self::new("kubernetes-manifest-deploy", "deploy")
        }
    }
}

/// A job and all that became of it.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its id.
    pub id: String,
    /// What it was made of.
    pub new: NewJob,
    /// Its status.
    pub status: String,
    /// For people.
    pub description: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Its log stream.
    pub log_stream: String,
    /// Its executions, oldest first.
    pub executions: Vec<Execution>,
}

/// An execution and all that became of it.
#[derive(Debug, Clone)]
pub struct Execution {
    /// Its id.
    pub id: String,
    /// Its status.
    pub status: String,
    /// Every status it was given by a client, in order.
    pub history: Vec<String>,
    /// The text of its last status.
    pub description: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// The client that made it.
    pub client_version: String,
    /// Its stored result.
    pub result: Option<Value>,
    /// Its stored outputs.
    pub outputs: Option<Value>,
    /// How often a result was offered.
    pub results_offered: usize,
    /// How often outputs were offered.
    pub outputs_offered: usize,
}

/// A call that was made.
#[derive(Debug, Clone)]
pub struct Call {
    /// When, on the clock's count.
    pub at: Duration,
    /// Method.
    pub method: String,
    /// Path without query.
    pub path: String,
    /// Query.
    pub query: String,
    /// Body, if it was JSON.
    pub body: Value,
    /// The status answered; 0 if the connection ended instead.
    pub status: u16,
    /// Whether it was carried out.
    pub committed: bool,
}

/// A line of a job's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its text.
    pub text: String,
    /// OTLP's number.
    pub severity: i32,
    /// Its attributes and its resource's.
    pub attributes: BTreeMap<String, String>,
}

/// A heart beat that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beat {
    /// When, on the clock's count.
    pub at: Duration,
    /// When the runner started, by its own account.
    pub started_at: Timestamp,
    /// The registered process it names.
    pub process_id: Option<String>,
}

/// Everything.
pub struct Store {
    pub(super) generation: Generation,
    pub(super) clock: Clock,
    /// Merged into the settings.
    pub(super) settings: Map<String, Value>,
    /// Jobs by id.
    pub jobs: BTreeMap<String, Job>,
    /// Heart beats, oldest first.
    pub beats: Vec<Beat>,
    /// Registered processes: id and status.
    pub processes: BTreeMap<String, String>,
    /// Wishes that a process ends: id and status, by process.
    pub shutdowns: HashMap<String, Vec<(String, String)>>,
    /// Log lines by stream.
    pub logs: HashMap<String, Vec<Line>>,
    /// Every call, oldest first.
    pub calls: Vec<Call>,
    /// Requests that break the contract.
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
            beats: Vec::new(),
            processes: BTreeMap::new(),
            shutdowns: HashMap::new(),
            logs: HashMap::new(),
            calls: Vec::new(),
            violations: Vec::new(),
            ids: 0,
        }
    }

    /// A fresh id of the real shape.
    pub(super) fn id(&mut self, prefix: &str) -> String {
        self.ids += 1;
        format!("{prefix}{:023}", self.ids)
    }

    /// Makes a job available; its id.
    pub fn offer(&mut self, mut new: NewJob) -> String {
        let id = self.id("job");
        if new.owner.is_empty() {
            new.owner = self.id("own");
        }
        let job = Job {
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

    /// Changes a member of the settings.
    pub fn set_setting(&mut self, member: &str, value: Value) {
        self.settings.insert(member.to_owned(), value);
    }

    /// Cancels a job as a user does: the newest running execution with it.
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

    /// The job with an execution of this id.
    pub fn execution(&self, id: &str) -> Option<(&Job, &Execution)> {
        self.jobs.values().find_map(|job| {
            job.executions
                .iter()
                .find(|e| e.id == id)
                .map(|execution| (job, execution))
        })
    }

    /// Creates an execution: refused, and the job cancelled, when it has one already (`max_executions`
    /// is 1). The job's status is not looked at.
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

    /// One look of the supervisor, by the real server's table.
    pub fn supervise(&mut self) {
        let now = self.clock.now();
        let beat = self.beats.last().cloned();
        let alive = beat
            .as_ref()
            .is_some_and(|beat| self.clock.elapsed().saturating_sub(beat.at) <= SILENT);
        if alive {
            // The health check of the real server turns pending processes active.
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
            if job.status == "available" && since(job.created_at) > AVAILABLE {
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
            let restarted = beat.as_ref().is_some_and(|beat| {
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
                _ if beat.is_none() => {
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

    /// The settings as the server gives them.
    pub(super) fn settings_record(&self) -> Value {
        let mut settings = json!({
            "id": "rgs00000000000000000000001",
            "org_id": "org00000000000000000000001",
            "runner_group_id": "rgr00000000000000000000001",
            "container_image_tag": "dev",
            "heart_beat_timeout": 5_000_000_000_u64,
            "enable_logging": true,
            "logging_level": "INFO",
            "groups": ["operations", "sync", "build", "sandbox", "runner"],
            "metadata": {"org.id": "org00000000000000000000001", "runner_group.id": "rgr00000000000000000000001"},
            "aws_max_instance_lifetime": 604_800,
            "platform": "",
        });
        if let Value::Object(map) = &mut settings {
            map.extend(self.settings.clone());
        }
        settings
    }
}

/// Whether nothing follows a status of an execution.
pub(super) fn is_final(status: &str) -> bool {
    matches!(
        status,
        "finished" | "failed" | "timed-out" | "not-attempted" | "cancelled"
    )
}

impl Execution {
    pub(super) fn record(&self, job: &str) -> Value {
        let mut record = json!({
            "id": self.id,
            "created_at": self.created_at.to_string(),
            "updated_at": self.created_at.to_string(),
            "runner_job_id": job,
            "status": self.status,
            "metadata": {"client.version": self.client_version},
        });
        if let Value::Object(map) = &mut record {
            map.extend(
                self.result
                    .clone()
                    .map(|result| ("result".to_owned(), result)),
            );
            map.extend(
                self.outputs
                    .clone()
                    .map(|outputs| ("outputs".to_owned(), outputs)),
            );
        }
        record
    }
}

impl Job {
    pub(super) fn record(&self, runner: &str, with_executions: bool) -> Value {
        let nanos = u64::try_from(self.new.execution_timeout.as_nanos()).unwrap_or(u64::MAX);
        let mut record = json!({
            "id": self.id,
            "created_at": self.created_at.to_string(),
            "updated_at": self.created_at.to_string(),
            "org_id": "org00000000000000000000001",
            "runner_id": runner,
            "owner_id": self.new.owner,
            "owner_type": "component_builds",
            "log_stream_id": self.log_stream,
            "queue_timeout": 86_400_000_000_000_u64,
            "available_timeout": 30_000_000_000_u64,
            "execution_timeout": nanos,
            "overall_timeout": 86_400_000_000_000_u64 + nanos,
            "max_executions": 1,
            "status": self.status,
            "status_description": self.description,
            "type": self.new.kind,
            "group": self.new.group,
            "operation": self.new.operation,
            "metadata": self.new.metadata,
        });
        if let Value::Object(map) = &mut record
            && with_executions
        {
            map.insert("execution_count".into(), self.executions.len().into());
            let newest: Vec<_> = self
                .executions
                .last()
                .map(|execution| execution.record(&self.id))
                .into_iter()
                .collect();
            map.insert("executions".into(), newest.into());
        }
        record
    }
}
