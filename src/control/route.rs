//! The routes in use, and the one table that says how each treats each kind of answer.
//!
//! The code and the tests both read [`Route::verdict`]; nothing else decides about an answer.

use http::Method;

/// A call of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Route {
    /// Settings of the runner's group.
    Settings,
    /// A heart beat.
    HeartBeat,
    /// The list of available jobs.
    Jobs,
    /// The list of available jobs, held by the server until there is one.
    JobsTail,
    /// One job, by a step that needs it.
    Job,
    /// One job, by the monitor, once a second.
    Monitor,
    /// A plan as text.
    Plan,
    /// A plan in its composite document.
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
    /// Wishes that the process ends.
    Shutdowns,
    /// A wish that was fulfilled.
    CompleteShutdown,
}

/// What came back, as far as the table looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// A status line and a whole body of the right form.
    Status(u16),
    /// A good status, but a body that is cut off or not of the right form.
    Broken,
    /// Nothing: refused, reset, or silent for too long.
    NoAnswer,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It is done.
    Accept,
    /// Try again after the back-off, or after the delay that the server named if that is longer.
    Retry,
    /// Read the token again, then try again after the back-off.
    Reauthenticate,
    /// It may or may not be done: read what became of it, then decide.
    Ask,
    /// Done by an earlier try whose answer was lost; refused for good if there was none.
    DoneBefore,
    /// Done by an earlier try whose answer was lost; not possible yet if there was none.
    DoneOrRetry,
    /// Not now; the next period's call is the next try.
    Skip,
    /// Refused for good.
    Final,
}

/// What a route does with each kind of answer but a good one.
struct Row {
    bad_request: Verdict,
    unauthorized: Verdict,
    forbidden: Verdict,
    not_found: Verdict,
    conflict: Verdict,
    unprocessable: Verdict,
    /// 408 and 429: the server did not look at the request.
    later: Verdict,
    server_error: Verdict,
    /// 3xx: never followed, the token is not for others.
    redirect: Verdict,
    no_answer: Verdict,
    broken: Verdict,
}

use Verdict::{Accept, Ask, DoneBefore, DoneOrRetry, Final, Reauthenticate, Retry, Skip};

/// Reads repeat without harm.
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

/// Calls with a period of their own are never repeated inside it.
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

/// Writes that say the same when repeated; the answer's body is not needed.
const SET: Row = Row {
    broken: Accept,
    ..READ
};

/// Writes of which the server keeps one: a second one is refused as a duplicate.
const ONCE: Row = Row {
    bad_request: DoneBefore,
    conflict: DoneOrRetry,
    broken: Accept,
    ..READ
};

/// A write that would be done twice.
const CREATE: Row = Row {
    server_error: Ask,
    no_answer: Ask,
    broken: Ask,
    ..READ
};

impl Route {
    /// Every route.
    pub const ALL: [Self; 20] = [
        Self::Settings,
        Self::HeartBeat,
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

    fn row(self) -> &'static Row {
        match self {
            Self::Settings
            | Self::Job
            | Self::Plan
            | Self::CompositePlan
            | Self::Execution
            | Self::Process => &READ,
            Self::HeartBeat | Self::Jobs | Self::JobsTail | Self::Monitor | Self::Shutdowns => {
                &PERIODIC
            }
            // A second registration is one more row that ends by itself.
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

    /// What to do with an outcome.
    pub fn verdict(self, outcome: Outcome) -> Verdict {
        let row = self.row();
        match outcome {
            Outcome::NoAnswer => row.no_answer,
            Outcome::Broken => row.broken,
            Outcome::Status(status) => match status {
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

    /// Its method.
    pub fn method(self) -> Method {
        match self {
            Self::HeartBeat
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

    /// Its name in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Settings => "settings",
            Self::HeartBeat => "heart-beat",
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
            Outcome::NoAnswer,
            Outcome::Broken,
            Outcome::Status(500),
            Outcome::Status(503),
        ] {
            assert_eq!(Route::CreateExecution.verdict(outcome), Ask);
        }
    }

    #[test]
    fn no_redirect_is_followed_and_no_refusal_repeated() {
        for route in Route::ALL {
            for status in [301, 302, 307, 403, 404, 422] {
                assert!(
                    matches!(route.verdict(Outcome::Status(status)), Final | Skip),
                    "{route} {status}"
                );
            }
        }
    }
}
