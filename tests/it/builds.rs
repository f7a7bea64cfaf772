//! Build and sync jobs: sources, charts, registries, networks.

pub mod build;
mod charts;
mod image;
mod login;
mod metadata;
mod network;
mod source;
pub mod sync;
