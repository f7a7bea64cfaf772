//! Diagnoses a container by its state and last state, as the kubelet writes them
//! (pkg/kubelet/kubelet_pods.go, `convertToAPIContainerStatuses`), and by its probes, which only
//! events report (pkg/kubelet/prober/prober.go).

use serde_json::Value;

use crate::cluster::health::cause::code::{CauseCode, Recoverability};
use crate::cluster::health::cause::event::ClusterEvent;
use crate::cluster::health::cause::{code, image};

/// Number of restarts after which a crashing container counts as not recoverable.
const MAX_RESTARTS: u64 = 3;

/// Number of restarts up to which one that ran out of memory, or exited with 0, may be an accident.
const MAX_ACCIDENTS: u64 = 1;

/// Diagnosis of a container.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerFault {
    pub code: CauseCode,
    /// The cluster's message.
    pub message: String,
    /// The run whose log may say more, if any.
    pub log: Option<LogRun>,
}

/// Which log to read: that of the run that ended, or of the current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogRun {
    Ended,
    Current,
}

/// Diagnoses a container by its status and its events.
pub fn fault(status: &Value, events: &[&ClusterEvent]) -> Option<ContainerFault> {
    let text = |pointer: &str| {
        status
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let (reason, message) = (
        text("/state/waiting/reason"),
        text("/state/waiting/message"),
    );
    let plain = |code: CauseCode, words: &str| {
        Some(ContainerFault {
            code,
            message: words.to_owned(),
            log: None,
        })
    };
    if let Some(code) = image::of(reason, message) {
        // While the kubelet backs off, older ones have the reason in an event only.
        return match image::of_events(events).filter(|_| code == code::IMAGE_PULL_FAILED) {
            Some((code, message)) => plain(code, message),
            None => plain(code, message),
        };
    }
    match reason {
        "CreateContainerConfigError" => return plain(config(message), message),
        "CreateContainerError" | "PreCreateHookError" | "PreStartHookError" => {
            return plain(create(message), message);
        }
        "RunContainerError" => return plain(start(message), message),
        "PostStartHookError" => return plain(code::HOOK_FAILED, message),
        _ => {}
    }
    ended(status, events).or_else(|| probe(status, events))
}

/// Diagnoses `CreateContainerConfigError` (pkg/kubelet/kubelet_pods.go, `makeEnvironmentVariables`;
/// security_context, `verifyRunAsNonRoot`).
fn config(message: &str) -> CauseCode {
    let says = |text: &str| message.contains(text);
    if says("couldn't find key") {
        return if says("in Secret") {
            code::SECRET_KEY_MISSING
        } else {
            code::CONFIG_MAP_KEY_MISSING
        };
    }
    if says("not found") && message.starts_with("configmap") {
        return code::CONFIG_MAP_MISSING;
    }
    if says("not found") && message.starts_with("secret") {
        return code::SECRET_MISSING;
    }
    if says("runAsNonRoot") || says("non-root") {
        return code::RUN_AS_NON_ROOT;
    }
    code::CONTAINER_CONFIG
}

fn create(message: &str) -> CauseCode {
    if message.contains("no command specified") {
        code::COMMAND_NOT_FOUND
    } else {
        code::CONTAINER_CREATE
    }
}

fn start(message: &str) -> CauseCode {
    let words = [
        "executable file not found",
        "no such file or directory",
        "permission denied",
        "exec format error",
    ];
    // The same words end the errors of mounts, devices and hooks of the container runtime.
    if message.contains("error mounting") {
        return code::MOUNT_FAILED;
    }
    let is_about_command = !["device", "hook"].iter().any(|word| message.contains(word));
    if is_about_command && words.iter().any(|word| message.contains(word)) {
        code::COMMAND_NOT_FOUND
    } else {
        code::CONTAINER_START
    }
}

/// Diagnoses how the current or the previous run ended.
fn ended(status: &Value, events: &[&ClusterEvent]) -> Option<ContainerFault> {
    let run = EndedRun::of(status)?;
    if run.reason == "OOMKilled" {
        let what = format!(
            "killed because it exceeded its memory limit{}",
            run.duration
        );
        return run.fault(run.after_accident(code::OOM_KILLED), &what);
    }
    if ["StartError", "ContainerCannotRun"].contains(&run.reason) {
        return run.fault(start(run.message), "could not be started");
    }
    if let Some((code, probe)) = failed_probe(events) {
        let what = format!("killed{} by its probe: {probe}", run.duration);
        return run.fault(run.after_restarts(code), &what);
    }
    if run.restarts == 0 && !run.is_terminated {
        return None;
    }
    match run.exit {
        0 if run.restarts > 0 => {
            let what = format!("exits with 0{} and is restarted repeatedly", run.duration);
            run.fault(run.after_accident(code::EXITS_AT_ONCE), &what)
        }
        0 => None,
        exit => {
            let what = format!(
                "exits with {exit}{}, {} restarts",
                run.duration, run.restarts
            );
            run.fault(run.after_restarts(code::CRASHES), &what)
        }
    }
}

/// A run of a container that has ended: the current one, or the one before.
struct EndedRun<'a> {
    restarts: u64,
    reason: &'a str,
    exit: i64,
    message: &'a str,
    /// How long it lasted, such as ` after 3 s`; empty if that is not known.
    duration: String,
    /// True if the container runs again.
    is_running: bool,
    /// True if the container does not run now.
    is_terminated: bool,
}

