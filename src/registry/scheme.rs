//! The scheme by which a registry is reached.

use std::time::Duration;

use url::Url;

use crate::base::guard::is_loopback;
use crate::base::trust;
use crate::registry::Address;

/// How long a registry on loopback may take to answer the probe for TLS.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// URL scheme of a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// With TLS.
    Https,
    /// Without encryption.
    Http,
}

impl Scheme {
    /// Detects the scheme of a registry: https, except for hosts in `insecure`, and for registries
    /// on loopback that do not speak TLS. The latter are probed, without credentials.
    pub async fn detect(address: &Address, insecure: &[String], client: &reqwest::Client) -> Self {
        let host = address.host();
        if insecure.iter().any(|allowed| allowed == host) {
            return Self::Http;
        }
        let Ok(url) = Url::parse(&format!("https://{host}/v2/")) else {
            return Self::Https;
        };
        if !is_loopback(&url) {
            return Self::Https;
        }
        match client.get(url).timeout(PROBE_TIMEOUT).send().await {
            Err(error) if !trust::is_untrusted_certificate(&error) => Self::Http,
            _ => Self::Https,
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Http => "http",
        }
    }
}
