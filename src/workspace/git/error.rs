//! Why a source could not be fetched.

use super::location::LocationError;
use super::{MAX_SUBMODULE_DEPTH, MIN_GIT_VERSION};
use crate::base::guard::SsrfError;
use crate::workspace::child::ChildError;

/// Why a revision was not checked out.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// The reference is not valid.
    #[error("{0:?} is not a git branch, tag or commit")]
    BadReference(String),
    /// The address of a submodule is not allowed.
    #[error("the submodule {path:?} of {location}: {source}")]
    Submodule {
        /// Path of the submodule in the repository that refers to it.
        path: String,
        /// The repository, without credentials.
        location: String,
        /// Why the address is not allowed.
        source: LocationError,
    },
    /// Submodules are nested too deeply.
    #[error("submodules of {0} are nested more than {MAX_SUBMODULE_DEPTH} deep")]
    TooDeep(String),
    /// The guard does not allow the host, or it cannot be resolved.
    #[error(transparent)]
    Guard(#[from] SsrfError),
    /// The installed git is too old.
    #[error("git {}.{} or newer is needed; the program says {said:?}", MIN_GIT_VERSION.0, MIN_GIT_VERSION.1)]
    Version {
        /// Output of `git version`.
        said: String,
    },
    /// The tree contains a path that is not allowed.
    #[error("the repository {location} contains a path that is not allowed: {path:?}")]
    Path {
        /// The repository, without credentials.
        location: String,
        /// The path.
        path: String,
    },
    /// The checkout has more entries than allowed.
    #[error(
        "the repository {location} has more than {limit} files, links and directories; raise git.max_entries to allow more"
    )]
    TooMany {
        /// The repository, without credentials.
        location: String,
        /// Maximum number of entries.
        limit: u64,
    },
    /// git failed. The message contains no secrets.
    #[error("git could not {action} {location}: {message}")]
    Failed {
        /// What was attempted, as a verb phrase.
        action: &'static str,
        /// The repository, without credentials.
        location: String,
        /// git's standard error, on one line.
        message: String,
    },
    /// The checkout is larger than allowed.
    #[error(
        "the repository {location} is larger than {limit} bytes; raise git.max_bytes to allow more"
    )]
    TooLarge {
        /// The repository, without credentials.
        location: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// The directories could not be prepared.
    #[error("cannot prepare the checkout")]
    Prepare(#[source] std::io::Error),
    /// git could not be run to its end.
    #[error(transparent)]
    Child(#[from] ChildError),
}
