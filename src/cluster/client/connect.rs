//! Connections to clusters: from a plan, from a kubeconfig file, or from the service account of a
//! pod.
//!
//! A plan brings all that its connection needs. Only if it names a cloud identity is one thing
//! taken from this machine: its identity in that cloud
//! ([`identity`](crate::cluster::client::identity)).

mod credentials;
mod error;
mod kubeconfig;
mod response;
mod stack;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use error::ConnectError;
use http::HeaderValue;
use http::header::AUTHORIZATION;
use hyper_util::client::proxy::matcher::Matcher;
use kube::Config;
use kube::config::{AuthInfo, Cluster, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kubeconfig::{
    from_cluster_info, refuse_local_files, restrict_exec, select_context, single_cluster,
};
use rustls::pki_types::CertificateDer;
use tower::BoxError;
use url::Url;

use crate::base::clock::Clock;
use crate::base::error::plain;
use crate::base::guard::{Reach, SsrfGuard, is_loopback};
use crate::base::stop::Stop;
use crate::cloud::Machine;
use crate::cluster::client::Api;
use crate::cluster::client::connect::credentials::unusable_credentials;
use crate::cluster::client::identity::Tokens;
use crate::plan::ClusterInfo;
use crate::workspace::child::Supervisor;

/// Timeout for creating a client, including a kubeconfig's exec plugin.
const CLIENT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(60);

/// Network settings and credentials for connections to clusters.
#[derive(Debug, Clone, Default)]
pub struct Network {
    machine: Machine,
    /// The only program that a kubeconfig may run as an exec plugin.
    allow_exec: Option<String>,
    /// Starts and ends that program.
    supervisor: Supervisor,
    /// Decides which addresses plans may name.
    guard: SsrfGuard,
    /// Cluster hosts that plans may reach without TLS, or without verifying the certificate.
    allow_insecure: Vec<String>,
    /// Cluster hosts that receive tokens of this machine's identity without a check against the
    /// cloud's API.
    allow_endpoints: Vec<String>,
    proxy: Option<(Arc<Matcher>, http::Uri)>,
    ca_certificates: Option<Vec<Vec<u8>>>,
}

impl Network {
    /// `proxy` is a URL (`HTTPS_PROXY`), and `except` the hosts reached without it (`NO_PROXY`).
    /// `authorities` apply to clusters without a CA of their own. `machine` holds the identity for
    /// cloud clusters.
    pub fn new(
        proxy: Option<&str>,
        no_proxy: &str,
        ca_certificates: Option<&[CertificateDer<'_>]>,
        machine: Machine,
    ) -> Self {
        let matcher = |proxy: &str| {
            Arc::new(
                Matcher::builder()
                    .https(proxy.to_owned())
                    .no(no_proxy.to_owned())
                    .build(),
            )
        };
        Self {
            machine,
            allow_exec: None,
            supervisor: Supervisor::default(),
            guard: SsrfGuard::default(),
            allow_insecure: Vec::new(),
            allow_endpoints: Vec::new(),
            proxy: proxy.and_then(|proxy| Some((matcher(proxy), proxy.parse().ok()?))),
            ca_certificates: ca_certificates
                .map(|all| all.iter().map(|certificate| certificate.to_vec()).collect()),
        }
    }

    /// Sets the only program that a kubeconfig may run.
    #[must_use]
    pub fn with_allowed_exec(mut self, program: Option<String>) -> Self {
        self.allow_exec = program;
        self
    }

    /// Sets the SSRF guard for addresses in plans.
    #[must_use]
    pub fn guarded(mut self, guard: SsrfGuard) -> Self {
        self.guard = guard;
        self
    }

    /// Returns a copy without the guard, for clusters that the operator names; they may be
    /// anywhere.
    fn without_guard(&self) -> Self {
        self.clone().guarded(SsrfGuard::allow_all())
    }

    /// Sets the cluster hosts allowed without TLS or certificate verification, and those that
    /// always receive tokens of this machine's identity.
    #[must_use]
    pub fn with_trusted_hosts(mut self, insecure: Vec<String>, endpoints: Vec<String>) -> Self {
        (self.allow_insecure, self.allow_endpoints) = (insecure, endpoints);
        self
    }

    /// Checks the servers and proxies in a plan's kubeconfig.
    fn check(&self, kubeconfig: &Kubeconfig) -> Result<(), ConnectError> {
        for cluster in kubeconfig
            .clusters
            .iter()
            .filter_map(|named| named.cluster.as_ref())
        {
            let server = cluster.server.as_deref().unwrap_or_default();
            let url = Url::parse(server)
                .map_err(|_| ConnectError::Kubeconfig("its server is not a URL".into()))?;
            let is_trusted = is_loopback(&url)
                || self
                    .allow_insecure
                    .iter()
                    .any(|host| Some(host.as_str()) == url.host_str());
            let is_unchecked = cluster.insecure_skip_tls_verify == Some(true);
            if (url.scheme() != "https" || is_unchecked) && !is_trusted {
                let host = url.host_str().unwrap_or_default().to_owned();
                let what = if is_unchecked {
                    "checking its certificate"
                } else {
                    "TLS"
                };
                return Err(ConnectError::Unprotected { host, what });
            }
            let proxy = cluster.proxy_url.as_deref().map(Url::parse).transpose();
            let proxy =
                proxy.map_err(|_| ConnectError::Kubeconfig("its proxy-url is not a URL".into()))?;
            if proxy
                .as_ref()
                .is_some_and(|proxy| !matches!(proxy.scheme(), "http" | "https"))
            {
                return Err(ConnectError::Kubeconfig(
                    "its proxy-url is neither http nor https".into(),
                ));
            }
            for url in [Some(url), proxy].into_iter().flatten() {
                self.guard.check(&url, Reach::Endpoint)?;
            }
        }
        Ok(())
    }

    /// Returns the proxy for a server.
    fn proxy(&self, server: &http::Uri) -> Option<http::Uri> {
        let (matcher, proxy) = self.proxy.as_ref()?;
        matcher.intercept(server).map(|_| proxy.clone())
    }
}

/// Connects to a plan's cluster by `kube_config`, or by endpoint, CA and token or cloud identity.
/// Sends nothing to the cluster yet.
///
/// # Errors
/// Fails if the plan's data are incomplete, forbidden or unusable, or if the cloud identity yields
/// no token.
pub async fn connect(
    cluster: Option<&ClusterInfo>,
    network: &Network,
    clock: &Clock,
    stop: &Stop,
) -> Result<Api, ConnectError> {
    let cluster = cluster.ok_or(ConnectError::NoCluster)?;
    let mut kubeconfig = match &cluster.kube_config {
        Some(document) => {
            let parsed = Kubeconfig::from_yaml(document.expose())
                .map_err(|_| ConnectError::Kubeconfig("it is not a kubeconfig document".into()))?;
            refuse_local_files(&parsed)?;
            parsed
        }
        None => from_cluster_info(cluster)?,
    };
    network.check(&kubeconfig)?;
    select_context(&mut kubeconfig, None)
        .map_err(|error| ConnectError::Kubeconfig(error.to_string()))?;
    let restricted = restrict_exec(
        &mut kubeconfig,
        network.allow_exec.as_deref(),
        &network.supervisor,
    );
    restricted.map_err(|error| ConnectError::Kubeconfig(error.to_string()))?;
    let proxy = proxy_of(&kubeconfig);
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(|error| ConnectError::Kubeconfig(error.to_string()))?;
    let tokens = match (&cluster.cloud, &cluster.kube_config) {
        (Some(cloud), None) => {
            let (id, endpoint, role) =
                (&cluster.id, &cluster.endpoint, cluster.trusted_role.clone());
            let tokens = Tokens::new(
                cloud.clone(),
                id,
                endpoint,
                role,
                network.machine.clone(),
                clock.clone(),
            );
            tokens.check_endpoint(&network.allow_endpoints).await?;
            // Fetches a token now, so that a problem with the identity is reported early and as
            // such.
            tokens.token().await?;
            Some(Arc::new(tokens))
        }
        _ => None,
    };
    let made = client(config, proxy, tokens, network, clock, stop).await;
    made.map_err(ConnectError::Kubeconfig)
}

/// Connects by kubeconfig files, merged as kubectl merges them, with the given context or the
/// current one, and returns that context's name too. An exec plugin runs only if it is the allowed
/// one.
///
/// # Errors
/// Fails if a file cannot be read or used, or if it needs an exec plugin that is not allowed.
pub async fn connect_by_kubeconfig(
    files: &[PathBuf],
    context: Option<&str>,
    network: &Network,
    clock: &Clock,
    stop: &Stop,
) -> Result<(Api, Option<String>), ConnectError> {
    let unusable = |message: String| unusable_files(files, message);
    let mut kubeconfig = read_kubeconfig(files, context)?;
    restrict_exec(
        &mut kubeconfig,
        network.allow_exec.as_deref(),
        &network.supervisor,
    )
    .map_err(|error| unusable(error.to_string()))?;
    let proxy = proxy_of(&kubeconfig);
    let context = kubeconfig.current_context.clone();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    let config = config.map_err(|error| unusable(error.to_string()))?;
    let connected = client(config, proxy, None, &network.without_guard(), clock, stop).await;
    Ok((connected.map_err(unusable)?, context))
}

/// Reads kubeconfig files, merged as kubectl merges them, and selects the given context or the
/// current one.
///
/// # Errors
/// Fails if a file cannot be read, or the context or what it names does not exist.
pub fn read_kubeconfig(
    files: &[PathBuf],
    context: Option<&str>,
) -> Result<Kubeconfig, ConnectError> {
    let unusable = |message: String| unusable_files(files, message);
    let mut kubeconfig = Kubeconfig::default();
    for file in files {
        let read = Kubeconfig::read_from(file).and_then(|read| kubeconfig.merge(read));
        kubeconfig = read.map_err(|error| match error {
            KubeconfigError::ReadConfig(error, _) => unusable(plain(&error)),
            // The library's message could quote lines of the file.
            _ => unusable("it is not a kubeconfig".into()),
        })?;
    }
    select_context(&mut kubeconfig, context).map_err(|error| unusable(error.to_string()))?;
    Ok(kubeconfig)
}

fn unusable_files(files: &[PathBuf], message: String) -> ConnectError {
    let names = files.iter().map(|file| file.display().to_string());
    ConnectError::File {
        file: names.collect::<Vec<_>>().join(", "),
        message,
    }
}

/// Connects from inside a pod. `server` (`https://HOST:PORT`) is the surrounding cluster's API
/// server. `account` is the directory of the service account, with `ca.crt`, `namespace`, and
/// `token`, which is read again when it is rotated.
///
/// # Errors
/// Fails if a file of the service account cannot be read or used.
pub async fn connect_by_service_account(
    server: String,
    account: &Path,
    network: &Network,
    clock: &Clock,
    stop: &Stop,
) -> Result<Api, ConnectError> {
    let unusable = |message: String| ConnectError::ServiceAccount {
        path: account.display().to_string(),
        message,
    };
    let file = |name: &str| Some(account.join(name).to_string_lossy().into_owned());
    let namespace = std::fs::read_to_string(account.join("namespace"))
        .map_err(|error| unusable(format!("namespace: {error}")))?;
    let cluster = Cluster {
        server: Some(server),
        certificate_authority: file("ca.crt"),
        ..Cluster::default()
    };
    let user = AuthInfo {
        token_file: file("token"),
        ..AuthInfo::default()
    };
    let kubeconfig = single_cluster(cluster, user, Some(namespace.trim().to_owned()));
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    let config = config.map_err(|error| unusable(error.to_string()))?;
    client(config, None, None, &network.without_guard(), clock, stop)
        .await
        .map_err(unusable)
}

/// Creates the client on a blocking thread, because this may run an exec plugin. Error messages do
/// not quote credentials.
async fn client(
    mut config: Config,
    proxy: Option<http::Uri>,
    tokens: Option<Arc<Tokens>>,
    network: &Network,
    clock: &Clock,
    stop: &Stop,
) -> Result<Api, String> {
    // The library would retry for hours, and also requests that must not be repeated; `Api` retries
    // instead.
    config.default_retry = false;
    config.proxy_url = proxy.or_else(|| network.proxy(&config.cluster_url));
    config.root_cert = config.root_cert.or_else(|| network.ca_certificates.clone());
    let url = &config.cluster_url;
    let (scheme, host) = (
        url.scheme_str().unwrap_or("https"),
        url.host().unwrap_or_default(),
    );
    let port = url
        .port_u16()
        .map_or(String::new(), |port| format!(":{port}"));
    let address = format!("{scheme}://{host}{port}");
    let (request_tokens, guard) = (tokens.clone(), network.guard.clone());
    let make = tokio::task::spawn_blocking(move || stack::client(config, &guard, request_tokens));
    match stop.run(clock.timeout(CLIENT_TIMEOUT, make)).await {
        Some(Ok(Ok(Ok(client)))) => Ok(Api::new(
            client,
            address,
            tokens,
            clock.clone(),
            stop.clone(),
        )),
        Some(Ok(Ok(Err(error)))) => Err(unusable_credentials(&error)),
        Some(Ok(Err(_)) | Err(_)) => Err("its credentials could not be loaded in time".into()),
        None => Err("stopped before its credentials were loaded".into()),
    }
}

/// Returns the proxy that a kubeconfig sets for the cluster of its current context.
fn proxy_of(kubeconfig: &Kubeconfig) -> Option<http::Uri> {
    let current = kubeconfig
        .contexts
        .iter()
        .find(|one| Some(&one.name) == kubeconfig.current_context.as_ref());
    let cluster = &current?.context.as_ref()?.cluster;
    let cluster = kubeconfig
        .clusters
        .iter()
        .find(|one| one.name == *cluster)?
        .cluster
        .as_ref()?;
    cluster.proxy_url.as_ref()?.parse().ok()
}

/// Adds the current bearer token to a request.
async fn with_token<B>(
    tokens: Arc<Tokens>,
    mut request: http::Request<B>,
) -> Result<http::Request<B>, BoxError> {
    let token = tokens.token().await?;
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose()))?;
    value.set_sensitive(true);
    request.headers_mut().insert(AUTHORIZATION, value);
    Ok(request)
}
