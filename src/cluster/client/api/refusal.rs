//! What went wrong with a request, in our words: the library's errors, explained, and bounded.

use std::time::Duration;

use crate::base::bounded::BodyError;
use crate::base::trust;
use crate::cluster::client::{ClusterError, FieldError};

/// Characters at the beginning and at the end of the server's words that are kept.
const QUOTED: usize = 400;

/// Causes of one refusal that are kept.
const MOST_CAUSES: usize = 50;

pub(super) fn unreadable(action: &str) -> ClusterError {
    ClusterError::Answer {
        action: action.to_owned(),
        message: "it cannot be read".into(),
    }
}

pub(super) fn stopped(action: &str) -> ClusterError {
    ClusterError::Stopped {
        action: action.to_owned(),
    }
}

pub(super) fn unreachable(action: &str, message: String) -> ClusterError {
    ClusterError::Unreachable {
        action: action.to_owned(),
        message,
    }
}

/// How long the server wants to be left alone.
pub(super) fn delay(error: &kube::Error) -> Option<Duration> {
    let kube::Error::Api(status) = error else {
        return None;
    };
    let seconds = status.details.as_ref()?.retry_after_seconds;
    Some(Duration::from_secs(seconds.into())).filter(|wait| !wait.is_zero())
}

pub(super) fn explain(action: &str, error: kube::Error) -> (ClusterError, bool) {
    match error {
        kube::Error::Api(status) => {
            // Of a broken patch the server says 500, and it will again.
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
        // The text may hold a Secret, so the parser's own words are not passed on. The rest of it may come.
        kube::Error::SerdeError(_) => (unreadable(action), true),
        // The library's words may quote what a helper program has printed.
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
            (unreachable(action, message), temporary)
        }
    }
}

/// The beginning and the end of a long text: between them the server quotes values, and says at the end what is
/// wrong with them.
fn shorten(text: &str) -> String {
    let count = text.chars().count();
    if count <= 2 * QUOTED {
        return text.to_owned();
    }
    let (head, tail): (String, String) = (
        text.chars().take(QUOTED).collect(),
        text.chars().skip(count - QUOTED).collect(),
    );
    format!("{head} … {tail}")
}

fn causes(status: &kube::core::Status) -> Vec<FieldError> {
    let causes = status
        .details
        .iter()
        .flat_map(|details| &details.causes)
        .take(MOST_CAUSES);
    causes
        .map(|cause| FieldError {
            reason: cause.reason.clone(),
            field: cause.field.clone(),
            message: shorten(&cause.message),
        })
        .collect()
}

/// The API server's words on a Secret may quote its values; those on rights do not.
pub(super) fn without_values(error: ClusterError) -> ClusterError {
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
            let message = format!(
                "{what}; the server's words are left out because they may hold the Secret's values"
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
