//! Settings of deployments.

use std::time::Duration;

use crate::cluster::health::rule::Rules;
use crate::cluster::health::wait::Waiting;
use crate::cluster::rollout::options::Options;

/// Settings of deployments.
#[derive(Debug, Clone)]
pub struct DeployConfig {
    /// How objects are applied and pruned.
    pub options: Options,
    /// How objects are waited for; none if they are not.
    pub waiting: Option<Waiting>,
    /// The rules for readiness.
    pub rules: Rules,
    /// Whether plans look up the images that they name.
    pub check_images: bool,
    /// Whether plans without a contract are refused.
    pub require_contract: bool,
    /// Whether a plan that no longer fits is made anew.
    pub replan: bool,
    /// Whether a deploy that does not become ready is rolled back.
    pub roll_back: bool,
}

impl DeployConfig {
    /// The longest that a deploy waits, if it does.
    pub fn wait_timeout(&self) -> Option<Duration> {
        self.waiting.as_ref().map(|waiting| waiting.timeout)
    }
}
