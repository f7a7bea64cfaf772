//! Where files come from: the caller's tree, other machines, and the host that allows or refuses
//! them.

pub mod config_file;
pub mod files;
pub mod host;
pub mod loader;
mod missing;
pub mod path;
pub mod remote;
pub mod setup;
pub mod step;
