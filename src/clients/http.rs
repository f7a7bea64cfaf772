//! HTTP clients with the operator's certificates and proxies.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::base::guard::SsrfGuard;

/// Timeout for establishing a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why HTTP clients cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The CA file cannot be used.
    #[error("cannot use the CA certificates in {path} (tls.ca_file): {message}")]
    Certificates {
        /// The file that `tls.ca_file` names.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// `HTTPS_PROXY` is not a URL. The value may contain a password, so it is not shown.
    #[error("HTTPS_PROXY is not the URL of a proxy, such as http://proxy.example.com:3128")]
    Proxy,
    /// The HTTP client cannot be built.
    #[error("cannot set up HTTPS; are the system's CA certificates installed?")]
    Setup(#[from] reqwest::Error),
}

/// The proxy settings in the process's environment.
#[derive(Debug, Default)]
pub struct Proxy {
    /// `HTTPS_PROXY`, always with a scheme; may contain credentials.
    pub https: Option<String>,
    /// `NO_PROXY`: hosts that are reached without the proxy; empty if unset.
    pub no_proxy: String,
}

impl Proxy {
    /// Reads the proxy settings. Lower-case variable names also count, as is customary.
    ///
    /// # Errors
    /// [`HttpError::Proxy`] if `HTTPS_PROXY` is not a URL with a host.
    pub fn from_environment(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, HttpError> {
        let either = |name: &str| {
            variable(name)
                .or_else(|| variable(&name.to_lowercase()))
                .filter(|text| !text.is_empty())
        };
        let https = either("HTTPS_PROXY")
            .map(|text| {
                if text.contains("://") {
                    text
                } else {
                    format!("http://{text}")
                }
            })
            .map(|text| match text.parse::<http::Uri>() {
                Ok(uri) if uri.host().is_some() => Ok(text),
                _ => Err(HttpError::Proxy),
            })
            .transpose()?;
        Ok(Self {
            https,
            no_proxy: either("NO_PROXY").unwrap_or_default(),
        })
    }

    /// Returns the guard extended by this proxy, so that it knows which requests go through it.
    pub fn guarded(&self, guard: SsrfGuard) -> SsrfGuard {
        match &self.https {
            Some(url) => guard.with_proxy(url, &self.no_proxy),
            None => guard,
        }
    }
}

/// The trusted certificate authorities: the system's (those of `SSL_CERT_FILE`, if it is set) and
/// those of `tls.ca_file`.
#[derive(Debug, Default)]
pub struct Authorities {
    /// The certificates of `tls.ca_file`.
    named: Vec<CertificateDer<'static>>,
    /// All certificates; `None` if they are only the system's defaults, which every library finds
    /// by itself.
    all: Option<Vec<CertificateDer<'static>>>,
}

impl Authorities {
    /// Reads the certificates.
    ///
    /// # Errors
    /// [`HttpError::Certificates`] if `tls.ca_file` cannot be read or contains no certificates.
    pub fn read(
        ca_file: Option<&Path>,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, HttpError> {
        let named = ca_file.map_or(Ok(Vec::new()), read_certificates)?;
        let all = (!named.is_empty() || variable("SSL_CERT_FILE").is_some()).then(|| {
            let mut all = rustls_native_certs::load_native_certs().certs;
            all.extend(named.iter().cloned());
            all
        });
        Ok(Self { named, all })
    }

    /// Returns all certificates; `None` if they are only the system's defaults, which every library
    /// finds by itself.
    pub fn all(&self) -> Option<&[CertificateDer<'static>]> {
        self.all.as_deref()
    }

    /// Returns the same certificates as one PEM bundle.
    pub fn pem(&self) -> Option<Vec<u8>> {
        let block =
            |certificate: &CertificateDer<'_>| pem::Pem::new("CERTIFICATE", certificate.as_ref());
        Some(pem::encode_many(&self.all()?.iter().map(block).collect::<Vec<_>>()).into_bytes())
    }
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, HttpError> {
    let failed = |message: String| HttpError::Certificates {
        path: path.to_owned(),
        message,
    };
    let pem = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(failed("it holds no PEM certificates".into())),
    }
}

/// Builds a client that trusts the authorities, takes proxies from the environment, and follows no
/// redirects.
///
/// # Errors
/// [`HttpError::Setup`] if the client cannot be built.
pub fn client(authorities: &Authorities) -> Result<reqwest::Client, HttpError> {
    builder(authorities)?
        .connect_timeout(CONNECT_TIMEOUT)
        .build()
        .map_err(HttpError::Setup)
}

/// Returns a client builder with the settings that all clients share.
///
/// # Errors
/// [`HttpError::Setup`] if a certificate in `tls.ca_file` is invalid.
pub fn builder(authorities: &Authorities) -> Result<reqwest::ClientBuilder, HttpError> {
    let named: Result<Vec<_>, _> = authorities
        .named
        .iter()
        .map(|certificate| reqwest::Certificate::from_der(certificate))
        .collect();
    Ok(reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .pool_idle_timeout(Duration::from_secs(90))
        .user_agent(concat!("nuon-runner/", env!("CARGO_PKG_VERSION")))
        .tls_certs_merge(named.map_err(HttpError::Setup)?))
}
