//! The use cases of a deployment: plan, apply an approved plan, tear down, roll back.

pub mod images;
pub mod metrics;

mod config;

pub use config::DeployConfig;
