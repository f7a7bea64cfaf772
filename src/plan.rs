//! The control plane's documents: build and deploy plans, plan contents, changesets. Pure.
//!
//! Plans carry credentials, so they are read member by member: no error quotes a value. `null`,
//! missing and zero mean the same (protocol, section 5).

pub mod build;
mod change;
pub mod changeset;
pub mod cloud;
pub mod cluster;
pub mod contents;
pub mod contract;
pub mod deploy;
pub mod helm;
pub mod registry;

mod fields;

pub use build::{BuildPlan, ManifestSource};
pub use cluster::ClusterInfo;
pub use deploy::{DeployPlan, ManifestDeploy};
pub use fields::PlanError;
pub use registry::{RegistryKind, Repository};
