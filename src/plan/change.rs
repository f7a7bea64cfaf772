//! What becomes of an object, and what a plan does.

use serde::{Deserialize, Serialize};

/// What becomes of an object or of a line. Numbers on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum Change {
    /// Nothing.
    Unchanged,
    /// It goes.
    Removed,
    /// It comes.
    Added,
    /// It becomes another.
    Modified,
    /// It could not be found out, or not be done.
    Error,
}

impl Change {
    /// What became of an object, as people say it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::Removed => "deleted",
            Self::Added => "created",
            Self::Modified => "configured",
            Self::Error => "failed",
        }
    }
}

impl From<Change> for u8 {
    fn from(change: Change) -> u8 {
        match change {
            Change::Unchanged => 0,
            Change::Removed => 1,
            Change::Added => 2,
            Change::Modified => 3,
            Change::Error => 4,
        }
    }
}

impl TryFrom<u8> for Change {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, String> {
        Ok(match number {
            0 => Self::Unchanged,
            1 => Self::Removed,
            2 => Self::Added,
            3 => Self::Modified,
            4 => Self::Error,
            _ => return Err(format!("{number} is no kind of change")),
        })
    }
}

/// Whether a plan applies or deletes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Op {
    /// Bring the objects to what the manifest says.
    Apply,
    /// Delete them.
    Delete,
}
