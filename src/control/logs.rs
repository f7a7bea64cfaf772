//! Ships a job's log lines to its log stream.
//!
//! [`JobLog`] never blocks: a line goes into a bounded channel or counts as lost. One task per job,
//! the [`LogShipper`], sends batches as OTLP protobuf, flushes at the end, and reports how many
//! lines were lost. Every line also goes to the process log.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use tokio::sync::mpsc;
use tracing::Instrument as _;

use super::client::Client;
use super::metrics::Metrics;
use super::transport::RetryPolicy;
use super::wire::Settings;
use crate::base::clock::Clock;
use crate::base::secret::Redactor;
use crate::job::{ExecutionId, Job, LogStreamId, Step};

/// Maximum number of lines that wait to be shipped; further ones are lost.
const MAX_WAITING_LINES: usize = 4096;

/// Maximum number of lines in one request.
const MAX_BATCH_LINES: usize = 512;

/// How long a line waits for more lines to batch.
const BATCH_LINGER: Duration = Duration::from_secs(1);

/// Time limit for sending one batch; after that its lines are lost, so that the next ones get a
/// chance.
const BATCH_TIMEOUT: Duration = Duration::from_secs(30);

/// Time limit for shipping the last lines at the end of a job.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// Maximum length of a line, in characters; the rest is cut off.
const MAX_LINE_CHARS: usize = 16 * 1024;

/// Severity of a line, with OTLP's severity numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Details for debugging.
    Debug = 5,
    /// Normal progress.
    Info = 9,
    /// Something that needs attention.
    Warn = 13,
    /// Something failed.
    Error = 17,
}

/// Takes the lines of one job. Cheap to clone; never blocks.
#[derive(Clone)]
pub struct JobLog {
    inner: Arc<Inner>,
    step: Option<Step>,
}

/// Numbers of lines.
#[derive(Default)]
struct Counts {
    /// Taken for shipping.
    taken: AtomicU64,
    /// Of these, shipped or counted as lost.
    settled: AtomicU64,
    /// Lost, and not yet told.
    lost: AtomicU64,
}

struct Inner {
    lines: Option<mpsc::Sender<Line>>,
    counts: Arc<Counts>,
    min_severity: AtomicI32,
    job: Job,
    execution: Option<ExecutionId>,
    clock: Clock,
    redactor: Redactor,
}

struct Line {
    nanos: u64,
    severity: Severity,
    text: String,
    step: Option<Step>,
}

impl JobLog {
    /// Returns the same log with the step on every line.
    #[must_use]
    pub fn with_step(&self, step: Step) -> Self {
        Self {
            inner: self.inner.clone(),
            step: Some(step),
        }
    }

    /// Logs details for debugging.
    pub fn debug(&self, text: impl AsRef<str>) {
        self.line(Severity::Debug, text.as_ref());
    }

    /// Logs normal progress.
    pub fn info(&self, text: impl AsRef<str>) {
        self.line(Severity::Info, text.as_ref());
    }

    /// Logs something that needs attention.
    pub fn warn(&self, text: impl AsRef<str>) {
        self.line(Severity::Warn, text.as_ref());
    }

    /// Logs a failure.
    pub fn error(&self, text: impl AsRef<str>) {
        self.line(Severity::Error, text.as_ref());
    }

    fn line(&self, severity: Severity, text: &str) {
        let inner = &self.inner;
        let text: String = inner
            .redactor
            .mask(text)
            .chars()
            .take(MAX_LINE_CHARS)
            .collect();
        let step = self.step.map(Step::as_str);
        let job = inner.job.id.as_str();
        let execution = inner.execution.as_ref().map(ExecutionId::as_str);
        match severity {
            Severity::Debug => tracing::debug!(job, execution, step, "{text}"),
            Severity::Info => tracing::info!(job, execution, step, "{text}"),
            Severity::Warn => tracing::warn!(job, execution, step, "{text}"),
            Severity::Error => tracing::error!(job, execution, step, "{text}"),
        }
        let Some(lines) = &inner.lines else { return };
        if (severity as i32) < inner.min_severity.load(Ordering::Relaxed) {
            return;
        }
        let nanos = u64::try_from(inner.clock.now().as_nanosecond()).unwrap_or_default();
        let line = Line {
            nanos,
            severity,
            text,
            step: self.step,
        };
        match lines.try_send(line) {
            Ok(()) => inner.counts.taken.fetch_add(1, Ordering::Relaxed),
            Err(_) => inner.counts.lost.fetch_add(1, Ordering::Relaxed),
        };
    }
}

