//! Causes of Jobs that fail.

use serde_json::Value;

use super::owned::job_failure;
use super::{Finder, PER_RUN_REASONS, StatusCause, code};
use crate::cluster::client::ClusterError;
use crate::manifest::Object;

impl Finder<'_> {
    /// Diagnoses a Job (pkg/controller/job/job_controller.go).
    pub(super) async fn job(&self, job: &Object) -> Result<Option<StatusCause>, ClusterError> {
        let pods = self.owner_of_pods(job, job).await?;
        // Until the Job has failed, its controller starts another run.
        let Some(failed) = job_failure(job) else {
            let is_suspended = job.0.get("spec").and_then(|spec| spec.get("suspend"));
            if is_suspended == Some(&Value::Bool(true)) {
                let message = "the Job is suspended, so it does not run";
                return Ok(Some(StatusCause::new(code::SUSPENDED, job, message)));
            }
            let may_heal = |cause: StatusCause| {
                if PER_RUN_REASONS.contains(&cause.code.reason) {
                    cause.into_recoverable()
                } else {
                    cause
                }
            };
            return Ok(pods.map(may_heal));
        };
        let text = |member: &str| {
            failed
                .get(member)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let code = match text("reason") {
            "BackoffLimitExceeded" => code::JOB_BACKOFF,
            "DeadlineExceeded" => code::JOB_DEADLINE,
            "PodFailurePolicy" => code::JOB_POLICY,
            _ => code::JOB_FAILED,
        };
        let mut cause = StatusCause::new(code, job, text("message"));
        if let Some(pods) = pods {
            cause.message = format!("{}: {}", cause.message, pods.message);
            cause.chain = pods.chain;
            cause.log = pods.log;
            cause.event = pods.event;
        }
        Ok(Some(cause))
    }
}
