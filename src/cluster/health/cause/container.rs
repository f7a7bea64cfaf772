//! Diagnoses a container by its state and last state, as the kubelet writes them
//! (pkg/kubelet/kubelet_pods.go, `convertToAPIContainerStatuses`), and by its probes, which only
//! events report (pkg/kubelet/prober/prober.go).

use serde_json::Value;

use crate::cluster::health::cause::code::{Code, Recoverability};
use crate::cluster::health::cause::event::Event;
use crate::cluster::health::cause::{code, image};

/// Number of restarts after which a crashing container counts as not recoverable.
const MAX_RESTARTS: u64 = 3;

/// Diagnosis of a container.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    pub code: Code,
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
pub fn fault(status: &Value, events: &[&Event]) -> Option<Fault> {
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
    let plain = |code: Code, words: &str| {
        Some(Fault {
            code,
            message: words.to_owned(),
            log: None,
        })
    };
    if let Some(code) = image::of(reason, message) {
        return plain(code, message);
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
fn config(message: &str) -> Code {
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

fn create(message: &str) -> Code {
    if message.contains("no command specified") {
        code::COMMAND_NOT_FOUND
    } else {
        code::CONTAINER_CREATE
    }
}

fn start(message: &str) -> Code {
    let words = [
        "executable file not found",
        "no such file or directory",
        "permission denied",
        "exec format error",
    ];
    if words.iter().any(|word| message.contains(word)) {
        code::COMMAND_NOT_FOUND
    } else {
        code::CONTAINER_START
    }
}

/// Diagnoses how the current or the previous run ended.
fn ended(status: &Value, events: &[&Event]) -> Option<Fault> {
    let restarts = status
        .get("restartCount")
        .and_then(Value::as_u64)
        .unwrap_or_default();
    let run = status
        .pointer("/state/terminated")
        .or_else(|| status.pointer("/lastState/terminated"))?;
    let is_running = status.pointer("/state/running").is_some();
    let is_ready = status.get("ready").and_then(Value::as_bool) == Some(true);
    let is_done = status
        .pointer("/state/terminated/exitCode")
        .and_then(Value::as_i64)
        == Some(0);
    if (is_running && is_ready) || is_done {
        return None;
    }
    let reason = run
        .get("reason")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let exit = run
        .get("exitCode")
        .and_then(Value::as_i64)
        .unwrap_or_default();
    let message = run
        .get("message")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let seconds = lasted(run)
        .map(|seconds| format!(" after {seconds} s"))
        .unwrap_or_default();
    let words = |what: String| {
        if message.is_empty() {
            what
        } else {
            format!("{what}: {message}")
        }
    };
    let given_up = |code: Code| {
        if restarts >= MAX_RESTARTS {
            Code {
                recoverability: Recoverability::RetriesExhausted,
                ..code
            }
        } else {
            code
        }
    };
    // A container that is running again may become ready this time.
    let hope = |code: Code| {
        if is_running {
            Code {
                recoverability: Recoverability::Recovers,
                ..code
            }
        } else {
            code
        }
    };
    let fault = |code: Code, what: String| {
        Some(Fault {
            code: hope(code),
            message: words(what),
            log: Some(LogRun::Ended),
        })
    };
    if reason == "OOMKilled" {
        return fault(
            code::OOM_KILLED,
            format!("killed because it exceeded its memory limit{seconds}"),
        );
    }
    if ["StartError", "ContainerCannotRun"].contains(&reason) {
        return fault(start(message), "could not be started".into());
    }
    if let Some(killed) = events
        .iter()
        .rev()
        .find(|event| event.reason == "Killing" && event.message.contains("probe"))
    {
        let is_startup = killed.message.contains("startup");
        let code = if is_startup {
            code::STARTUP_FAILED
        } else {
            code::LIVENESS_FAILED
        };
        let unhealthy = events
            .iter()
            .rev()
            .find(|event| event.reason == "Unhealthy");
        let probe = unhealthy.map_or(&killed.message, |event| &event.message);
        return fault(
            given_up(code),
            format!("killed{seconds} by its probe: {probe}"),
        );
    }
    if restarts == 0 && status.pointer("/state/terminated").is_none() {
        return None;
    }
    match exit {
        0 if restarts > 0 => fault(
            code::EXITS_AT_ONCE,
            format!("exits with 0{seconds} and is restarted repeatedly"),
        ),
        0 => None,
        exit => fault(
            given_up(code::CRASHES),
            format!("exits with {exit}{seconds}, {restarts} restarts"),
        ),
    }
}

/// Returns the duration of a run in whole seconds, if it is below one day.
fn lasted(run: &Value) -> Option<i64> {
    let time = |member: &str| run.get(member)?.as_str()?.parse::<jiff::Timestamp>().ok();
    let (start, end) = (time("startedAt")?, time("finishedAt")?);
    Some(end.duration_since(start).as_secs()).filter(|seconds| (0..86_400).contains(seconds))
}

/// Diagnoses a container that is running but not ready.
fn probe(status: &Value, events: &[&Event]) -> Option<Fault> {
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
    let code = Code {
        recoverability: Recoverability::Recovers,
        ..code
    };
    Some(Fault {
        code,
        message: unhealthy.message.clone(),
        log: Some(LogRun::Current),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(reason: &str, message: &str) -> Event {
        Event {
            reason: reason.into(),
            message: message.into(),
            ..Event::default()
        }
    }

    fn code_of(status: Value, events: &[Event]) -> Option<&'static str> {
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
            ("RunContainerError", "error mounting", "ContainerStartError"),
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
