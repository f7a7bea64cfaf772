//! A control plane on this machine, for trying components without the real one, and for tests,
//! which need one that misbehaves on demand.
//!
//! It follows the rules of the real server in both of its generations (`docs/wire-contract.md`):
//! which requests are accepted, how jobs change status, when they time out or are cancelled, and
//! which results are kept. Every call is recorded.

pub mod demo;
pub mod fault;
pub mod server;
pub mod store;

mod answer;

pub use fault::{Fault, FaultKind};
pub use server::{CheckRequest, ControlPlane, ControlPlaneOptions};
pub use store::{Call, Generation, NewJob};
