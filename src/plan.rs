//! The control plane's documents: build, sync and deploy plans, plan contents, changesets. Pure.
//!
//! Plans carry credentials, so they are read member by member and no error quotes a value. `null`,
//! a missing member and an empty value mean the same (`docs/wire-contract.md`, plans).

pub mod build;
mod change;
pub mod changeset;
pub mod cloud;
pub mod cluster;
pub mod contents;
pub mod deploy;
pub mod helm;
pub mod image;
pub mod image_metadata;
pub mod registry;
pub mod saved_plan;
pub mod sync;

mod fields;

pub use build::{BuildPlan, ManifestSource};
pub use cluster::ClusterInfo;
pub use deploy::{DeployPlan, ManifestDeploy};
pub use fields::PlanError;
pub use registry::{Access, PlanRepository, RegistryKind};