/// What the logs of all jobs share.
#[derive(Clone)]
pub struct LogContext {
    /// The client that ships the lines.
    pub client: Client,
    /// The runner's version.
    pub version: String,
    /// Sets the time of each line, and the time limits.
    pub clock: Clock,
    /// Masks secrets in every line.
    pub redactor: Redactor,
    /// Counts lost lines.
    pub metrics: Metrics,
}

/// Ships the lines of one job.
pub struct LogShipper {
    log: JobLog,
    metrics: Metrics,
    task: Option<tokio::task::JoinHandle<()>>,
}

impl LogShipper {
    /// Opens a job's log. Nothing is shipped if the job has no log stream or the settings switch
    /// logging off.
    pub fn open(
        context: &LogContext,
        settings: &Settings,
        job: &Job,
        execution: Option<&ExecutionId>,
    ) -> Self {
        let counts = Arc::<Counts>::default();
        let stream = job.log_stream.clone().filter(|_| settings.enable_logging);
        let mut task = None;
        let mut lines = None;
        if let Some(stream) = stream {
            let (sender, receiver) = mpsc::channel(MAX_WAITING_LINES);
            lines = Some(sender);
            let envelope = Envelope::new(context, settings, job, execution);
            let shipping = ship(context.clone(), stream, envelope, receiver, counts.clone());
            task = Some(tokio::spawn(shipping.in_current_span()));
        }
        let inner = Inner {
            lines,
            counts,
            min_severity: AtomicI32::new(settings.min_severity()),
            job: job.clone(),
            execution: execution.cloned(),
            clock: context.clock.clone(),
            redactor: context.redactor.clone(),
        };
        Self {
            log: JobLog {
                inner: Arc::new(inner),
                step: None,
            },
            metrics: context.metrics.clone(),
            task,
        }
    }

    /// Returns the log that takes the lines.
    pub fn log(&self) -> &JobLog {
        &self.log
    }

    /// Ships the remaining lines, for at most 5 s. Drop all other clones of the log first: the
    /// shipper waits for them, and their later lines are lost.
    pub async fn close(self) {
        let Self { log, metrics, task } = self;
        let (clock, counts) = (log.inner.clock.clone(), log.inner.counts.clone());
        drop(log);
        if let Some(task) = task {
            let abort = task.abort_handle();
            if clock.timeout(FLUSH_TIMEOUT, task).await.is_err() {
                abort.abort();
                let [taken, settled, lost] = [&counts.taken, &counts.settled, &counts.lost]
                    .map(|count| count.load(Ordering::Relaxed));
                let lines = taken.saturating_sub(settled) + lost;
                metrics.lost_lines.inc_by(lines);
                tracing::warn!(
                    lines,
                    "the last log lines of a job could not be shipped in time, and are lost"
                );
            }
        }
    }
}

