//! Jobs from claim to report, in process and killed at any call.

mod answers;
mod handlers;
pub mod jobs;
mod kill;
mod outages;
mod promises;
mod traces;
