//! nuon-runner.
pub mod agent;
pub mod base;
pub mod cli;
pub mod config;
pub mod control;
pub mod dev;
pub mod handlers;
pub mod job;
pub mod journal;
pub mod kustomize;
pub mod manifest;
pub mod plan;
pub mod registry;
pub mod telemetry;
pub mod worker;
pub mod workspace;
pub mod yaml;
