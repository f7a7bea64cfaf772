//! A Kubernetes cluster: connect, read, compare, wait, roll out. Knows nothing of jobs.
//!
//! Four modules, lowest first; each imports only those above it in this table, and [`fields`] and
//! [`health`] do not import each other.
//!
//! | | |
//! |---|---|
//! | [`client`] | connects, sends requests and repeats them, discovers kinds, reads and watches objects |
//! | [`fields`] | pure: compares objects field by field, masks Secrets, tells whose a field is |
//! | [`health`] | computes whether objects are ready, waits for them, and finds out why they are not |
//! | [`rollout`] | snapshot, plan, preconditions, apply, prune, teardown, rollback; the inventory |
//!
//! Objects go to the API server by server-side apply; a dry run tells what it would make of them,
//! nothing is guessed. An error on a read is an error, not "not found". Nothing is written over a
//! state that was not read, and nothing is deleted that is not known to be ours.

pub mod client;
pub mod fields;
pub mod health;
pub mod rollout;
