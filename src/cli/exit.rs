//! The table of exit codes.

use std::process::ExitCode;

/// Exit code of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// Done, or nothing to do.
    Done,
    /// An error. For the agent: it could not start, or could not continue.
    Error,
    /// There are differences, or changes are planned.
    Changes,
    /// The approved plan no longer fits.
    PlanConflict,
    /// Not ready, or the rollout failed.
    NotReady,
    /// Credentials or permission are missing.
    Forbidden,
    /// Refused by a guard.
    Guarded,
    /// A person did not confirm.
    Declined,
    /// Wrong arguments or settings.
    Usage,
    /// The agent was forced to end with open executions.
    Forced,
    /// Interrupted from the keyboard.
    Interrupted,
}

/// The table as `--help` shows it.
pub const TABLE: &str = "Exit codes:
  0    done, or unchanged
  1    error; for the agent: it could not start, or could not continue
  2    there are differences, or changes are planned (plan, diff, --dry-run)
  3    the approved plan no longer fits
  4    not ready, rollout failed
  5    credentials or permission missing
  6    refused by a guard (deletion limit, fields that others own, a missing signature)
  7    not confirmed at the prompt
  64   wrong usage or configuration
  75   the agent was forced to end; open executions are left for the next process
  130  interrupted";

impl Code {
    /// Returns the number that the process exits with.
    pub fn number(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Error => 1,
            Self::Changes => 2,
            Self::PlanConflict => 3,
            Self::NotReady => 4,
            Self::Forbidden => 5,
            Self::Guarded => 6,
            Self::Declined => 7,
            Self::Usage => 64,
            Self::Forced => 75,
            Self::Interrupted => 130,
        }
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        code.number().into()
    }
}