async fn ship(
    context: LogContext,
    stream: LogStreamId,
    envelope: Envelope,
    mut lines: mpsc::Receiver<Line>,
    counts: Arc<Counts>,
) {
    let mut batch = Vec::new();
    loop {
        let mut ended = lines.recv_many(&mut batch, MAX_BATCH_LINES).await == 0;
        if !ended && batch.len() < MAX_BATCH_LINES {
            // Waits for more lines to batch, unless the log is closed.
            let full = async {
                while batch.len() < MAX_BATCH_LINES {
                    match lines.recv().await {
                        Some(line) => batch.push(line),
                        None => return true,
                    }
                }
                false
            };
            ended = context
                .clock
                .timeout(BATCH_LINGER, full)
                .await
                .unwrap_or(false);
        }
        let count = batch.len() as u64;
        let lost_now = counts.lost.swap(0, Ordering::Relaxed);
        if lost_now > 0 {
            context.metrics.lost_lines.inc_by(lost_now);
            let nanos = u64::try_from(context.clock.now().as_nanosecond()).unwrap_or_default();
            let text = format!("{lost_now} log lines were lost before this one");
            batch.push(Line {
                nanos,
                severity: Severity::Warn,
                text,
                step: None,
            });
        }
        if !batch.is_empty() {
            let body = envelope.encode(batch.drain(..));
            let retry = RetryPolicy::Within(BATCH_TIMEOUT);
            if let Err(error) = context.client.ship_logs(&stream, body.into(), retry).await {
                tracing::warn!(%error, %stream, lines = count, "log lines were lost");
                counts.lost.fetch_add(count, Ordering::Relaxed);
            }
            counts.settled.fetch_add(count, Ordering::Relaxed);
        }
        if ended {
            context
                .metrics
                .lost_lines
                .inc_by(counts.lost.load(Ordering::Relaxed));
            return;
        }
    }
}

/// What all lines of a job share.
struct Envelope {
    resource: Vec<KeyValue>,
    schema_url: String,
    attributes: Vec<KeyValue>,
}

impl Envelope {
    fn new(
        context: &LogContext,
        settings: &Settings,
        job: &Job,
        execution: Option<&ExecutionId>,
    ) -> Self {
        let metadata = settings.metadata.iter().flatten();
        let mut resource: Vec<_> = metadata
            .filter_map(|(key, value)| Some(attribute(key, value.as_deref()?)))
            .collect();
        resource.push(attribute("service.name", "runner"));
        resource.push(attribute("runner.id", context.client.runner().as_str()));
        resource.push(attribute("runner.version", &context.version));
        let mut attributes = vec![
            attribute("runner_job.id", job.id.as_str()),
            attribute("runner_job.type", job.kind.as_str()),
        ];
        if let Some(stream) = &job.log_stream {
            attributes.push(attribute("log_stream.id", stream.as_str()));
        }
        if let Some(execution) = execution {
            attributes.push(attribute("runner_job_execution.id", execution.as_str()));
        }
        Self {
            resource,
            schema_url: context
                .client
                .base()
                .as_str()
                .trim_end_matches('/')
                .to_owned(),
            attributes,
        }
    }

    fn encode(&self, lines: impl Iterator<Item = Line>) -> Vec<u8> {
        let records = lines.map(|line| {
            let mut attributes = self.attributes.clone();
            if let Some(step) = line.step {
                attributes.push(attribute("runner_job_execution_step.name", step.as_str()));
            }
            LogRecord {
                time_unix_nano: line.nanos,
                observed_time_unix_nano: line.nanos,
                severity_number: line.severity as i32,
                severity_text: format!("{:?}", line.severity).to_uppercase(),
                body: Some(text_value(&line.text)),
                attributes,
                ..LogRecord::default()
            }
        });
        let scope = InstrumentationScope {
            name: "oteljob".into(),
            ..InstrumentationScope::default()
        };
        let request = ExportLogsServiceRequest {
            resource_logs: vec![ResourceLogs {
                resource: Some(Resource {
                    attributes: self.resource.clone(),
                    ..Resource::default()
                }),
                scope_logs: vec![ScopeLogs {
                    scope: Some(scope),
                    log_records: records.collect(),
                    schema_url: String::new(),
                }],
                schema_url: self.schema_url.clone(),
            }],
        };
        request.encode_to_vec()
    }
}

fn attribute(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: Some(text_value(value)),
        ..KeyValue::default()
    }
}

fn text_value(text: &str) -> AnyValue {
    AnyValue {
        value: Some(any_value::Value::StringValue(text.into())),
    }
}
