//! Which groups of jobs a process serves, by its sub-command; see the sub-commands in
//! `docs/wire-contract.md`.

use crate::job::Group;

/// A sub-command that runs the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// All groups.
    Run,
    /// Builds and syncs.
    Build,
    /// Deploys and syncs.
    Install,
}

impl Mode {
    /// Returns the groups that it serves.
    pub fn groups(self) -> Vec<Group> {
        use Group::{Actions, Build, Deploy, Operations, Sandbox, Sync};
        match self {
            Self::Run => vec![Operations, Sync, Build, Sandbox, Deploy, Actions],
            Self::Build => vec![Operations, Sync, Build],
            Self::Install => vec![Operations, Sync, Sandbox, Deploy, Actions],
        }
    }

    /// Returns the sub-command's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Build => "build",
            Self::Install => "install",
        }
    }

    /// Returns its name in heartbeats and registrations; empty for `run`.
    pub fn process(self) -> &'static str {
        match self {
            Self::Run => "",
            other => other.as_str(),
        }
    }
}
