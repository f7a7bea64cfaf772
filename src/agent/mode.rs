//! Which jobs a process serves, by the sub-command it was started with (protocol, section 4.1).

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
    /// The groups it serves.
    pub fn groups(self) -> Vec<Group> {
        use Group::{Actions, Build, Deploy, Operations, Sandbox, Sync};
        match self {
            Self::Run => vec![Operations, Sync, Build, Sandbox, Deploy, Actions],
            Self::Build => vec![Operations, Sync, Build],
            Self::Install => vec![Operations, Sync, Sandbox, Deploy, Actions],
        }
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Build => "build",
            Self::Install => "install",
        }
    }

    /// Its name in heart beats: `run` has none.
    pub fn process(self) -> &'static str {
        match self {
            Self::Run => "",
            other => other.as_str(),
        }
    }
}
