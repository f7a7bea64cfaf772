//! Why a call to the control plane was in vain.

use std::time::Duration;

use super::route::{Outcome, Route, Verdict};

/// Why a call was in vain.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The server refused.
    #[error("the control plane refused {route} with {status}{}", detail(.message))]
    Refused {
        /// Which call.
        route: Route,
        /// Its status.
        status: u16,
        /// The server's words, without secrets.
        message: String,
        /// Whether the body was no JSON: the route is not there.
        plain: bool,
        /// What the server asked us to wait.
        delay: Option<Duration>,
    },
    /// There was no answer.
    #[error("the control plane did not answer {route}: {message}")]
    NoAnswer {
        /// Which call.
        route: Route,
        /// What happened, without secrets.
        message: String,
    },
    /// The answer was cut off or is not what was promised.
    #[error("the control plane's answer to {route} cannot be read: {message}")]
    Broken {
        /// Which call.
        route: Route,
        /// What is wrong with it.
        message: String,
    },
    /// The deadline struck.
    #[error("the control plane could not be reached for {route} in {waited:?}")]
    Deadline {
        /// Which call.
        route: Route,
        /// How long it was tried.
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
    /// What the route's table says of this.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Refused { route, status, .. } => route.verdict(Outcome::Status(*status)),
            Self::NoAnswer { route, .. } => route.verdict(Outcome::NoAnswer),
            Self::Broken { route, .. } => route.verdict(Outcome::Broken),
            Self::Deadline { .. } => Verdict::Final,
        }
    }

    /// Whether the server does not know the route: an older generation, or one that has it switched off.
    pub fn is_absent_route(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                status: 404,
                plain: true,
                ..
            }
        )
    }

    /// Whether the server answered with this status.
    pub fn is_status(&self, wanted: u16) -> bool {
        matches!(self, Self::Refused { status, .. } if *status == wanted)
    }

    /// The wait that the server asked for.
    pub fn delay(&self) -> Option<Duration> {
        match self {
            Self::Refused { delay, .. } => *delay,
            _ => None,
        }
    }
}
