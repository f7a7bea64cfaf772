//! All tests of the crate's public interface, in one binary, because linking takes most of the
//! time.
#![allow(
    missing_docs,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    reason = "test code"
)]

mod agent;
mod builds;
mod cluster;
mod commands;
mod conformance;
mod hostile;
mod kustomize;
mod random;
mod structure;
mod support;
mod trust;
mod worker;
