//! Kinds that own pods: Deployment, StatefulSet, DaemonSet, ReplicaSet.

use crate::cluster::health::readiness::Readiness;
use crate::cluster::health::readiness::fields::{Condition, at, integer, text};
use crate::manifest::Object;

/// `progressDeadlineSeconds` that Kubernetes treats as no deadline.
const NO_DEADLINE: i64 = i32::MAX as i64;

/// Default for a count that is not set.
const ABSENT: i64 = -1;

pub fn deployment(object: &Object, conditions: &[Condition<'_>]) -> Readiness {
    let mut progressed =
        integer(object, &["spec", "progressDeadlineSeconds"], NO_DEADLINE) == NO_DEADLINE;
    let mut available = false;
    for condition in conditions {
        match (condition.kind, condition.status, condition.reason) {
            ("Progressing", _, "ProgressDeadlineExceeded") => {
                let mut failed = Readiness::failed(condition.reason, "Progress deadline exceeded");
                failed.detail = Some(condition.message.to_owned());
                return failed;
            }
            ("Progressing", "True", "NewReplicaSetAvailable") => progressed = true,
            ("Available", "True", _) => available = true,
            _ => {}
        }
    }
    let wanted = integer(object, &["spec", "replicas"], 1);
    let status = |member| integer(object, &["status", member], 0);
    let (all, updated) = (status("replicas"), status("updatedReplicas"));
    if wanted > all {
        return Readiness::in_progress("LessReplicas", format!("Replicas: {all}/{wanted}"));
    }
    if wanted > updated {
        return Readiness::in_progress("LessUpdated", format!("Updated: {updated}/{wanted}"));
    }
    if all > wanted {
        return extra(all - wanted);
    }
    if updated > status("availableReplicas") {
        let available = status("availableReplicas");
        return Readiness::in_progress(
            "LessAvailable",
            format!("Available: {available}/{updated}"),
        );
    }
    if let Some(answer) = less(status("readyReplicas"), wanted, "LessReady", "Ready") {
        return answer;
    }
    if !progressed {
        return Readiness::in_progress("ReplicaSetNotAvailable", "ReplicaSet not Available");
    }
    if !available {
        return Readiness::in_progress("DeploymentNotAvailable", "Deployment not Available");
    }
    Readiness::current(format!("Deployment is available. Replicas: {all}"))
}

pub fn stateful_set(object: &Object) -> Readiness {
    if text(object, &["spec", "updateStrategy", "type"]) == "OnDelete" {
        return Readiness::current("StatefulSet is using the ondelete update strategy");
    }
    let wanted = integer(object, &["spec", "replicas"], 1);
    let status = |member| integer(object, &["status", member], 0);
    let all = status("replicas");
    if let Some(answer) = less(all, wanted, "LessReplicas", "Replicas") {
        return answer;
    }
    if let Some(answer) = less(status("readyReplicas"), wanted, "LessReady", "Ready") {
        return answer;
    }
    if all > wanted {
        return extra(all - wanted);
    }
    let partition = integer(
        object,
        &["spec", "updateStrategy", "rollingUpdate", "partition"],
        ABSENT,
    );
    if partition != ABSENT {
        let (updated, wanted) = (status("updatedReplicas"), wanted - partition);
        if updated < wanted {
            return Readiness::in_progress(
                "PartitionRollout",
                format!("updated: {updated}/{wanted}"),
            );
        }
        return Readiness::current(format!("Partition rollout complete. updated: {updated}"));
    }
    if let Some(answer) = less(status("currentReplicas"), wanted, "LessCurrent", "current") {
        return answer;
    }
    if text(object, &["status", "currentRevision"]) != text(object, &["status", "updateRevision"]) {
        return Readiness::in_progress(
            "RevisionMismatch",
            "Waiting for updated revision to match current",
        );
    }
    Readiness::current(format!(
        "All replicas scheduled as expected. Replicas: {all}"
    ))
}

pub fn daemon_set(object: &Object) -> Readiness {
    if at(object, &["metadata", "generation"]).is_none() {
        return Readiness::in_progress("NoGeneration", "DaemonSet metadata.generation not found");
    }
    if at(object, &["status", "observedGeneration"]).is_none() {
        return Readiness::in_progress(
            "NoObservedGeneration",
            "DaemonSet status.observedGeneration not found",
        );
    }
    let wanted = integer(object, &["status", "desiredNumberScheduled"], ABSENT);
    if wanted == ABSENT {
        return Readiness::in_progress("NoDesiredNumber", "Missing .status.desiredNumberScheduled");
    }
    let counts = [
        ("currentNumberScheduled", "LessCurrent", "Current"),
        ("updatedNumberScheduled", "LessUpdated", "Updated"),
        ("numberAvailable", "LessAvailable", "Available"),
        ("numberReady", "LessReady", "Ready"),
    ];
    counts
        .into_iter()
        .find_map(|(member, reason, word)| {
            less(
                integer(object, &["status", member], 0),
                wanted,
                reason,
                word,
            )
        })
        .unwrap_or_else(|| {
            Readiness::current(format!(
                "All replicas scheduled as expected. Replicas: {wanted}"
            ))
        })
}

pub fn replica_set(object: &Object, conditions: &[Condition<'_>]) -> Readiness {
    if conditions
        .iter()
        .any(|condition| condition.kind == "ReplicaFailure" && condition.status == "True")
    {
        return Readiness::in_progress("ReplicaFailure", "Replica Failure condition. Check Pods");
    }
    let wanted = integer(object, &["spec", "replicas"], 1);
    let status = |member| integer(object, &["status", member], 0);
    let counts = [
        ("fullyLabeledReplicas", "LessLabelled", "Labelled"),
        ("availableReplicas", "LessAvailable", "Available"),
        ("readyReplicas", "LessReady", "Ready"),
    ];
    let missing = counts
        .into_iter()
        .find_map(|(member, reason, word)| less(status(member), wanted, reason, word));
    if let Some(answer) = missing {
        return answer;
    }
    let all = status("replicas");
    if all > wanted {
        return extra(all - wanted);
    }
    Readiness::current(format!("ReplicaSet is available. Replicas: {all}"))
}

fn less(there: i64, wanted: i64, reason: &str, word: &str) -> Option<Readiness> {
    (wanted > there).then(|| Readiness::in_progress(reason, format!("{word}: {there}/{wanted}")))
}

fn extra(count: i64) -> Readiness {
    Readiness::in_progress("ExtraPods", format!("Pending termination: {count}"))
}
