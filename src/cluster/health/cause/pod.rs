//! Diagnoses a pod. Of several faults it reports the one that comes first on the way to a running
//! container.

use serde_json::Value;

use crate::cluster::health::cause::code::CauseCode;
use crate::cluster::health::cause::container::{ContainerFault, LogRun};
use crate::cluster::health::cause::event::ClusterEvent;
use crate::cluster::health::cause::{code, container, scheduling};
use crate::manifest::Object;

/// Diagnosis of a pod.
#[derive(Debug, Clone, PartialEq)]
pub struct PodFault {
    pub code: CauseCode,
    pub message: String,
    /// The container at fault, and the run whose log may say more.
    pub container: Option<(String, Option<LogRun>)>,
}

/// Event reasons that show progress towards a running container.
const PROGRESS_REASONS: [&str; 6] = [
    "Scheduled",
    "SuccessfulAttachVolume",
    "Pulling",
    "Pulled",
    "Created",
    "Started",
];

/// Words of mounts whose ConfigMap or Secret, or a key of it, does not exist.
const MISSING_SOURCES: [&str; 3] = ["configmap \"", "secret \"", "references non-existent"];

/// How the kubelet sums up mounts that have failed. Older events say why each did.
const MOUNT_SUMMARY: &str = "Unable to attach or mount volumes";

