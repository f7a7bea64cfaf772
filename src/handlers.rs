//! The kinds of jobs that this runner knows, one file each and one list. The only place where the
//! rooms of lower floors meet for a purpose.

pub mod artifact;
mod charts;
mod deploys;
mod health_check;
pub mod images;
mod kubernetes_manifest_build;
mod kubernetes_manifest_deploy;
pub mod metrics;
mod noop;
mod outside;
mod plan_text;
mod repository;
mod secrets;
mod shut_down;
mod tree;

use std::sync::Arc;

pub use deploys::Deploys;
pub use outside::{Fetching, Outside};
pub use secrets::Secrets;
pub use tree::Tree;

use crate::base::clock::Clock;
use crate::base::secret::Redactor;
use crate::cluster::client::connect::Network;
use crate::job::Group;
use crate::registry::credentials::DockerConfig;
use crate::registry::format::Layout;
use crate::registry::remote::Connections;
use crate::worker::Handler;
use crate::workspace::git;
use crate::workspace::helm::Helm;

/// What handlers are made of.
pub struct Parts {
    /// Time.
    pub clock: Clock,
    /// Hides secrets.
    pub redactor: Redactor,
    /// The groups that this process serves.
    pub groups: Vec<Group>,
    /// What may be fetched by git, and how.
    pub git: git::Policy,
    /// What builds may ask for beside their sources.
    pub builds: Builds,
    /// Registries.
    pub registries: Registries,
    /// The layout of artifacts that are written.
    pub layout: Layout,
    /// How clusters are reached.
    pub network: Network,
    /// How clusters are changed.
    pub deploys: Deploys,
    /// Counts rollouts that failed, by cause.
    pub metrics: metrics::Metrics,
}

/// What builds may ask for beside their sources.
#[derive(Debug, Clone)]
pub struct Builds {
    /// Whether overlays may name bases, files and charts on other machines.
    pub allow_remote: bool,
    /// Connections to the hosts that git may reach.
    pub web: reqwest::Client,
    /// The program that inflates charts, where a plan allows that.
    pub helm: Helm,
}

/// How registries are entered.
#[derive(Clone)]
pub struct Registries {
    /// Connections.
    pub connections: Connections,
    /// Hosts that are spoken to over http.
    pub insecure: Vec<String>,
    /// The machine's own credentials.
    pub docker: DockerConfig,
    /// Whether folders on disk may be registries.
    pub local: bool,
}

/// One handler for each kind of job.
pub fn all(parts: Parts) -> Vec<Arc<dyn Handler>> {
    let parts = Arc::new(parts);
    let plans = Arc::new(plan_text::PlanText::default());
    vec![
        Arc::new(kubernetes_manifest_build::Build::new(
            parts.clone(),
            plans.clone(),
        )),
        Arc::new(kubernetes_manifest_deploy::Deploy::new(
            parts.clone(),
            plans,
        )),
        Arc::new(noop::Noop),
        Arc::new(health_check::HealthCheck::new(
            parts.clock.clone(),
            parts.groups.clone(),
        )),
        Arc::new(shut_down::ShutDown),
    ]
}
