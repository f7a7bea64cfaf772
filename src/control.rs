//! The control plane's API: requests and responses as values, how each route handles each kind of
//! response, and the client that sends requests. It does not know what a job means.
//!
//! Two generations of servers are in use. The client tells them apart by their responses, never by
//! a version; see the generations in `docs/wire-contract.md`.

pub mod client;
mod config;
mod control_status;
pub mod error;
pub mod logs;
pub mod metrics;
pub mod route;
pub mod token;
mod transport;
pub mod wire;

pub use client::Client;
pub use config::ControlConfig;
pub use control_status::ControlStatus;
pub use error::ControlError;
pub use logs::{JobLog, LogShipper};
pub use route::{LONG_POLL_TIMEOUT, Route, Verdict};
pub use transport::{ClientOptions, RetryPolicy};
