//! Fetches files from other machines, within the limits of the guard.

use std::time::Duration;

use url::Url;

use crate::base::bounded;
use crate::base::error::chain;
use crate::base::guard::Reach;
use crate::base::secret::Redactor;
use crate::kustomize::HostError;
use crate::registry::remote::RegistryClients;
use crate::workspace::git::Policy;

/// Maximum redirects for one file.
const MAX_REDIRECTS: usize = 5;

/// Timeout for each request for a file; a redirect is a new request.
const FILE_TIMEOUT: Duration = Duration::from_secs(300);

/// Access to remote hosts. All addresses come from the author of an overlay, so they are checked as
/// such ([`Reach::Author`]).
pub struct RemoteAccess {
    /// Git policy. Its SSRF guard also applies to HTTPS, and to HTTP for hosts where git may use
    /// it.
    pub git: Policy,
    /// HTTP client with the same guard.
    pub web: reqwest::Client,
    /// Clients for registries.
    pub connections: RegistryClients,
    /// Registries (`host:port`) that are reached over plain HTTP.
    pub insecure: Vec<String>,
    /// Masks secrets in output.
    pub redactor: Redactor,
}

impl RemoteAccess {
    /// Fetches a file of at most `limit` bytes. The guard checks every address, redirects included.
    /// Error messages omit the address, because it may contain a credential.
    pub(super) async fn get(&self, mut url: Url, limit: usize) -> Result<Vec<u8>, HostError> {
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
                    .ok_or("the server redirects without a valid location")?;
                continue;
            }
            if !answer.status().is_success() {
                return Err(format!("the server answered {}", answer.status()).into());
            }
            return bounded::read(answer, limit)
                .await
                .map(Into::into)
                .map_err(|error| error.to_string().into());
        }
        Err(format!("the server redirects more than {MAX_REDIRECTS} times").into())
    }
}
