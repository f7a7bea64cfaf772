//! What a deploy job reports: the plan, or what was done.

use serde_json::{Map, json};

use crate::cluster::health::wait;
use crate::cluster::rollout::deploy::DeployResult;
use crate::cluster::rollout::failure::DeployFailure;
use crate::deployment::Progress;
use crate::deployment::metrics::Metrics;
use crate::job::report::ResultReport;
use crate::plan::changeset::{ChangeKind, PlanContents, ResourceDiff, limit_size};
use crate::plan::contents;
use crate::worker::{Context, Outcome};

/// Writes what a deployment tells to the job's log.
pub struct JobProgress<'a>(pub &'a Context);

impl Progress for JobProgress<'_> {
    fn step(&self, message: &str) {
        self.0.log.info(self.0.redactor.mask(message));
    }

    fn note(&self, message: &str) {
        self.0.log.warn(self.0.redactor.mask(message));
    }
}

/// The outcome of a job that plans.
pub fn planned(contents: &PlanContents, context: &Context) -> Outcome {
    log_changes(&contents.k8s_content_diff, planned_word, context);
    if contents.k8s_content_diff.is_empty() {
        context.log.info("nothing would change");
    }
    Outcome::Planned {
        result: with_contents(&contents.text(), true),
    }
}

/// The outcome of an apply or a teardown: the text of the approved plan, the changes that were
/// made, and the error if it failed.
pub fn deployed(
    approved: &str,
    deployed: DeployResult,
    context: &Context,
    metrics: &Metrics,
) -> Outcome {
    log_changes(&deployed.diffs, ResourceDiff::word, context);
    let mut result = with_contents(approved, deployed.failure.is_none());
    let outputs = Map::from_iter([("diff".to_owned(), json!(limit_size(deployed.diffs)))]);
    let Some(failure) = deployed.failure else {
        return Outcome::Done {
            result: Some(result),
            outputs,
        };
    };
    let mask = |text: &str| context.redactor.mask(text).into_owned();
    let message = mask(&failure.sentence());
    context.log.error(message.clone());
    let mut members = vec![
        ("handler", super::NAME.to_owned()),
        ("job_type", context.job.kind.as_str().to_owned()),
        ("message", message.clone()),
    ];
    if let DeployFailure::NotReady(all) = &failure {
        for object in all {
            metrics.not_ready(object.cause.code.reason);
        }
        members.push(("causes", mask(&wait::document(all).to_string())));
    }
    let members = members.into_iter();
    result.error_code = Some(0);
    result.error_metadata = Some(members.map(|(key, text)| (key.to_owned(), text)).collect());
    Outcome::Failed { result, message }
}

fn planned_word(diff: &ResourceDiff) -> &'static str {
    match diff.change {
        _ if diff.is_recreated() => "would replace",
        ChangeKind::Added => "would create",
        ChangeKind::Modified => "would change",
        ChangeKind::Removed => "would delete",
        ChangeKind::Unchanged | ChangeKind::Error => "would leave",
    }
}

fn log_changes(diffs: &[ResourceDiff], word: fn(&ResourceDiff) -> &'static str, context: &Context) {
    let changed = diffs
        .iter()
        .filter(|diff| !matches!(diff.change, ChangeKind::Unchanged | ChangeKind::Error));
    for diff in changed {
        context
            .log
            .info(format!("{} {}", word(diff), diff.subject()));
    }
}

fn with_contents(text: &str, success: bool) -> ResultReport {
    let packed = contents::pack(text);
    ResultReport {
        success,
        contents_compressed: Some(packed.clone()),
        contents_display_compressed: Some(packed),
        ..ResultReport::default()
    }
}