impl<'a> EndedRun<'a> {
    /// Returns `None` if no run has ended, the container is ready, or it has succeeded.
    fn of(status: &'a Value) -> Option<Self> {
        let terminated = status.pointer("/state/terminated");
        let run = terminated.or_else(|| status.pointer("/lastState/terminated"))?;
        let is_running = status.pointer("/state/running").is_some();
        let is_ready = status.get("ready").and_then(Value::as_bool) == Some(true);
        let exit_code = |run: &Value| run.get("exitCode").and_then(Value::as_i64);
        let is_done = terminated.and_then(exit_code) == Some(0);
        if (is_running && is_ready) || is_done {
            return None;
        }
        let text = |member: &str| run.get(member).and_then(Value::as_str).unwrap_or_default();
        let restarts = status.get("restartCount").and_then(Value::as_u64);
        Some(Self {
            restarts: restarts.unwrap_or_default(),
            reason: text("reason"),
            exit: exit_code(run).unwrap_or_default(),
            message: text("message"),
            duration: lasted(run).map_or_else(String::new, |seconds| format!(" after {seconds} s")),
            is_running,
            is_terminated: terminated.is_some(),
        })
    }

    /// Returns the code of a fault that restarts do not mend, once there were enough of them.
    fn after_restarts(&self, code: CauseCode) -> CauseCode {
        if self.restarts < MAX_RESTARTS {
            return code;
        }
        CauseCode {
            recoverability: Recoverability::RetriesExhausted,
            ..code
        }
    }

    /// Returns the code of a fault that happens once in a while, and is one only if it goes on.
    fn after_accident(&self, code: CauseCode) -> CauseCode {
        if self.restarts > MAX_ACCIDENTS {
            return code;
        }
        CauseCode {
            recoverability: Recoverability::Recovers,
            ..code
        }
    }

    fn fault(&self, code: CauseCode, what: &str) -> Option<ContainerFault> {
        // A container that is running again may become ready this time.
        let recoverability = match self.is_running {
            true => Recoverability::Recovers,
            false => code.recoverability,
        };
        let message = match self.message {
            "" => what.to_owned(),
            message => format!("{what}: {message}"),
        };
        Some(ContainerFault {
            code: CauseCode {
                recoverability,
                ..code
            },
            message,
            log: Some(LogRun::Ended),
        })
    }
}

