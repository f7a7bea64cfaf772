//! What becomes of an object, and what a plan does.

use serde::{Deserialize, Serialize};

use crate::base::invalid::InvalidInput;

/// The change to an object or to a line of its diff. A number on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum ChangeKind {
    /// No change.
    Unchanged,
    /// Deleted.
    Removed,
    /// Created.
    Added,
    /// Changed.
    Modified,
    /// The change could not be determined or not be made.
    Error,
}

impl ChangeKind {
    /// Returns the word that kubectl prints for the change of an object.
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

impl From<ChangeKind> for u8 {
    fn from(change: ChangeKind) -> u8 {
        match change {
            ChangeKind::Unchanged => 0,
            ChangeKind::Removed => 1,
            ChangeKind::Added => 2,
            ChangeKind::Modified => 3,
            ChangeKind::Error => 4,
        }
    }
}

impl TryFrom<u8> for ChangeKind {
    type Error = InvalidInput;

    fn try_from(number: u8) -> Result<Self, InvalidInput> {
        Ok(match number {
            0 => Self::Unchanged,
            1 => Self::Removed,
            2 => Self::Added,
            3 => Self::Modified,
            4 => Self::Error,
            _ => return Err(format!("{number} is not a known change type").into()),
        })
    }
}

/// What a plan does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Op {
    /// Applies the manifest.
    Apply,
    /// Deletes the objects.
    Delete,
}
