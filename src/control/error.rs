//! Why a call to the control plane failed.

use std::time::Duration;

use super::route::{ResponseClass, Route, Verdict};
use crate::base::retry::{MayRetry, Retry};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The server refused the call.
    #[error("the control plane refused {route} with {status}{}", detail(.message))]
    Refused {
        /// The route that was called.
        route: Route,
        /// The HTTP status.
        status: u16,
        /// The server's message, with secrets masked.
        message: String,
        /// True if the body is not JSON, as when the route does not exist.
        not_json: bool,
        /// The delay that the server asked for (`Retry-After`).
        delay: Option<Duration>,
    },
    /// There was no response.
    #[error("the control plane did not answer {route}: {message}")]
    NoAnswer {
        /// The route that was called.
        route: Route,
        /// What happened, with secrets masked.
        message: String,
    },
    /// The response was cut off or does not have the expected form.
    #[error("the control plane's answer to {route} cannot be read: {message}")]
    Broken {
        /// The route that was called.
        route: Route,
        /// What is wrong with the response.
        message: String,
    },
    /// The deadline passed.
    #[error("the control plane could not be reached for {route} within {waited:?}")]
    Deadline {
        /// The route that was called.
        route: Route,
        /// How long the call was tried.
        waited: Duration,
    },
}

fn detail(message: &str) -> String {
    if message.is_empty() {
        String::new()
    } else {
        format!(": {message}")
    }
}

impl ControlError {
    /// Returns the verdict of the route's table for this error; final for a passed deadline.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Refused { route, status, .. } => route.verdict(ResponseClass::Status(*status)),
            Self::NoAnswer { route, .. } => route.verdict(ResponseClass::NoAnswer),
            Self::Broken { route, .. } => route.verdict(ResponseClass::Broken),
            Self::Deadline { .. } => Verdict::Final,
        }
    }

    /// Returns true if the server does not know the route: it is older, or has the route switched
    /// off.
    pub fn is_absent_route(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                status: 404,
                not_json: true,
                ..
            }
        )
    }

    /// Returns true if the server answered with this status.
    pub fn is_status(&self, wanted: u16) -> bool {
        matches!(self, Self::Refused { status, .. } if *status == wanted)
    }

    /// Returns the delay that the server asked for.
    pub fn delay(&self) -> Option<Duration> {
        match self {
            Self::Refused { delay, .. } => *delay,
            _ => None,
        }
    }
}

impl MayRetry for ControlError {
    fn retry(&self) -> Retry {
        match self.verdict() {
            Verdict::Retry | Verdict::Reauthenticate => Retry::later(self.delay()),
            _ => Retry::Never,
        }
    }
}
