//! Settings of the client.

use url::Url;

use super::token::TokenSource;
use crate::job::RunnerId;

/// Where the control plane is, and who this runner is.
#[derive(Debug, Clone)]
pub struct ControlConfig {
    /// Address of the control plane; only scheme, host and port are used.
    pub url: Url,
    /// Id of this runner; commands need none.
    pub runner: Option<RunnerId>,
    /// Token of the runner's service account, or the file that holds it; commands need none.
    pub token: Option<TokenSource>,
}

impl ControlConfig {
    /// Returns what is wrong if the agent cannot run with these settings.
    pub fn missing_setting(&self) -> Option<String> {
        let (setting, variables) = if self.token.is_none() {
            ("api.token", "RUNNER_API_TOKEN or RUNNER_API_TOKEN_FILE")
        } else if self.runner.is_none() {
            ("id", "RUNNER_ID")
        } else {
            return None;
        };
        Some(format!(
            "{setting} is not set (no file, environment or flag has it); set {variables}"
        ))
    }
}
