//! The control plane's API: requests and answers as values, how each route treats each kind of
//! answer, and the client that sends. Knows nothing of what a job means.
//!
//! Two generations of server are in the field; they are told apart by what they answer, never by
//! a version (protocol, first table).

pub mod client;
pub mod error;
pub mod logs;
pub mod metrics;
pub mod route;
pub mod token;
mod transport;
pub mod wire;

pub use client::Client;
pub use error::ControlError;
pub use logs::{JobLog, LogShipper};
pub use route::{Route, Verdict};
pub use transport::{LONG_POLL, Parts, Patience};
