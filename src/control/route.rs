//! The routes of the API: the limits of each, and the one table that says how each handles each kind of
//! response.
//!
//! Code and tests both read [`Route::verdict`]; nothing else decides about a response.

use std::time::Duration;

use http::Method;

/// Timeout of one attempt.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// Timeout of a poll, a read by the monitor, or a heartbeat: these repeat soon.
const SHORT_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the server holds a long poll.
pub(super) const LONG_POLL_WAIT: Duration = Duration::from_secs(25);

/// Timeout of a long poll: the time that the server holds it, plus a grace period.
pub const LONG_POLL_TIMEOUT: Duration = LONG_POLL_WAIT.saturating_add(Duration::from_secs(5));

/// Maximum size of a response, in bytes. Plans contain whole manifests.
const MAX_RESPONSE_BYTES: usize = 64 << 20;

/// Maximum size of a list of jobs, in bytes. It is read at each poll.
const MAX_JOBS_BYTES: usize = 4 << 20;

/// A call of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Route {
    /// Settings of the runner's group.
    Settings,
    /// A heartbeat.
    Heartbeat,
    /// The list of available jobs.
    Jobs,
    /// The available jobs of a group, as a long poll.
    JobsTail,
    /// One job, when a job is claimed or recovered.
    Job,
    /// One job, by the monitor, once a second.
    Monitor,
    /// A plan as text.
    Plan,
    /// A plan as a composite document.
    CompositePlan,
    /// A job's status.
    UpdateJob,
    /// A new execution.
    CreateExecution,
    /// One execution.
    Execution,
    /// An execution's status.
    UpdateExecution,
    /// An execution's result.
    Result,
    /// An execution's outputs.
    Outputs,
    /// A batch of log lines.
    Logs,
    /// The registration of a process.
    CreateProcess,
    /// One registered process.
    Process,
    /// A registered process's status.
    UpdateProcess,
    /// Requests that the process shuts down.
    Shutdowns,
    /// The acknowledgement of a shutdown request.
    CompleteShutdown,
}

/// The result of a call, as far as the table distinguishes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ResponseClass {
    /// A status and a complete body of the expected form.
    Status(u16),
    /// A success status, but a body that is cut off or does not have the expected form.
    Broken,
    /// No response: the connection failed, was reset, or timed out.
    NoAnswer,
}

/// What to do about the outcome of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The call is done.
    Accept,
    /// Try again after the backoff, or after the server's delay if that is longer.
    Retry,
    /// Read the token again, then try again after the backoff.
    Reauthenticate,
    /// The call may have taken effect: read the state, then decide.
    CheckState,
    /// Done by an earlier attempt whose response was lost, if the state shows it; else refused for
    /// good.
    DoneBefore,
    /// Done by an earlier attempt whose response was lost, if the state shows it; else not possible
    /// yet.
    DoneOrRetry,
    /// Do not retry; the next period's call is the next attempt.
    Skip,
    /// Refused for good.
    Final,
}

/// A route's verdict for each kind of response other than success.
struct Row {
    bad_request: Verdict,
    unauthorized: Verdict,
    forbidden: Verdict,
    not_found: Verdict,
    conflict: Verdict,
    unprocessable: Verdict,
    /// 408 and 429: the server did not process the request.
    later: Verdict,
    server_error: Verdict,
    /// 3xx: never followed, because the token must not reach another host.
    redirect: Verdict,
    no_answer: Verdict,
    broken: Verdict,
}

use Verdict::{Accept, CheckState, DoneBefore, DoneOrRetry, Final, Reauthenticate, Retry, Skip};

/// Reads are idempotent.
const READ: Row = Row {
    bad_request: Final,
    unauthorized: Reauthenticate,
    forbidden: Final,
    not_found: Final,
    conflict: Retry,
    unprocessable: Final,
    later: Retry,
    server_error: Retry,
    redirect: Final,
    no_answer: Retry,
    broken: Retry,
};

/// Calls with a period of their own are never retried within it.
const PERIODIC: Row = Row {
    bad_request: Skip,
    unauthorized: Reauthenticate,
    forbidden: Skip,
    not_found: Skip,
    conflict: Skip,
    unprocessable: Skip,
    later: Skip,
    server_error: Skip,
    redirect: Skip,
    no_answer: Skip,
    broken: Skip,
};

/// Idempotent writes; the body of the response is not needed.
const SET: Row = Row {
    broken: Accept,
    ..READ
};

/// Writes of which the server keeps one: it refuses a second one as a duplicate.
const ONCE: Row = Row {
    bad_request: DoneBefore,
    conflict: DoneOrRetry,
    broken: Accept,
    ..READ
};

