//! Fetches files from other machines, within the limits of the guard.

use std::time::Duration;

use url::Url;

use crate::base::bounded;
use crate::base::error::chain;
use crate::base::guard::Reach;
use crate::base::secret::Redactor;
use crate::registry::remote::Connections;
use crate::workspace::git::Policy;

/// Redirects that are followed for one file.
const MAX_REDIRECTS: usize = 5;

/// The longest that one file may take.
const FILE_TIMEOUT: Duration = Duration::from_secs(300);

/// How other machines are reached. What an overlay names is named by its author.
pub struct Fetching {
    /// What git may do. Its guard counts for https, too, and for http where git may speak it.
    pub git: Policy,
    /// Connections within that guard.
    pub web: reqwest::Client,
    /// Connections to registries.
    pub connections: Connections,
    /// Registries that are spoken to over http.
    pub insecure: Vec<String>,
    /// Hides secrets.
    pub redactor: Redactor,
}

impl Fetching {
    /// Reads a file of at most `limit` bytes. Each address on the way is checked, redirects included.
    ///
    /// # Errors
    /// A sentence without the address, which may hold a credential.
    pub(super) async fn get(&self, mut url: Url, limit: usize) -> Result<Vec<u8>, String> {
        for _ in 0..=MAX_REDIRECTS {
            let host = url.host_str().unwrap_or_default();
            let is_allowed = url.scheme() == "http"
                && self
                    .git
                    .allow_insecure
                    .iter()
                    .any(|allowed| allowed == host);
            if url.scheme() != "https" && !is_allowed {
                return Err("only https:// addresses are fetched".into());
            }
            self.git
                .guard
                .check(&url, Reach::Author)
                .map_err(|error| error.to_string())?;
            let sent = self.web.get(url.clone()).timeout(FILE_TIMEOUT).send().await;
            let answer = sent.map_err(|error| chain(&error.without_url()))?;
            if answer.status().is_redirection() {
                let location = answer
                    .headers()
                    .get(http::header::LOCATION)
                    .and_then(|value| value.to_str().ok());
                url = location
                    .and_then(|location| url.join(location).ok())
                    .ok_or("the server redirects to nowhere")?;
                continue;
            }
            if !answer.status().is_success() {
                return Err(format!("the server answered {}", answer.status()));
            }
            return bounded::read(answer, limit)
                .await
                .map(Into::into)
                .map_err(|error| error.to_string());
        }
        Err(format!(
            "the server redirects more than {MAX_REDIRECTS} times"
        ))
    }
}
