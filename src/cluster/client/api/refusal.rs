//! Converts errors of the kube library to [`ClusterError`], with bounded messages.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::base::bounded::BodyError;
use crate::base::trust;
use crate::cluster::client::{ClusterError, FieldError};
use crate::manifest::Object;

/// Characters kept at each end of a long message of the server.
const KEPT_CHARS: usize = 400;

/// Maximum causes kept of one refusal.
const MAX_CAUSES: usize = 50;

pub(super) fn unreadable(action: &str) -> ClusterError {
    ClusterError::Answer {
        action: action.to_owned(),
        message: "it is not what was asked for".into(),
    }
}

/// Reads a response as the object of that name.
pub(super) fn object_named(
    name: &str,
    answer: Value,
    action: &str,
) -> Result<Object, ClusterError> {
    match answer {
        Value::Object(object) if answer_name(&object) == Some(name) => Ok(Object(object)),
        _ => Err(unreadable(action)),
    }
}

fn answer_name(object: &Map<String, Value>) -> Option<&str> {
    object.get("metadata")?.get("name")?.as_str()
}

pub(super) fn stopped(action: &str) -> ClusterError {
    ClusterError::Stopped {
        action: action.to_owned(),
    }
}

pub(super) fn unreachable(action: &str, address: &str, message: String) -> ClusterError {
    ClusterError::Unreachable {
        action: action.to_owned(),
        address: address.to_owned(),
        message,
    }
}

/// Returns the delay that the server asks for before a retry.
pub(super) fn requested_delay(error: &kube::Error) -> Option<Duration> {
    let kube::Error::Api(status) = error else {
        return None;
    };
    let seconds = status.details.as_ref()?.retry_after_seconds;
    Some(Duration::from_secs(seconds.into())).filter(|wait| !wait.is_zero())
}

// Long: one arm per kind of error.
pub(super) fn classify(action: &str, address: &str, error: kube::Error) -> (ClusterError, bool) {
    match error {
        kube::Error::Api(status) => {
            // The server answers a malformed patch with 500, and would do so again.
            let is_broken = status
                .message
                .contains("failed to create typed patch object");
            let temporary = matches!(status.code, 429 | 500 | 502..=504) && !is_broken;
            let error = ClusterError::Refused {
                action: action.to_owned(),
                code: status.code,
                reason: status.reason.clone(),
                message: shorten(&status.message),
                causes: causes(&status),
            };
            (error, temporary)
        }
        // The parser's message could quote a Secret, so it is dropped. The body may have been cut
        // off, so a retry can succeed.
        kube::Error::SerdeError(_) => (unreadable(action), true),
        // The library's message could quote the output of an exec plugin.
        kube::Error::Auth(_) => {
            let (action, message) = (
                action.to_owned(),
                "the credentials could not be renewed".to_owned(),
            );
            (
                ClusterError::Refused {
                    action,
                    code: 401,
                    reason: String::new(),
                    message,
                    causes: Vec::new(),
                },
                true,
            )
        }
        other => {
            let mut message = other.to_string();
            let mut source = std::error::Error::source(&other);
            while let Some(cause) = source {
                let text = cause.to_string();
                if !message.contains(&text) {
                    message = format!("{message}: {text}");
                }
                source = cause.source();
            }
            if let kube::Error::Service(source) = &other
                && let Some(error @ (BodyError::TooLarge(_) | BodyError::TooMany(_))) =
                    source.downcast_ref()
            {
                return (
                    ClusterError::TooLarge {
                        action: action.to_owned(),
                        message: error.to_string(),
                    },
                    false,
                );
            }
            if trust::is_untrusted_certificate(&other) {
                return (ClusterError::Untrusted(message), false);
            }
            let temporary = matches!(other, kube::Error::Service(_) | kube::Error::HyperError(_));
            (unreachable(action, address, message), temporary)
        }
    }
}

/// Keeps the beginning and the end of a long message: the server quotes values in the middle and
/// names the problem at the end.
fn shorten(text: &str) -> String {
    let count = text.chars().count();
    if count <= 2 * KEPT_CHARS {
        return text.to_owned();
    }
    let (head, tail): (String, String) = (
        text.chars().take(KEPT_CHARS).collect(),
        text.chars().skip(count - KEPT_CHARS).collect(),
    );
    format!("{head} … {tail}")
}

fn causes(status: &kube::core::Status) -> Vec<FieldError> {
    let causes = status
        .details
        .iter()
        .flat_map(|details| &details.causes)
        .take(MAX_CAUSES);
    causes
        .map(|cause| FieldError {
            reason: cause.reason.clone(),
            field: cause.field.clone(),
            message: shorten(&cause.message),
        })
        .collect()
}

/// Redacts the server's message about a Secret, which may quote its values. Messages about
/// permissions do not.
pub(super) fn without_secret_values(error: ClusterError) -> ClusterError {
    let (is_forbidden, is_immutable) = (error.is_forbidden(), error.is_immutable());
    match error {
        ClusterError::Refused {
            action,
            code,
            reason,
            causes,
            ..
        } if !is_forbidden => {
            let what = if is_immutable {
                "a field is immutable".to_owned()
            } else {
                format!("{reason} ({code})")
            };
            let fields: Vec<String> = causes
                .iter()
                .map(|cause| format!("{} ({})", cause.field, cause.reason))
                .collect();
            let fields = match fields.is_empty() {
                true => String::new(),
                false => format!(": {}", fields.join(", ")),
            };
            let message = format!(
                "{what}{fields}; the server's message is omitted because it may contain the Secret's values"
            );
            let causes = causes
                .into_iter()
                .map(|cause| FieldError {
                    message: String::new(),
                    ..cause
                })
                .collect();
            ClusterError::Refused {
                action,
                code,
                reason,
                message,
                causes,
            }
        }
        other => other,
    }
}