/// Returns the code and the message of the probe that had a container killed, if one had.
fn failed_probe<'e>(events: &[&'e ClusterEvent]) -> Option<(CauseCode, &'e str)> {
    let mut newest = events.iter().rev();
    let killed =
        newest.find(|event| event.reason == "Killing" && event.message.contains("probe"))?;
    let code = match killed.message.contains("startup") {
        true => code::STARTUP_FAILED,
        false => code::LIVENESS_FAILED,
    };
    let mut newest = events.iter().rev();
    let unhealthy = newest.find(|event| event.reason == "Unhealthy");
    Some((code, &unhealthy.unwrap_or(killed).message))
}

/// Returns the duration of a run in whole seconds, if it is below one day.
fn lasted(run: &Value) -> Option<i64> {
    let time = |member: &str| run.get(member)?.as_str()?.parse::<jiff::Timestamp>().ok();
    let (start, end) = (time("startedAt")?, time("finishedAt")?);
    Some(end.duration_since(start).as_secs()).filter(|seconds| (0..86_400).contains(seconds))
}

/// Diagnoses a container that is running but not ready.
fn probe(status: &Value, events: &[&ClusterEvent]) -> Option<ContainerFault> {
    let is_ready = status.get("ready").and_then(Value::as_bool) == Some(true);
    if is_ready || status.pointer("/state/running").is_none() {
        return None;
    }
    let unhealthy = events
        .iter()
        .rev()
        .find(|event| event.reason == "Unhealthy")?;
    let code = match &unhealthy.message {
        message if message.starts_with("Startup") => code::STARTUP_FAILED,
        message if message.starts_with("Liveness") => code::LIVENESS_FAILED,
        _ => code::READINESS_FAILED,
    };
    // Until a probe kills the container, it may still become ready.
    let code = CauseCode {
        recoverability: Recoverability::Recovers,
        ..code
    };
    Some(ContainerFault {
        code,
        message: unhealthy.message.clone(),
        log: Some(LogRun::Current),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(reason: &str, message: &str) -> ClusterEvent {
        ClusterEvent {
            reason: reason.into(),
            message: message.into(),
            ..ClusterEvent::default()
        }
    }

    fn code_of(status: Value, events: &[ClusterEvent]) -> Option<&'static str> {
        fault(&status, &events.iter().collect::<Vec<_>>()).map(|fault| fault.code.reason)
    }

    #[test]
    fn containers_that_cannot_be_made_are_told_apart() {
        for (reason, message, word) in [
            (
                "CreateContainerConfigError",
                "configmap \"app\" not found",
                "ConfigMapMissing",
            ),
            (
                "CreateContainerConfigError",
                "secret \"db\" not found",
                "SecretMissing",
            ),
            (
                "CreateContainerConfigError",
                "couldn't find key URL in ConfigMap shop/app",
                "ConfigMapKeyMissing",
            ),
            (
                "CreateContainerConfigError",
                "couldn't find key p in Secret shop/db",
                "SecretKeyMissing",
            ),
            (
                "CreateContainerConfigError",
                "container has runAsNonRoot and image will run as root (pod: x)",
                "RunAsNonRoot",
            ),
            (
                "CreateContainerConfigError",
                "failed to prepare subPath for volumeMount",
                "ContainerConfigError",
            ),
            (
                "CreateContainerError",
                "no command specified",
                "CommandNotFound",
            ),
            (
                "RunContainerError",
                "exec: \"/srv/app\": stat /srv/app: no such file or directory",
                "CommandNotFound",
            ),
            (
                "RunContainerError",
                "error mounting \"/x\" to rootfs: no such file or directory",
                "MountFailed",
            ),
            (
                "RunContainerError",
                "error gathering device information while adding custom device \"/dev/x\": no such file or directory",
                "ContainerStartError",
            ),
            (
                "RunContainerError",
                "error running createRuntime hook #0: fork/exec /opt/hook: permission denied",
                "ContainerStartError",
            ),
            ("PostStartHookError", "exited with 1", "PostStartHookFailed"),
            ("ErrImagePull", "manifest unknown", "ImageNotFound"),
        ] {
            let status = json!({"state": {"waiting": {"reason": reason, "message": message}}});
            assert_eq!(code_of(status, &[]), Some(word), "{reason} {message}");
        }
    }

    #[test]
    fn runs_that_end_are_told_apart() {
        let crashed = |terminated: Value, restarts: u64| json!({"restartCount": restarts, "ready": false, "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": terminated}});
        assert_eq!(
            code_of(
                crashed(json!({"exitCode": 137, "reason": "OOMKilled"}), 1),
                &[]
            ),
            Some("OutOfMemory")
        );
        assert_eq!(
            code_of(
                crashed(json!({"exitCode": 0, "reason": "Completed"}), 1),
                &[]
            ),
            Some("ContainerExits")
        );
        assert_eq!(
            code_of(
                crashed(
                    json!({"exitCode": 128, "reason": "StartError", "message": "executable file not found in $PATH"}),
                    1
                ),
                &[]
            ),
            Some("CommandNotFound")
        );
        let exit = json!({"exitCode": 1, "reason": "Error", "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:02Z"});
        let fault = fault(&crashed(exit, 3), &[]).unwrap();
        assert_eq!(
            (fault.code.reason, fault.code.recoverability),
            ("ContainerCrashes", Recoverability::RetriesExhausted)
        );
        assert_eq!(fault.message, "exits with 1 after 2 s, 3 restarts");
        let killed = [
            event("Unhealthy", "Liveness probe failed: 500"),
            event(
                "Killing",
                "Container web failed liveness probe, will be restarted",
            ),
        ];
        assert_eq!(
            code_of(
                crashed(json!({"exitCode": 137, "reason": "Error"}), 1),
                &killed
            ),
            Some("LivenessProbeFailed")
        );
    }

    #[test]
    fn one_accident_is_not_hopeless_and_more_are() {
        let crashed = |terminated: Value, restarts: u64| json!({"restartCount": restarts, "ready": false, "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": terminated}});
        for run in [
            json!({"exitCode": 137, "reason": "OOMKilled"}),
            json!({"exitCode": 0, "reason": "Completed"}),
        ] {
            for (restarts, hopeless) in [(1, false), (2, true)] {
                let fault = fault(&crashed(run.clone(), restarts), &[]).unwrap();
                let given_up = fault.code.recoverability == Recoverability::NeedsChange;
                assert_eq!(given_up, hopeless, "{run} after {restarts}");
            }
        }
    }

    #[test]
    fn what_is_done_or_runs_again_is_not_given_up() {
        let done = json!({"restartCount": 2, "ready": true, "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}, "lastState": {"terminated": {"exitCode": 1}}});
        assert_eq!(code_of(done, &[]), None);
        let again = json!({"restartCount": 5, "ready": false, "state": {"running": {}}, "lastState": {"terminated": {"exitCode": 1}}});
        let fault = fault(&again, &[]).unwrap();
        assert_eq!(
            (fault.code.reason, fault.code.recoverability),
            ("ContainerCrashes", Recoverability::Recovers)
        );
    }

    #[test]
    fn a_running_container_is_judged_by_its_probes() {
        let running =
            |ready: bool| json!({"ready": ready, "restartCount": 0, "state": {"running": {}}});
        let unhealthy = [event(
            "Unhealthy",
            "Readiness probe failed: HTTP probe failed with statuscode: 503",
        )];
        assert_eq!(
            code_of(running(false), &unhealthy),
            Some("ReadinessProbeFailed")
        );
        assert_eq!(code_of(running(true), &unhealthy), None);
        assert_eq!(code_of(running(false), &[]), None);
    }
}
