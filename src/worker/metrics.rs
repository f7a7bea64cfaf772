//! Metrics of jobs, steps and polls.

use std::time::Duration;

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry};

use crate::job::{Group, Job, Step};

/// Metrics of the worker. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    jobs: IntCounterVec,
    failures: IntCounterVec,
    steps: HistogramVec,
    running: IntGaugeVec,
    polls: IntCounterVec,
}

impl Metrics {
    /// Creates the metrics and registers them.
    ///
    /// # Errors
    /// If a metric with one of their names is already registered.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let jobs = IntCounterVec::new(
            Opts::new(
                "nuon_runner_jobs_total",
                "Executions that ended, by job type and outcome.",
            ),
            &["type", "outcome"],
        )?;
        let failures = IntCounterVec::new(
            Opts::new(
                "nuon_runner_job_failures_total",
                "Executions that failed, by job type and reason.",
            ),
            &["type", "reason"],
        )?;
        let buckets = vec![0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0];
        let steps = HistogramVec::new(
            HistogramOpts::new("nuon_runner_step_duration_seconds", "How long steps took.")
                .buckets(buckets),
            &["step"],
        )?;
        let running = IntGaugeVec::new(
            Opts::new(
                "nuon_runner_jobs_running",
                "Executions under way, by group.",
            ),
            &["group"],
        )?;
        let polls = IntCounterVec::new(
            Opts::new(
                "nuon_runner_polls_total",
                "Polls for available jobs, by outcome.",
            ),
            &["outcome"],
        )?;
        registry.register(Box::new(jobs.clone()))?;
        registry.register(Box::new(failures.clone()))?;
        registry.register(Box::new(steps.clone()))?;
        registry.register(Box::new(running.clone()))?;
        registry.register(Box::new(polls.clone()))?;
        Ok(Self {
            jobs,
            failures,
            steps,
            running,
            polls,
        })
    }

    pub(super) fn ended(&self, job: &Job, outcome: &str) {
        self.jobs
            .with_label_values(&[job.kind.label(), outcome])
            .inc();
    }

    pub(super) fn failed(&self, job: &Job, reason: &str) {
        self.failures
            .with_label_values(&[job.kind.label(), reason])
            .inc();
    }

    pub(super) fn step(&self, step: Step, took: Duration) {
        self.steps
            .with_label_values(&[step.as_str()])
            .observe(took.as_secs_f64());
    }

    pub(super) fn started(&self, group: &Group) {
        self.running.with_label_values(&[group.label()]).inc();
    }

    pub(super) fn stopped(&self, group: &Group) {
        self.running.with_label_values(&[group.label()]).dec();
    }

    pub(super) fn poll(&self, outcome: &str) {
        self.polls.with_label_values(&[outcome]).inc();
    }
}
