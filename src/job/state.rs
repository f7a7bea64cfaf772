//! The state machine of an execution: which statuses there are, which step sends which, and the
//! one match that knows the legal moves.

use serde::{Deserialize, Serialize};

/// Status of an execution, as the control plane spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExecutionStatus {
    /// Made by the control plane; nothing has happened.
    Pending,
    /// Plan and sources are fetched, clients made, inputs checked.
    Initializing,
    /// The effect is under way, or done and being reported.
    InProgress,
    /// What the job left behind is removed.
    CleaningUp,
    /// Done.
    Finished,
    /// Gone wrong.
    Failed,
    /// Not done in time.
    TimedOut,
    /// Never begun.
    NotAttempted,
    /// Stopped by a user or by the runner's own end.
    Cancelled,
    /// A word this version does not know.
    #[serde(other)]
    Unknown,
}

impl ExecutionStatus {
    /// Whether nothing can follow.
    pub fn is_final(self) -> bool {
        matches!(
            self,
            Self::Finished | Self::Failed | Self::TimedOut | Self::NotAttempted | Self::Cancelled
        )
    }

    /// The control plane's word for it.
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

    /// Moves from `self` to `next`.
    ///
    /// Forward moves may skip steps; staying is not a move; nothing leaves a final status.
    ///
    /// # Errors
    /// [`IllegalMove`], which names both.
    pub fn to(self, next: Self) -> Result<Self, IllegalMove> {
        let forward = match (self.progress(), next.progress()) {
            (Some(here), Some(there)) => here < there,
            (Some(_), None) => next.is_final(),
            (None, _) => false,
        };
        if forward {
            Ok(next)
        } else {
            Err(IllegalMove {
                from: self,
                to: next,
            })
        }
    }

    /// Position among the statuses on the way; none for the final ones.
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

/// A status cannot follow another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an execution cannot move from {from} to {to}")]
pub struct IllegalMove {
    /// The status it has.
    pub from: ExecutionStatus,
    /// The status it cannot have next.
    pub to: ExecutionStatus,
}

/// Status of a job, as the control plane spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobStatus {
    /// Waits for its turn.
    Queued,
    /// May be claimed.
    Available,
    /// An execution exists.
    InProgress,
    /// Done.
    Finished,
    /// Gone wrong.
    Failed,
    /// Not done, or not claimed, in time.
    TimedOut,
    /// Never offered.
    NotAttempted,
    /// Cancelled by a user or by the control plane.
    Cancelled,
    /// A word this version does not know.
    #[serde(other)]
    Unknown,
}

/// The steps of an execution, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Plan and sources.
    Fetch,
    /// Workspace, clients, artifact.
    Initialize,
    /// Every check that can be made before an effect.
    Validate,
    /// The effect.
    Exec,
    /// What was produced.
    Outputs,
    /// Always, in a budget of its own.
    Cleanup,
}

impl Step {
    /// All steps but the clean-up, which is driven apart.
    pub const WORK: [Self; 5] = [
        Self::Fetch,
        Self::Initialize,
        Self::Validate,
        Self::Exec,
        Self::Outputs,
    ];

    /// The status that the control plane sees while the step runs.
    pub fn status(self) -> ExecutionStatus {
        match self {
            Self::Fetch | Self::Initialize | Self::Validate => ExecutionStatus::Initializing,
            Self::Exec | Self::Outputs => ExecutionStatus::InProgress,
            Self::Cleanup => ExecutionStatus::CleaningUp,
        }
    }

    /// Its name in logs, metrics and reports.
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
                assert_eq!(from.to(to).is_ok(), legal, "{from} to {to}");
            }
        }
    }

    #[test]
    fn an_illegal_move_names_both_ends() {
        let error = Finished.to(InProgress).unwrap_err();
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
