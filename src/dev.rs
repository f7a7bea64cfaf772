//! A control plane on this machine: for trying components without the real one, and for the tests,
//! which need one that lies, stalls and refuses.
//!
//! It keeps the rules of the real server (protocol, sections 3 and 11) in both generations: what is
//! created and refused, how a job moves, when it is timed out or cancelled, what becomes of a
//! result. Every call goes into a ledger.

pub mod demo;
pub mod fault;
pub mod server;
pub mod store;

mod answer;

pub use fault::{Fault, Misbehaviour};
pub use server::{CheckRequest, ControlPlane, Options};
pub use store::{Call, Generation, NewJob};
