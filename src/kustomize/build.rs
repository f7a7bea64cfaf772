//! The build of a kustomization and of all that it names.

pub mod absorb;
pub mod accumulate;
pub mod accumulated;
pub mod notes;
pub mod observer;
pub mod order;
pub mod plugin;
pub mod ready_step;
