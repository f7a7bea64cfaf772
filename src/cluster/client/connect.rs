//! Connections to clusters: from what a plan says, of which nothing outside is used but, where it names a cloud's
//! identity, that of this machine ([`identity`](crate::cluster::client::identity)); from a kubeconfig file; from the service account
//! of a pod.

mod answers;
mod kubeconfig;
mod stack;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::HeaderValue;
use http::header::AUTHORIZATION;
use hyper_util::client::proxy::matcher::Matcher;
use kube::Config;
use kube::config::{AuthInfo, Cluster, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kubeconfig::{choose, from_parts, refuse_outside, restrict, single};
use rustls::pki_types::CertificateDer;
use tower::BoxError;
use url::Url;

use crate::base::clock::Clock;
use crate::base::guard::{Reach, SsrfError, SsrfGuard, is_loopback};
use crate::base::stop::Stop;
use crate::cluster::client::Api;
use crate::cluster::client::identity::{IdentityError, Machine, Tokens};
use crate::plan::ClusterInfo;
use crate::workspace::child::Supervisor;

/// The longest that the making of a client may take, the program of a kubeconfig included.
const MAKING: std::time::Duration = std::time::Duration::from_secs(60);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The plan names no cluster.
    #[error(
        "the plan names no cluster: the install's sandbox has none, so nothing can be deployed to \
         it"
    )]
    NoCluster,
    /// The cloud identity gives no token.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// What the plan says cannot be used. Its text may hold credentials, so it is not quoted.
    #[error("the plan's cluster cannot be entered: {0}")]
    Kubeconfig(String),
    /// A file cannot be used.
    #[error("the kubeconfig {file} cannot be used: {message}")]
    File {
        /// Which.
        file: String,
        /// Why.
        message: String,
    },
    /// The service account of this pod cannot be used.
    #[error("the service account in {path} cannot be used: {message}")]
    ServiceAccount {
        /// Its directory.
        path: String,
        /// Why.
        message: String,
    },
    /// There is neither a kubeconfig nor a cluster around us.
    #[error("there is no kubeconfig; name one by --kubeconfig or KUBECONFIG")]
    NoKubeconfig,
    /// Credentials could be read, or go to anybody.
    #[error(
        "the plan's cluster {host} would be entered without {what}; add it to \
         deploy.allow_insecure if that is meant"
    )]
    Unprotected {
        /// The host of the cluster.
        host: String,
        /// What is missing.
        what: &'static str,
    },
    /// The address is where plans must not lead.
    #[error("the plan's cluster cannot be entered: {0}")]
    Guard(#[from] SsrfError),
    /// Endpoint, CA and token are not complete.
    #[error("the plan's cluster has no {0}")]
    Missing(&'static str),
    /// The certificate cannot be one.
    #[error("the plan's ca_data is not base64 of a PEM certificate")]
    Certificate,
}

/// How clusters are reached.
#[derive(Debug, Clone, Default)]
pub struct Network {
    machine: Machine,
    /// The one program that a kubeconfig may run.
    allow_exec: Option<String>,
    /// What starts and ends that program.
    supervisor: Supervisor,
    /// Which addresses plans may name.
    guard: SsrfGuard,
    /// Cluster hosts that plans may reach without TLS, or without verifying the certificate.
    allow_insecure: Vec<String>,
    /// Hosts of clusters that get tokens of this machine's identity, whatever the cloud says of them.
    allow_endpoints: Vec<String>,
    proxy: Option<(Arc<Matcher>, http::Uri)>,
    authorities: Option<Vec<Vec<u8>>>,
}

impl Network {
    /// `proxy` is a URL (`HTTPS_PROXY`) and `except` the hosts that are reached without it
    /// (`NO_PROXY`); `authorities` are for clusters whose own are not known, and `machine` has the identity
    /// by which those of clouds are entered.
    pub fn new(
        proxy: Option<&str>,
        except: &str,
        authorities: Option<&[CertificateDer<'_>]>,
        machine: Machine,
    ) -> Self {
        let matcher = |proxy: &str| {
            Arc::new(
                Matcher::builder()
                    .https(proxy.to_owned())
                    .no(except.to_owned())
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
            authorities: authorities
                .map(|all| all.iter().map(|certificate| certificate.to_vec()).collect()),
        }
    }

    /// The same, with the one program that a kubeconfig may run.
    #[must_use]
    pub fn allow_exec(mut self, program: Option<String>) -> Self {
        self.allow_exec = program;
        self
    }

    /// The same, with the guard of what plans name.
    #[must_use]
    pub fn guarded(mut self, guard: SsrfGuard) -> Self {
        self.guard = guard;
        self
    }

    /// The same for what the operator names, which may be anywhere.
    fn unguarded(&self) -> Self {
        self.clone().guarded(SsrfGuard::allow_all())
    }

    /// The same, with the hosts of clusters that may be entered without TLS or without checking who they are, and those
    /// that get tokens of this machine's identity in any case.
    #[must_use]
    pub fn trusting(mut self, insecure: Vec<String>, endpoints: Vec<String>) -> Self {
        (self.allow_insecure, self.allow_endpoints) = (insecure, endpoints);
        self
    }

    /// Checks the clusters of a plan's kubeconfig, and their proxies.
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

    /// The proxy for a server.
    fn proxy(&self, server: &http::Uri) -> Option<http::Uri> {
        let (matcher, proxy) = self.proxy.as_ref()?;
        matcher.intercept(server).map(|_| proxy.clone())
    }
}

/// Connects by `kube_config`, or by endpoint, CA and token. Nothing is sent yet.
///
/// # Errors
/// [`ConnectError`].
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
            refuse_outside(&parsed)?;
            parsed
        }
        None => from_parts(cluster)?,
    };
    network.check(&kubeconfig)?;
    let restricted = restrict(
        &mut kubeconfig,
        network.allow_exec.as_deref(),
        &network.supervisor,
    );
    restricted.map_err(ConnectError::Kubeconfig)?;
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
            tokens.bind(&network.allow_endpoints).await?;
            // So that what is wrong with the identity is told at once, and by itself.
            tokens.token().await?;
            Some(Arc::new(tokens))
        }
        _ => None,
    };
    let made = client(config, proxy, tokens, network, clock, stop).await;
    made.map_err(|words| ConnectError::Kubeconfig(words.into()))
}

