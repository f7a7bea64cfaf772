//! The way to the API server: connections and identities, requests that are repeated, discovery,
//! reads and watches.

pub mod api;
pub mod connect;
pub mod discovery;
pub mod identity;

mod error;
pub(crate) mod live;
mod warning;
pub(crate) mod watch;

pub use api::Api;
pub use connect::ConnectError;
pub use error::{ClusterError, FieldError};
