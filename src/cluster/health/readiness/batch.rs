//! Kinds that run to completion: Pod and Job.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::cluster::health::readiness::fields::{Condition, at, integer, text};
use crate::cluster::health::readiness::{Readiness, ReadinessError};
use crate::manifest::Object;

/// An unschedulable pod counts as failed only after this time, because a node may be starting.
const SCHEDULING_GRACE: Duration = Duration::from_secs(15);

pub fn pod(
    object: &Object,
    conditions: &[Condition<'_>],
    now: Timestamp,
) -> Result<Readiness, ReadinessError> {
    let condition = |kind, status| {
        conditions
            .iter()
            .find(|condition| condition.kind == kind && condition.status == status)
    };
    Ok(match text(object, &["status", "phase"]) {
        "Succeeded" => Readiness::current("Pod has completed successfully"),
        "Failed" => Readiness::current("Pod has completed, but not successfully"),
        "Running" => {
            if condition("Ready", "True").is_some() {
                return Ok(Readiness::current("Pod is Ready"));
            }
            let crashing = crashing(object)?;
            if crashing.is_empty() {
                Readiness::in_progress("PodRunningNotReady", "Pod is running but is not Ready")
            } else {
                let message = format!("Containers in CrashLoop state: {}", crashing.join(","));
                Readiness::failed("ContainerCrashLooping", message)
            }
        }
        "Pending" => match condition("PodScheduled", "False") {
            Some(placed) if placed.reason == "Unschedulable" => {
                if is_new(object, now) {
                    Readiness::in_progress("PodNotScheduled", "Pod has not been scheduled")
                } else {
                    Readiness::failed("PodUnschedulable", "Pod could not be scheduled")
                }
            }
            _ => Readiness::in_progress("PodPending", "Pod is in the Pending phase"),
        },
        "" => Readiness::in_progress("PodNotObserved", "Pod phase not available"),
        other => return Err(ReadinessError::Phase(other.chars().take(60).collect())),
    })
}

/// Returns the names of the containers in CrashLoopBackOff.
fn crashing(object: &Object) -> Result<Vec<&str>, ReadinessError> {
    let wrong = |item: &str, wanted| ReadinessError::Type {
        field: format!("status.containerStatuses{item}"),
        wanted,
    };
    let Some(containers) = at(object, &["status", "containerStatuses"]) else {
        return Ok(Vec::new());
    };
    let mut names = Vec::new();
    for container in containers.as_array().ok_or_else(|| wrong("", "a list"))? {
        let container = container.as_object().ok_or_else(|| wrong("[]", "a map"))?;
        let waiting = container
            .get("state")
            .and_then(|state| state.get("waiting"));
        if waiting.and_then(|waiting| waiting.get("reason")?.as_str()) == Some("CrashLoopBackOff") {
            names.extend(container.get("name").and_then(Value::as_str));
        }
    }
    Ok(names)
}

fn is_new(object: &Object, now: Timestamp) -> bool {
    let created = text(object, &["metadata", "creationTimestamp"]);
    let created = created
        .parse::<Timestamp>()
        .ok()
        .filter(|_| is_rfc_3339(created));
    created.is_some_and(|created| {
        now.duration_since(created) < SCHEDULING_GRACE.try_into().unwrap_or_default()
    })
}

/// Returns true if the time has the form that Kubernetes parses: RFC 3339 with a capital `T`, `Z`
/// or a numeric offset, and no leap second.
fn is_rfc_3339(time: &str) -> bool {
    let shape: String = time
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    let Some(rest) = shape.strip_prefix("0000-00-00T00:00:00") else {
        return false;
    };
    let zone = rest.trim_start_matches(['.', '0']);
    time.get(17..19) != Some("60") && ["Z", "+00:00", "-00:00"].contains(&zone)
}

pub fn job(object: &Object, conditions: &[Condition<'_>]) -> Readiness {
    let parallelism = integer(object, &["spec", "parallelism"], 1);
    let wanted = integer(object, &["spec", "completions"], parallelism);
    let status = |member| integer(object, &["status", member], 0);
    let (succeeded, failed) = (status("succeeded"), status("failed"));
    for condition in conditions
        .iter()
        .filter(|condition| condition.status == "True")
    {
        match condition.kind {
            "Complete" => {
                return Readiness::current(format!(
                    "Job Completed. succeeded: {succeeded}/{wanted}"
                ));
            }
            "Failed" => {
                return Readiness::failed(
                    "JobFailed",
                    format!("Job Failed. failed: {failed}/{wanted}"),
                );
            }
            _ => {}
        }
    }
    if text(object, &["status", "startTime"]).is_empty() {
        return Readiness::in_progress("JobNotStarted", "Job not started");
    }
    let active = status("active");
    Readiness::current(format!(
        "Job in progress. success:{succeeded}, active: {active}, failed: {failed}"
    ))
}
