//! Whether a registry is spoken to with TLS or without.

use std::time::Duration;

use url::Url;

use super::Address;
use crate::base::guard::is_loopback;
use crate::base::trust;

/// How long a registry on loopback may take to show what it speaks.
const PROBE: Duration = Duration::from_secs(5);

/// How a registry is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// https.
    Tls,
    /// http.
    Plain,
}

impl Channel {
    /// TLS, except for the hosts of `insecure`, and for those on loopback that speak none. Those are
    /// asked, without credentials.
    pub async fn of(address: &Address, insecure: &[String], client: &reqwest::Client) -> Self {
        let host = address.host();
        if insecure.iter().any(|allowed| allowed == host) {
            return Self::Plain;
        }
        let Ok(url) = Url::parse(&format!("https://{host}/v2/")) else {
            return Self::Tls;
        };
        if !is_loopback(&url) {
            return Self::Tls;
        }
        match client.get(url).timeout(PROBE).send().await {
            Err(error) if !trust::is_untrusted_certificate(&error) => Self::Plain,
            _ => Self::Tls,
        }
    }

    pub(super) fn scheme(self) -> &'static str {
        match self {
            Self::Tls => "https",
            Self::Plain => "http",
        }
    }
}