/// Diagnoses a pod by its status and events. Returns `None` if it has no fault, or none is known
/// yet.
// Long: one check per state, the most specific first.
pub fn fault(pod: &Object, events: &[ClusterEvent]) -> Option<PodFault> {
    let status = pod.0.get("status").unwrap_or(&Value::Null);
    let text = |member: &str| {
        status
            .get(member)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let whole = |code: CauseCode, words: &str| {
        Some(PodFault {
            code,
            message: words.to_owned(),
            container: None,
        })
    };
    match (text("phase"), text("reason")) {
        // pkg/kubelet/eviction, pkg/kubelet/kubelet.go
        ("Failed", "Evicted") => return whole(code::POD_EVICTED, text("message")),
        ("Failed", "DeadlineExceeded") => return whole(code::POD_DEADLINE, text("message")),
        ("Failed", "Preempting") => return whole(code::POD_PREEMPTED, text("message")),
        ("Failed", "NodeAffinity") => return whole(code::NODE_AFFINITY, text("message")),
        ("Failed", "NodeShutdown" | "Terminated") => {
            return whole(code::NODE_LOST, text("message"));
        }
        ("Failed", "UnexpectedAdmissionError") => {
            return whole(code::POD_REJECTED, text("message"));
        }
        // `OutOfcpu`, `OutOfmemory`, `OutOfpods`, `OutOfexample.com/gpu`
        ("Failed", reason) if reason.starts_with("OutOf") => {
            return whole(code::INSUFFICIENT_RESOURCES, text("message"));
        }
        // `TopologyAffinityError`, `SysctlForbidden`, `AppArmor` and others of the kubelet's admission
        ("Failed", reason) if !reason.is_empty() => {
            return whole(
                code::POD_REJECTED,
                &format!("{reason}: {}", text("message")),
            );
        }
        _ => {}
    }
    if let Some(message) = condition(status, "PodScheduled", "False") {
        return whole(scheduling::cause(message, events), message);
    }
    if let Some(message) = condition(status, "DisruptionTarget", "True") {
        let is_preempted = message.contains("preempt");
        return whole(
            if is_preempted {
                code::POD_PREEMPTED
            } else {
                code::NODE_LOST
            },
            message,
        );
    }
    let containers = ["initContainerStatuses", "containerStatuses"]
        .into_iter()
        .flat_map(|list| {
            status
                .get(list)
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
        });
    let faults = containers.filter_map(|container| {
        let name = container.get("name")?.as_str()?;
        let own: Vec<&ClusterEvent> = events
            .iter()
            .filter(|event| event.is_about_container(name))
            .collect();
        let ContainerFault {
            code,
            message: words,
            log,
        } = container::fault(container, &own)?;
        Some(PodFault {
            code: with_pull_secret(code, events),
            message: words,
            container: Some((name.to_owned(), log)),
        })
    });
    let faults: Vec<PodFault> = faults.collect();
    // A readiness probe failure counts only if no container has another fault.
    let is_probe = |fault: &&PodFault| fault.code == code::READINESS_FAILED;
    faults
        .iter()
        .find(|fault| !is_probe(fault))
        .cloned()
        .or_else(|| before_start(status, events))
        .or_else(|| faults.first().cloned())
        .or_else(|| lost_node(events))
        .or_else(|| closed_gate(status))
}

/// Diagnoses a pod whose containers are ready, and whose readiness gates are not.
fn closed_gate(status: &Value) -> Option<PodFault> {
    condition(status, "ContainersReady", "True")?;
    let message = condition(status, "Ready", "False")?;
    message.contains("readiness gate").then(|| PodFault {
        code: code::READINESS_GATE,
        message: message.to_owned(),
        container: None,
    })
}

/// The kubelet reports a missing pull secret once, in an event of the pod.
fn with_pull_secret(code: CauseCode, events: &[ClusterEvent]) -> CauseCode {
    let is_missing = events
        .iter()
        .any(|event| event.reason == "FailedToRetrieveImagePullSecret");
    if code == code::IMAGE_AUTH_FAILED && is_missing {
        code::IMAGE_PULL_SECRET_MISSING
    } else {
        code
    }
}

/// Diagnoses faults before the first container starts. Volumes and the sandbox leave no message in
/// the status; only events report them (pkg/volume/util/operationexecutor,
/// pkg/kubelet/kuberuntime).
fn before_start(status: &Value, events: &[ClusterEvent]) -> Option<PodFault> {
    let has_started = status
        .get("containerStatuses")
        .and_then(Value::as_array)
        .is_some_and(|all| {
            all.iter().any(|container| {
                container.pointer("/state/running").is_some()
                    || container.pointer("/lastState/terminated").is_some()
            })
        });
    if has_started {
        return None;
    }
    // Faults before the last progress event are resolved.
    let last = events
        .iter()
        .rposition(|event| PROGRESS_REASONS.contains(&event.reason.as_str()))
        .map_or(0, |at| at + 1);
    let faults = events.iter().skip(last).rev().filter_map(|event| {
        let says = |text: &str| event.message.contains(text);
        let code = match event.reason.as_str() {
            "FailedMount" if MISSING_SOURCES.iter().any(|words| says(words)) => {
                code::MOUNT_CONFIG_MISSING
            }
            "FailedMount" => code::MOUNT_FAILED,
            "FailedAttachVolume"
                if says("already used")
                    || says("already exclusively attached")
                    || says("Multi-Attach") =>
            {
                code::VOLUME_IN_USE
            }
            "FailedAttachVolume" => code::ATTACH_FAILED,
            "FailedCreatePodSandBox" | "NetworkNotReady" => code::SANDBOX_FAILED,
            "ErrImageNeverPull" => code::IMAGE_NEVER_PULLED,
            _ => return None,
        };
        Some((code, event))
    });
    let faults: Vec<_> = faults.collect();
    let is_summary = |event: &ClusterEvent| event.message.starts_with(MOUNT_SUMMARY);
    let specific = faults.iter().find(|(_, event)| !is_summary(event));
    let found = specific.or(faults.first());
    found.map(|(code, event)| PodFault {
        code: *code,
        message: event.message.clone(),
        container: None,
    })
}

fn lost_node(events: &[ClusterEvent]) -> Option<PodFault> {
    let event = events
        .iter()
        .rev()
        .find(|event| event.reason == "NodeNotReady")?;
    Some(PodFault {
        code: code::NODE_LOST,
        message: event.message.clone(),
        container: None,
    })
}

/// Returns the message of the condition of this type and status.
pub fn condition<'a>(status: &'a Value, kind: &str, value: &str) -> Option<&'a str> {
    let conditions = status.get("conditions").and_then(Value::as_array)?;
    let is_it = |condition: &&Value| {
        condition.get("type").is_some_and(|found| found == kind)
            && condition.get("status").is_some_and(|found| found == value)
    };
    Some(
        conditions
            .iter()
            .find(is_it)?
            .get("message")
            .and_then(Value::as_str)
            .unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(status: Value) -> Object {
        Object(
            json!({"kind": "Pod", "status": status})
                .as_object()
                .unwrap()
                .clone(),
        )
    }

    fn event(reason: &str, message: &str) -> ClusterEvent {
        ClusterEvent {
            reason: reason.into(),
            message: message.into(),
            ..ClusterEvent::default()
        }
    }

    fn word(status: Value, events: &[ClusterEvent]) -> Option<&'static str> {
        fault(&pod(status), events).map(|fault| fault.code.reason)
    }

    #[test]
    fn what_comes_first_is_told() {
        let unscheduled = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no nodes available to schedule pods"}]});
        assert_eq!(word(unscheduled, &[]), Some("NoNodes"));
        let evicted = json!({"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."});
        assert_eq!(word(evicted, &[]), Some("PodEvicted"));
        let rejected = |reason: &str| json!({"phase": "Failed", "reason": reason, "message": "Pod was rejected"});
        for (reason, expected) in [
            ("OutOfcpu", "InsufficientResources"),
            ("NodeAffinity", "NodeAffinityMismatch"),
            ("UnexpectedAdmissionError", "PodRejected"),
            ("NodeShutdown", "NodeNotReady"),
        ] {
            assert_eq!(word(rejected(reason), &[]), Some(expected), "{reason}");
        }
        let gated = json!({"phase": "Running", "conditions": [{"type": "ContainersReady", "status": "True"},
            {"type": "Ready", "status": "False", "reason": "ReadinessGatesNotReady",
             "message": "the status of pod readiness gate \"a.test/lb\" is not \"True\", but False"}]});
        assert_eq!(word(gated, &[]), Some("ReadinessGateClosed"));
        let creating = json!({"phase": "Pending", "containerStatuses": [{"name": "web", "state": {"waiting": {"reason": "ContainerCreating"}}}]});
        for (reason, message, expected) in [
            (
                "FailedMount",
                "MountVolume.SetUp failed for volume \"cfg\" : configmap \"app\" not found",
                "MountedConfigMissing",
            ),
            (
                "FailedMount",
                "MountVolume.MountDevice failed for volume \"pv\" : rpc error",
                "MountFailed",
            ),
            (
                "FailedAttachVolume",
                "Multi-Attach error for volume \"pvc-1\" Volume is already used by pod(s) a",
                "VolumeInUse",
            ),
            (
                "FailedAttachVolume",
                "AttachVolume.Attach failed for volume \"pvc-1\" : rpc error",
                "AttachFailed",
            ),
            (
                "FailedCreatePodSandBox",
                "Failed to create pod sandbox: plugin type=\"calico\" failed",
                "SandboxFailed",
            ),
        ] {
            assert_eq!(
                word(creating.clone(), &[event(reason, message)]),
                Some(expected),
                "{message}"
            );
        }
        assert_eq!(word(creating.clone(), &[]), None);
        let went_on = [
            event("FailedMount", "configmap \"app\" not found"),
            event("Pulling", "Pulling image"),
        ];
        assert_eq!(word(creating, &went_on), None);
        let init = json!({"phase": "Pending",
            "initContainerStatuses": [{"name": "migrate", "restartCount": 1, "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"exitCode": 2, "reason": "Error"}}}],
            "containerStatuses": [{"name": "web", "state": {"waiting": {"reason": "PodInitializing"}}}]});
        let found = fault(&pod(init), &[]).unwrap();
        assert_eq!(
            (found.code.reason, found.container.unwrap().0),
            ("ContainerCrashes", "migrate".into())
        );
        let pulling = json!({"phase": "Pending", "containerStatuses": [{"name": "web", "state": {"waiting": {"reason": "ErrImagePull", "message": "no basic auth credentials"}}}]});
        assert_eq!(word(pulling.clone(), &[]), Some("ImageAuthFailed"));
        assert_eq!(
            word(
                pulling,
                &[event("FailedToRetrieveImagePullSecret", "Unable")]
            ),
            Some("ImagePullSecretMissing")
        );
    }
}
