//! The kinds of jobs that this runner knows, one file each and one list.

mod container_image_build;
mod copied_image;
mod fetch_image_metadata;
mod health_check;
mod kubernetes_manifest_build;
mod kubernetes_manifest_deploy;
mod noop;
mod oci_sync;
mod plan_fetcher;
mod shut_down;

use std::sync::Arc;

use crate::base::clock::Clock;
use crate::base::secret::Redactor;
use crate::build::BuildConfig;
use crate::clients::Clients;
use crate::deployment::DeployConfig;
use crate::deployment::metrics::Metrics;
use crate::job::Group;
use crate::worker::Handler;

/// What handlers work with.
pub struct Services {
    /// The process's clock; manual in tests.
    pub clock: Clock,
    /// Masks secrets in output.
    pub redactor: Redactor,
    /// Job groups that this process serves.
    pub groups: Vec<Group>,
    /// Clients of git, registries and clusters.
    pub clients: Clients,
    /// Settings of builds.
    pub build: BuildConfig,
    /// Settings of deployments.
    pub deploy: DeployConfig,
    /// Counts failed rollouts by cause.
    pub metrics: Metrics,
}

/// Returns one handler for each kind of job.
pub fn all(services: Services) -> Vec<Arc<dyn Handler>> {
    let services = Arc::new(services);
    let plan_fetcher = Arc::new(plan_fetcher::PlanFetcher::default());
    vec![
        Arc::new(kubernetes_manifest_build::Build::new(
            services.clone(),
            plan_fetcher.clone(),
        )),
        Arc::new(kubernetes_manifest_deploy::Deploy::new(
            services.clone(),
            plan_fetcher.clone(),
        )),
        Arc::new(container_image_build::ImageBuild::new(
            services.clone(),
            plan_fetcher.clone(),
        )),
        Arc::new(fetch_image_metadata::FetchImageMetadata::new(
            services.clone(),
            plan_fetcher.clone(),
        )),
        Arc::new(oci_sync::Sync::new(services.clone(), plan_fetcher)),
        Arc::new(noop::Noop),
        Arc::new(health_check::HealthCheck::new(
            services.clock.clone(),
            services.groups.clone(),
        )),
        Arc::new(shut_down::ShutDown),
    ]
}