/// A write that is not idempotent.
const CREATE: Row = Row {
    server_error: CheckState,
    no_answer: CheckState,
    broken: CheckState,
    ..READ
};

impl Route {
    /// Every route.
    pub const ALL: [Self; 20] = [
        Self::Settings,
        Self::Heartbeat,
        Self::Jobs,
        Self::JobsTail,
        Self::Job,
        Self::Monitor,
        Self::Plan,
        Self::CompositePlan,
        Self::UpdateJob,
        Self::CreateExecution,
        Self::Execution,
        Self::UpdateExecution,
        Self::Result,
        Self::Outputs,
        Self::Logs,
        Self::CreateProcess,
        Self::Process,
        Self::UpdateProcess,
        Self::Shutdowns,
        Self::CompleteShutdown,
    ];

    /// Returns the time limit of one attempt.
    pub(super) fn timeout(self) -> Duration {
        match self {
            Self::JobsTail => LONG_POLL_TIMEOUT,
            Self::Jobs | Self::Monitor | Self::Heartbeat => SHORT_ATTEMPT_TIMEOUT,
            _ => ATTEMPT_TIMEOUT,
        }
    }

    /// Returns the maximum size of a response, in bytes.
    pub(super) fn max_response_bytes(self) -> usize {
        match self {
            Self::Jobs | Self::JobsTail => MAX_JOBS_BYTES,
            _ => MAX_RESPONSE_BYTES,
        }
    }

    fn row(self) -> &'static Row {
        match self {
            Self::Settings
            | Self::Job
            | Self::Plan
            | Self::CompositePlan
            | Self::Execution
            | Self::Process => &READ,
            Self::Heartbeat | Self::Jobs | Self::JobsTail | Self::Monitor | Self::Shutdowns => {
                &PERIODIC
            }
            // `CreateProcess` is handled like a read: a second registration only adds a row, which
            // ends by itself.
            Self::UpdateJob
            | Self::UpdateExecution
            | Self::Logs
            | Self::UpdateProcess
            | Self::CompleteShutdown => &SET,
            Self::CreateProcess => &READ,
            Self::Result | Self::Outputs => &ONCE,
            Self::CreateExecution => &CREATE,
        }
    }

    /// Returns what to do about an outcome.
    pub fn verdict(self, outcome: ResponseClass) -> Verdict {
        let row = self.row();
        match outcome {
            ResponseClass::NoAnswer => row.no_answer,
            ResponseClass::Broken => row.broken,
            ResponseClass::Status(status) => match status {
                200..=299 => Accept,
                401 => row.unauthorized,
                403 => row.forbidden,
                404 => row.not_found,
                408 | 429 => row.later,
                409 => row.conflict,
                422 => row.unprocessable,
                300..=399 => row.redirect,
                400..=499 => row.bad_request,
                _ => row.server_error,
            },
        }
    }

    /// Returns the HTTP method.
    pub fn method(self) -> Method {
        match self {
            Self::Heartbeat
            | Self::CreateExecution
            | Self::Result
            | Self::Outputs
            | Self::Logs
            | Self::CreateProcess
            | Self::CompleteShutdown => Method::POST,
            Self::UpdateJob | Self::UpdateExecution | Self::UpdateProcess => Method::PATCH,
            _ => Method::GET,
        }
    }

    /// Returns its name in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Settings => "settings",
            Self::Heartbeat => "heart-beat",
            Self::Jobs => "jobs",
            Self::JobsTail => "jobs-tail",
            Self::Job => "job",
            Self::Monitor => "monitor",
            Self::Plan => "plan",
            Self::CompositePlan => "composite-plan",
            Self::UpdateJob => "update-job",
            Self::CreateExecution => "create-execution",
            Self::Execution => "execution",
            Self::UpdateExecution => "update-execution",
            Self::Result => "result",
            Self::Outputs => "outputs",
            Self::Logs => "logs",
            Self::CreateProcess => "create-process",
            Self::Process => "process",
            Self::UpdateProcess => "update-process",
            Self::Shutdowns => "shutdowns",
            Self::CompleteShutdown => "complete-shutdown",
        }
    }
}

impl std::fmt::Display for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_execution_is_never_created_blindly_again() {
        for outcome in [
            ResponseClass::NoAnswer,
            ResponseClass::Broken,
            ResponseClass::Status(500),
            ResponseClass::Status(503),
        ] {
            assert_eq!(Route::CreateExecution.verdict(outcome), CheckState);
        }
    }

    #[test]
    fn no_redirect_is_followed_and_no_refusal_repeated() {
        for route in Route::ALL {
            for status in [301, 302, 307, 403, 404, 422] {
                assert!(
                    matches!(route.verdict(ResponseClass::Status(status)), Final | Skip),
                    "{route} {status}"
                );
            }
        }
    }
}
