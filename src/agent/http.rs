//! Connections with the operator's certificates and proxies.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::Config;

/// How long a connection may take to stand.
const CONNECT: Duration = Duration::from_secs(5);

/// Why there are no connections.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The CA file cannot be used.
    #[error("cannot use the CA certificates in {path} (tls.ca_file): {message}")]
    Certificates {
        /// Which file.
        path: PathBuf,
        /// Why.
        message: String,
    },
    /// The library cannot be set up.
    #[error("cannot set up HTTPS; are the system's CA certificates installed?")]
    Setup(#[source] reqwest::Error),
}

/// Proxies of the process's environment.
#[derive(Debug, Default)]
pub struct Proxies {
    /// `HTTPS_PROXY`.
    pub https: Option<String>,
    /// `NO_PROXY`.
    pub except: Vec<String>,
}

impl Proxies {
    /// Reads them; lower-case names count too, as everywhere.
    pub fn from_environment(variable: &dyn Fn(&str) -> Option<String>) -> Self {
        let either =
            |name: &str| variable(name).or_else(|| variable(&name.to_lowercase())).filter(|text| !text.is_empty());
        let except = either("NO_PROXY").unwrap_or_default();
        let except = except.split(',').map(str::trim).filter(|host| !host.is_empty()).map(str::to_owned).collect();
        Self { https: either("HTTPS_PROXY"), except }
    }
}

/// A client that trusts the system's certificates (`SSL_CERT_FILE` is heeded) and those of
/// `tls.ca_file`, takes proxies from the environment, and follows no redirect.
///
/// # Errors
/// [`HttpError`].
pub fn client(config: &Config) -> Result<reqwest::Client, HttpError> {
    builder(config)?.connect_timeout(CONNECT).build().map_err(HttpError::Setup)
}

/// What all clients have in common.
///
/// # Errors
/// [`HttpError::Certificates`].
pub fn builder(config: &Config) -> Result<reqwest::ClientBuilder, HttpError> {
    let mut builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .pool_idle_timeout(Duration::from_secs(90))
        .user_agent(concat!("nuon-runner/", env!("CARGO_PKG_VERSION")));
    if let Some(path) = &config.tls_ca_file {
        let failed = |message: String| HttpError::Certificates { path: path.clone(), message };
        let pem = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
        let certificates =
            reqwest::Certificate::from_pem_bundle(&pem).map_err(|_| failed("it holds no PEM certificates".into()))?;
        if certificates.is_empty() {
            return Err(failed("it holds no PEM certificates".into()));
        }
        builder = builder.tls_certs_merge(certificates);
    }
    Ok(builder)
}
