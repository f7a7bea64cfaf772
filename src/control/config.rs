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
    /// Returns a sentence for each setting without which the agent cannot run.
    pub fn missing_settings(&self) -> Vec<String> {
        let token = "RUNNER_API_TOKEN or RUNNER_API_TOKEN_FILE";
        let needed = [
            ("api.token", token, self.token.is_none()),
            ("id", "RUNNER_ID", self.runner.is_none()),
        ];
        let missing = needed.into_iter().filter(|(.., is_missing)| *is_missing);
        let sentence = |(setting, variables, _)| {
            format!("{setting} is not set (no file, environment or flag has it); set {variables}")
        };
        missing.map(sentence).collect()
    }
}
