//! Brings a set of objects to a cluster, and takes it away again.
//!
//! A [`snapshot`] holds what the cluster serves and has; a [`plan`] says what an apply would
//! change; [`preconditions`] hold an approved plan against the cluster as it is now. [`deploy`]
//! applies by stages ([`apply`]), waits, and prunes ([`prune`]); [`rollback`] applies the last good
//! artifact again; [`teardown`] deletes all. The [`inventory`] remembers what a component has put
//! into the cluster. [`options`] says how all of it is done.

pub mod apply;
pub mod deny;
pub mod deploy;
pub mod failure;
pub mod images;
pub mod inventory;
pub mod item;
pub mod names;
pub mod options;
pub mod others;
pub mod plan;
pub mod preconditions;
pub mod prune;
pub mod refusal;
pub mod rollback;
pub mod snapshot;
pub mod takeover;
pub mod teardown;

mod annotations;
pub mod contents;
pub mod delete;
mod dependency;
mod dry_run;
pub mod refused;
mod saved;
mod stage;
mod write;
