//! A Kubernetes cluster: connect, discover, read, compare, apply, delete. Knows nothing of jobs.
//!
//! Objects go to the API server by server-side apply; what it would make of them is asked by a dry
//! run, never guessed. An error on a read is an error, not "not found". Requests are values of
//! kube's; sending, waiting and trying again is in [`api`].

pub mod api;
pub mod apply;
pub mod comparison;
pub mod connect;
pub mod diff;
pub mod discovery;
pub mod plan;
pub mod readiness;
pub mod teardown;

mod lines;
mod live;
mod mask;
mod stage;

pub use api::Api;
pub use connect::ConnectError;

/// Why the cluster did not do what it was asked for. No text of it holds a value of a Secret.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The API server refused.
    #[error("the cluster refused to {action}: {message}")]
    Refused {
        /// What was asked.
        action: String,
        /// HTTP status.
        code: u16,
        /// The server's reason, such as `Forbidden`.
        reason: String,
        /// Its words.
        message: String,
    },
    /// There was no answer.
    #[error("the cluster could not be reached to {action}: {message}")]
    Unreachable {
        /// What was asked.
        action: String,
        /// What happened.
        message: String,
    },
    /// The cluster's certificate is not trusted.
    #[error("the cluster is not trusted: {0}; give the plan its ca_data, or name its authority in tls.ca_file")]
    Untrusted(String),
    /// The cluster does not serve a kind.
    #[error("the cluster serves no {kind} in {api_version}; is its CustomResourceDefinition installed?")]
    UnknownKind {
        /// The kind.
        kind: String,
        /// Its API version.
        api_version: String,
    },
    /// Something was waited for in vain.
    #[error("{what} in {waited:?}")]
    Timeout {
        /// What did not happen.
        what: String,
        /// How long it was waited for.
        waited: std::time::Duration,
    },
}

impl ClusterError {
    /// Whether the object is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { code: 404, .. })
    }
}