/// Connects as a person does: by kubeconfig files, merged as kubectl does it, of which a context may be chosen. A
/// program is run only if it is the one that is allowed.
///
/// # Errors
/// [`ConnectError`].
pub async fn by_files(
    files: &[PathBuf],
    context: Option<&str>,
    network: &Network,
    clock: &Clock,
    stop: &Stop,
) -> Result<Api, ConnectError> {
    let names: Vec<String> = files
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    let unusable = |message: String| ConnectError::File {
        file: names.join(", "),
        message,
    };
    let mut kubeconfig = Kubeconfig::default();
    for file in files {
        let read = Kubeconfig::read_from(file).and_then(|read| kubeconfig.merge(read));
        kubeconfig = read.map_err(|error| match error {
            KubeconfigError::ReadConfig(error, _) => unusable(error.to_string()),
            // The library's words may quote lines of it.
            _ => unusable("it is no kubeconfig".into()),
        })?;
    }
    choose(&mut kubeconfig, context);
    restrict(
        &mut kubeconfig,
        network.allow_exec.as_deref(),
        &network.supervisor,
    )
    .map_err(unusable)?;
    let proxy = proxy_of(&kubeconfig);
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    let config = config.map_err(|error| unusable(error.to_string()))?;
    client(config, proxy, None, &network.unguarded(), clock, stop)
        .await
        .map_err(|words| unusable(words.into()))
}

/// What is wrong with credentials, without a word of theirs.
fn unusable_credentials(error: &kube::Error) -> &'static str {
    match error {
        kube::Error::Auth(_) => {
            "its credentials could not be had: the program or file that gives them failed"
        }
        _ => "its certificates or keys cannot be used",
    }
}

/// Connects as a pod does: `server` (`https://HOST:PORT`) is that of the cluster around it, and `account` the
/// directory of its service account, which holds `ca.crt`, `namespace`, and `token`, read anew as it is renewed.
///
/// # Errors
/// [`ConnectError`].
pub async fn by_service_account(
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
    let kubeconfig = single(cluster, user, Some(namespace.trim().to_owned()));
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    let config = config.map_err(|error| unusable(error.to_string()))?;
    client(config, None, None, &network.unguarded(), clock, stop)
        .await
        .map_err(|words| unusable(words.into()))
}

/// Makes the client, beside everything else: its making may run a program. If it cannot be made, why, without a word of
/// its credentials.
async fn client(
    mut config: Config,
    proxy: Option<http::Uri>,
    tokens: Option<Arc<Tokens>>,
    network: &Network,
    clock: &Clock,
    stop: &Stop,
) -> Result<Api, &'static str> {
    // Retries are ours: the library's would go on for hours and repeat what must not be.
    config.default_retry = false;
    config.proxy_url = proxy.or_else(|| network.proxy(&config.cluster_url));
    config.root_cert = config.root_cert.or_else(|| network.authorities.clone());
    let (of_requests, guard) = (tokens.clone(), network.guard.clone());
    let make = tokio::task::spawn_blocking(move || stack::client(config, &guard, of_requests));
    match stop.run(clock.timeout(MAKING, make)).await {
        Some(Ok(Ok(Ok(client)))) => Ok(Api::new(client, tokens, clock.clone(), stop.clone())),
        Some(Ok(Ok(Err(error)))) => Err(unusable_credentials(&error)),
        Some(Ok(Err(_)) | Err(_)) => Err("its credentials could not be had in time"),
        None => Err("it was stopped before its credentials could be had"),
    }
}

/// The proxy that a kubeconfig names for the cluster of its current context.
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

/// Gives a request the token of the moment.
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
