//! Why the agent could not start, or had to stop.

use std::path::PathBuf;

use crate::clients::http::HttpError;
use crate::control::token::TokenError;
use crate::journal::JournalError;

/// Why the daemon could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// A required setting, or the file that it names, is missing.
    #[error("{0}")]
    Missing(String),
    /// Another process holds the state directory.
    #[error(
        "the state directory {path} is in use by {holder}; stop that process, or set state_dir"
    )]
    Locked {
        /// The state directory.
        path: PathBuf,
        /// The process that holds it, with its process id if that can be read.
        holder: String,
    },
    /// The state directory cannot be used.
    #[error("cannot use the state directory {path}")]
    StateDir {
        /// The state directory, or the file in it.
        path: PathBuf,
        /// The underlying error.
        #[source]
        source: std::io::Error,
    },
    /// The journal cannot be opened, read or written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Certificates or HTTP clients cannot be set up.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The token file cannot be read.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The admin server cannot listen on its address.
    #[error("cannot listen on {address} (admin.listen)")]
    Listen {
        /// The configured address.
        address: std::net::SocketAddr,
        /// The underlying error.
        #[source]
        source: std::io::Error,
    },
    /// Two metrics have the same name.
    #[error("cannot register metrics")]
    Metrics(#[from] prometheus::Error),
    /// A task that must not end has ended.
    #[error("{0} has ended unexpectedly; this is a fault of the runner")]
    TaskEnded(&'static str),
}
