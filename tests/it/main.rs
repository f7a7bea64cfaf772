//! All tests of the crate's public interface, in one binary, because linking takes most of the
//! time.
#![allow(
    missing_docs,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    reason = "test code"
)]

mod admin;
mod answers;
mod architecture;
mod bench;
mod build;
mod charts;
mod child;
mod cli;
mod cluster;
mod conformance;
mod contract;
mod daemon;
mod deploy;
mod differential;
mod examples;
mod explain;
mod figures;
mod fuzz;
mod hostile;
mod hostile_addresses;
mod hostile_cluster;
mod hostile_git;
mod hostile_jobs;
mod hostile_registry;
mod identity;
mod kill;
mod lifecycle;
mod network;
mod parts;
mod property;
mod secrets;
mod signals;
mod source;
mod traces;
mod worker;
