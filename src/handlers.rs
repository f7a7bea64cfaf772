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
mod planned;
mod shut_down;

use std::sync::Arc;

use plan_fetcher::PlanFetcher;
use planned::{Planned, PlannedJob};

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
    let plans = Arc::new(PlanFetcher::default());
    vec![
        planned::<kubernetes_manifest_build::BuildJob>(&services, &plans),
        planned::<kubernetes_manifest_deploy::DeployJob>(&services, &plans),
        planned::<container_image_build::ImageJob>(&services, &plans),
        planned::<fetch_image_metadata::MetadataJob>(&services, &plans),
        planned::<oci_sync::SyncJob>(&services, &plans),
        Arc::new(noop::Noop),
        Arc::new(health_check::HealthCheck::new(
            services.clock.clone(),
            services.groups.clone(),
        )),
        Arc::new(shut_down::ShutDown),
    ]
}

/// Returns the handler of a kind of job that carries out a plan.
fn planned<J: PlannedJob>(services: &Arc<Services>, plans: &Arc<PlanFetcher>) -> Arc<dyn Handler> {
    Arc::new(Planned::<J>::new(services, plans))
}
