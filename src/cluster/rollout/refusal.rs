//! Who or what refuses an object or a deploy.

use crate::cluster::client::ClusterError;

/// Who or what refuses, the least severe first: of several refusals the last one counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// The API server refuses the object, or cannot be reached.
    Server,
    /// The API server refuses for lack of permission.
    Permission,
    /// A guard refuses: `deploy.deny`, the prune limits, a keep annotation, or fields that other
    /// managers own.
    Guard,
}

impl From<&ClusterError> for Refusal {
    fn from(error: &ClusterError) -> Self {
        match error {
            ClusterError::Guarded(_) => Self::Guard,
            error if error.is_owned_by_others() => Self::Guard,
            error if error.is_forbidden() => Self::Permission,
            _ => Self::Server,
        }
    }
}
