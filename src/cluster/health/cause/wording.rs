//! Failures in the words of kubelets, container runtimes, schedulers and storage drivers
//! (`wording.txt`): each is told by its cause, and a wait ends at once only for a cause that needs a
//! change.

use serde_json::{Value, json};

use super::event::ClusterEvent;
use super::{pod, refusal, scheduling};
use crate::manifest::Object;

/// Returns the reason of a pod's cause, with `!` if no waiting can help.
fn reason(status: &Value, events: &[ClusterEvent]) -> String {
    let pod = json!({"kind": "Pod", "status": status});
    let fault = pod::fault(&Object(pod.as_object().unwrap().clone()), events);
    fault.map_or_else(String::new, |fault| marked(fault.code))
}

fn marked(code: super::code::CauseCode) -> String {
    let mark = if code.recoverability.is_unrecoverable() {
        "!"
    } else {
        ""
    };
    format!("{}{mark}", code.reason)
}

fn waiting(reason: &str, message: &str) -> Value {
    json!({"phase": "Pending", "containerStatuses": [
        {"name": "app", "ready": false, "restartCount": 0, "state": {"waiting": {"reason": reason, "message": message}}}]})
}

fn ended(restarts: u32, exit: i32, why: &str, message: &str) -> Value {
    json!({"phase": "Running", "containerStatuses": [
        {"name": "app", "ready": false, "restartCount": restarts,
         "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s restarting failed container"}},
         "lastState": {"terminated": {"exitCode": exit, "reason": why, "message": message}}}]})
}

/// An event of the container `app`.
fn event(reason: &str, message: &str) -> ClusterEvent {
    ClusterEvent {
        reason: reason.into(),
        message: message.into(),
        field_path: "spec.containers{app}".into(),
        ..ClusterEvent::default()
    }
}

#[test]
fn each_failure_is_told_by_its_cause() {
    let creating = waiting("ContainerCreating", "");
    let cases = include_str!("wording.txt").lines();
    for case in cases.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (kind, rest) = case.split_once(": ").unwrap();
        let (message, expected) = rest.rsplit_once(" => ").unwrap();
        let (kind, word) = kind.split_once(' ').unwrap_or((kind, ""));
        let found = match kind {
            "pull" => reason(&waiting("ErrImagePull", message), &[]),
            "waiting" => reason(&waiting(word, message), &[]),
            "event" => reason(&creating, &[event(word, message)]),
            "failed" => {
                let status = json!({"phase": "Failed", "reason": word, "message": message});
                reason(&status, &[])
            }
            "schedule" => marked(scheduling::cause(message, &[])),
            "refuse" => marked(refusal::of(message)),
            other => panic!("unknown kind {other}"),
        };
        assert_eq!(found, expected, "{case}");
    }
}

#[test]
fn an_older_event_that_holds_the_reason() {
    let back_off = waiting(
        "ImagePullBackOff",
        "Back-off pulling image \"r.test/web:9\"",
    );
    let failed = "Failed to pull image \"r.test/web:9\": rpc error: code = NotFound desc = r.test/web:9: not found";
    let events = [
        event("Failed", failed),
        event("Failed", "Error: ErrImagePull"),
        event("BackOff", "Back-off pulling image \"r.test/web:9\""),
    ];
    assert_eq!(reason(&back_off, &events), "ImageNotFound!");

    let creating = waiting("ContainerCreating", "");
    let summary = "Unable to attach or mount volumes: unmounted volumes=[conf], unattached volumes=[conf]: timed out waiting for the condition";
    for (message, expected) in [
        (
            "MountVolume.SetUp failed for volume \"conf\" : configmap \"conf\" not found",
            "MountedConfigMissing",
        ),
        (
            "MountVolume.SetUp failed for volume \"conf\" : references non-existent secret key: tls.crt",
            "MountedConfigMissing",
        ),
    ] {
        let events = [event("FailedMount", message), event("FailedMount", summary)];
        assert_eq!(reason(&creating, &events), expected, "{message}");
    }
    let attach = "Multi-Attach error for volume \"pvc-1\" Volume is already used by pod(s) web-0";
    let events = [
        event("FailedAttachVolume", attach),
        event("FailedMount", summary),
    ];
    assert_eq!(reason(&creating, &events), "VolumeInUse");
    assert_eq!(
        reason(&creating, &[event("FailedMount", summary)]),
        "MountFailed"
    );
}

#[test]
fn containers_that_end() {
    for (status, expected) in [
        (ended(1, 137, "OOMKilled", ""), "OutOfMemory"),
        (ended(6, 137, "OOMKilled", ""), "OutOfMemory!"),
        (ended(2, 137, "Error", ""), "ContainerCrashes"),
        (
            ended(6, 1, "Error", "cannot connect to db:5432"),
            "ContainerCrashes!",
        ),
        (ended(1, 0, "Completed", ""), "ContainerExits"),
        (
            ended(
                1,
                128,
                "StartError",
                "exec: \"server\": executable file not found in $PATH",
            ),
            "CommandNotFound!",
        ),
        (
            ended(
                1,
                128,
                "StartError",
                "failed to create task for container: failed to create shim task: context canceled",
            ),
            "ContainerStartError",
        ),
    ] {
        assert_eq!(reason(&status, &[]), expected, "{status}");
    }
    let mut init = ended(5, 1, "Error", "migration failed");
    init["initContainerStatuses"] = init["containerStatuses"].take();
    assert_eq!(reason(&init, &[]), "ContainerCrashes!");
}
