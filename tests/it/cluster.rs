//! Plan, apply, prune and delete on a real API server, by commands and by jobs.

mod apply;
mod causes;
mod contract;
pub mod deploy;
mod faults;
mod identity;
mod plan;
mod prune;
mod requests;
mod rollback;
mod sequences;
