//! Settings of deployments.

use std::time::Duration;

use crate::cluster::health::rule::Rules;
use crate::cluster::health::wait::WaitOptions;
use crate::cluster::rollout::options::Options;
use crate::trust::TrustPolicy;

/// Settings of deployments.
#[derive(Debug, Clone)]
pub struct DeployConfig {
    /// Options for applying and pruning.
    pub options: Options,
    /// Options for waiting until objects are ready. None disables waiting.
    pub waiting: Option<WaitOptions>,
    /// Custom readiness rules (`deploy.ready_when`).
    pub rules: Rules,
    /// Whether a plan checks that the images exist and can be pulled.
    pub check_images: bool,
    /// Whether approved plans without a saved plan of this runner are refused
    /// (`deploy.require_contract`).
    pub require_contract: bool,
    /// Whether to plan again if an approved plan no longer matches the cluster (`deploy.moved`).
    pub replan: bool,
    /// Who must have signed the artifacts that jobs deploy.
    pub trust: TrustPolicy,
    /// Whether to roll back a deploy that does not become ready.
    pub roll_back: bool,
}

impl DeployConfig {
    /// Returns the wait timeout, or none if deploys do not wait.
    pub fn wait_timeout(&self) -> Option<Duration> {
        self.waiting.as_ref().map(|waiting| waiting.timeout)
    }
}
