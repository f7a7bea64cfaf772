//! Plan, apply, prune and delete on a real API server, by commands and by jobs.

mod adoption;
mod apply;
mod causes;
mod contents;
mod contract;
mod credentials;
pub mod deploy;
mod faults;
mod finished_jobs;
mod identity;
mod left_out;
mod lists;
mod person;
mod placeholders;
mod plan;
mod prerequisites;
mod prune;
mod refusals;
mod requests;
mod rollback;
mod sequences;
mod takeover;
mod unions;
mod versions;
