//! Connections with the operator's certificates and proxies.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::base::guard::Guard;

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
    /// The proxy's address is none. It may hold a password, so it is not told.
    #[error("HTTPS_PROXY is not the URL of a proxy, such as http://proxy.example.com:3128")]
    Proxy,
    /// The library cannot be set up.
    #[error("cannot set up HTTPS; are the system's CA certificates installed?")]
    Setup(#[from] reqwest::Error),
}

/// The proxy that the process's environment names.
#[derive(Debug, Default)]
pub struct Proxy {
    /// `HTTPS_PROXY`, always with a scheme; may hold credentials.
    pub https: Option<String>,
    /// `NO_PROXY`.
    pub except: String,
}

impl Proxy {
    /// Reads it; lower-case names count too, as everywhere.
    ///
    /// # Errors
    /// [`HttpError::Proxy`].
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
            except: either("NO_PROXY").unwrap_or_default(),
        })
    }

    /// A guard that knows what goes through this proxy.
    pub fn guarded(&self, guard: Guard) -> Guard {
        match &self.https {
            Some(url) => guard.with_proxy(url, &self.except),
            None => guard,
        }
    }
}

/// Whose word is taken for who a server is: the system's certificates (those of `SSL_CERT_FILE`, if
/// it is set) and those of `tls.ca_file`.
#[derive(Debug, Default)]
pub struct Authorities {
    /// Those of `tls.ca_file`.
    named: Vec<CertificateDer<'static>>,
    /// All, if they are not just what every library finds by itself.
    all: Option<Vec<CertificateDer<'static>>>,
}

impl Authorities {
    /// Reads them.
    ///
    /// # Errors
    /// [`HttpError::Certificates`].
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

    /// All of them, if they are not just what every library finds by itself.
    pub fn all(&self) -> Option<&[CertificateDer<'static>]> {
        self.all.as_deref()
    }

    /// The same as one PEM bundle.
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

/// A client that trusts the authorities, takes proxies from the environment, and follows no redirect.
///
/// # Errors
/// [`HttpError`].
pub fn client(authorities: &Authorities) -> Result<reqwest::Client, HttpError> {
    builder(authorities)?
        .connect_timeout(CONNECT)
        .build()
        .map_err(HttpError::Setup)
}

/// What all clients have in common.
///
/// # Errors
/// [`HttpError::Setup`] if an authority is no certificate.
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
