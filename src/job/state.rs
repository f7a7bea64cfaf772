//! The state machine of an execution: its statuses, the status of each step, and the legal
//! transitions.

use serde::{Deserialize, Serialize};

/// Status of an execution, spelled as in the control plane's API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExecutionStatus {
    /// Created by the control plane; not started.
    Pending,
    /// Fetching the plan and sources, creating clients, checking inputs.
    Initializing,
    /// The effect is running, or complete and being reported.
    InProgress,
    /// Removing the job's temporary files and other leftovers.
    CleaningUp,
    /// Succeeded.
    Finished,
    /// Ended with an error.
    Failed,
    /// Did not end within its time limit.
    TimedOut,
    /// Never started.
    NotAttempted,
    /// Stopped by a user, or by the runner's shutdown.
    Cancelled,
    /// A status that this version does not know.
    #[serde(other)]
    Unknown,
}

impl ExecutionStatus {
    /// Returns true if no status can follow.
    pub fn is_final(self) -> bool {
        matches!(
            self,
            Self::Finished | Self::Failed | Self::TimedOut | Self::NotAttempted | Self::Cancelled
        )
    }

    /// Returns the control plane's name for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Initializing => "initializing",
            Self::InProgress => "in-progress",
            Self::CleaningUp => "cleaning-up",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::TimedOut => "timed-out",
            Self::NotAttempted => "not-attempted",
            Self::Cancelled => "cancelled",
            Self::Unknown => "unknown",
        }
    }

    /// Checks the transition from `self` to `next` and returns `next`.
    ///
    /// Transitions go forward and may skip statuses. A status cannot follow itself, and none
    /// follows a final status.
    ///
    /// # Errors
    /// [`IllegalTransition`] if `next` cannot follow.
    pub fn transition_to(self, next: Self) -> Result<Self, IllegalTransition> {
        let forward = match (self.progress(), next.progress()) {
            (Some(here), Some(there)) => here < there,
            (Some(_), None) => next.is_final(),
            (None, _) => false,
        };
        if forward {
            Ok(next)
        } else {
            Err(IllegalTransition {
                from: self,
                to: next,
            })
        }
    }

    /// Position in the order of statuses; `None` for final ones.
    fn progress(self) -> Option<u8> {
        match self {
            Self::Pending | Self::Unknown => Some(0),
            Self::Initializing => Some(1),
            Self::InProgress => Some(2),
            Self::CleaningUp => Some(3),
            _ => None,
        }
    }
}

impl std::fmt::Display for ExecutionStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A status that cannot follow another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an execution cannot move from {from} to {to}")]
pub struct IllegalTransition {
    /// The current status.
    pub from: ExecutionStatus,
    /// The rejected next status.
    pub to: ExecutionStatus,
}

/// Status of a job, spelled as in the control plane's API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobStatus {
    /// Waiting in its queue.
    Queued,
    /// Can be claimed.
    Available,
    /// Claimed: an execution exists.
    InProgress,
    /// Succeeded.
    Finished,
    /// Ended with an error.
    Failed,
    /// Not finished, or not claimed, in time.
    TimedOut,
    /// Never made available.
    NotAttempted,
    /// Cancelled by a user or by the control plane.
    Cancelled,
    /// A status that this version does not know.
    #[serde(other)]
    Unknown,
}

/// The steps of an execution, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Fetch the plan and sources.
    Fetch,
    /// Create the clients; read the objects to deploy.
    Initialize,
    /// All checks that are possible before the effect.
    Validate,
    /// The job's effect, such as a push or an apply.
    Exec,
    /// Report what was produced.
    Outputs,
    /// Clean up. Always runs, with a time limit of its own.
    Cleanup,
}

impl Step {
    /// All steps except cleanup, which is run separately.
    pub const WORK: [Self; 5] = [
        Self::Fetch,
        Self::Initialize,
        Self::Validate,
        Self::Exec,
        Self::Outputs,
    ];

    /// Returns the status that the control plane sees during the step.
    pub fn status(self) -> ExecutionStatus {
        match self {
            Self::Fetch | Self::Initialize | Self::Validate => ExecutionStatus::Initializing,
            Self::Exec | Self::Outputs => ExecutionStatus::InProgress,
            Self::Cleanup => ExecutionStatus::CleaningUp,
        }
    }

    /// Returns the step's name in logs, metrics and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fetch => "fetch",
            Self::Initialize => "initialize",
            Self::Validate => "validate",
            Self::Exec => "exec",
            Self::Outputs => "outputs",
            Self::Cleanup => "cleanup",
        }
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::ExecutionStatus::*;
    use super::*;

    const ALL: [ExecutionStatus; 9] = [
        Pending,
        Initializing,
        InProgress,
        CleaningUp,
        Finished,
        Failed,
        TimedOut,
        NotAttempted,
        Cancelled,
    ];

    #[test]
    fn a_status_never_goes_backwards_and_a_final_one_stays() {
        for (i, from) in ALL.into_iter().enumerate() {
            for (j, to) in ALL.into_iter().enumerate() {
                let legal = i < 4 && (j > i);
                assert_eq!(from.transition_to(to).is_ok(), legal, "{from} to {to}");
            }
        }
    }

    #[test]
    fn an_illegal_move_names_both_ends() {
        let error = Finished.transition_to(InProgress).unwrap_err();
        assert_eq!(
            error.to_string(),
            "an execution cannot move from finished to in-progress"
        );
    }

    #[test]
    fn the_statuses_of_the_steps_never_go_backwards() {
        for pair in Step::WORK.windows(2) {
            assert!(pair[0].status() <= pair[1].status());
        }
    }
}
