//! From what a plan says of a cluster to a connection. Nothing outside of the plan is used, no file and no helper
//! program; where it names a cloud's identity, that of this machine ([`identity`](super::identity)).

use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use http::header::AUTHORIZATION;
use hyper_util::client::proxy::matcher::Matcher;
use kube::Config;
use kube::client::ClientBuilder;
use kube::config::{
    AuthInfo, Cluster, Context, KubeConfigOptions, Kubeconfig, NamedAuthInfo, NamedCluster, NamedContext,
};
use rustls::pki_types::CertificateDer;
use tower::BoxError;
use tower::buffer::BufferLayer;
use tower::filter::AsyncFilterLayer;

use super::Api;
use super::identity::{IdentityError, Machine, Tokens};
use crate::base::clock::Clock;
use crate::base::error::chain;
use crate::base::stop::Stop;
use crate::plan::ClusterInfo;

/// Requests that may wait for each other before the connection.
const WAITING: usize = 64;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The plan names no cluster.
    #[error("the plan names no cluster: the install's sandbox has none, so nothing can be deployed to it")]
    NoCluster,
    /// The cloud identity gives no token.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The kubeconfig cannot be used. Its text may hold credentials, so it is not quoted.
    #[error("the plan's kube_config cannot be used: {0}")]
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
        let matcher = |proxy: &str| Arc::new(Matcher::builder().https(proxy.to_owned()).no(except.to_owned()).build());
        Self {
            machine,
            allow_exec: None,
            proxy: proxy.and_then(|proxy| Some((matcher(proxy), proxy.parse().ok()?))),
            authorities: authorities.map(|all| all.iter().map(|certificate| certificate.to_vec()).collect()),
        }
    }

    /// The same, with the one program that a kubeconfig may run.
    #[must_use]
    pub fn allow_exec(mut self, program: Option<String>) -> Self {
        self.allow_exec = program;
        self
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
    let kubeconfig = match &cluster.kube_config {
        Some(document) => {
            let parsed = Kubeconfig::from_yaml(document.expose())
                .map_err(|_| ConnectError::Kubeconfig("it is not a kubeconfig document".into()))?;
            refuse_outside(&parsed, network.allow_exec.as_deref())?;
            parsed
        }
        None => from_parts(cluster)?,
    };
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(|error| ConnectError::Kubeconfig(error.to_string()))?;
    let tokens = match (&cluster.cloud, &cluster.kube_config) {
        (Some(cloud), None) => {
            let (id, endpoint, role) = (&cluster.id, &cluster.endpoint, cluster.trusted_role.clone());
            let tokens = Tokens::new(cloud.clone(), id, endpoint, role, network.machine.clone(), clock.clone());
            // So that what is wrong with the identity is told at once, and by itself.
            tokens.token().await?;
            Some(Arc::new(tokens))
        }
        _ => None,
    };
    client(config, tokens, network, clock, stop)
        .map_err(|_| ConnectError::Kubeconfig("its certificates or keys cannot be used".into()))
}

/// Connects as a person does: by a kubeconfig file, of which a context may be chosen. A program is run only if it
/// is the one that is allowed.
///
/// # Errors
/// [`ConnectError`].
pub async fn by_file(
    file: &Path,
    context: Option<&str>,
    network: &Network,
    clock: &Clock,
    stop: &Stop,
) -> Result<Api, ConnectError> {
    let unusable = |message: String| ConnectError::File { file: file.display().to_string(), message };
    let kubeconfig = Kubeconfig::read_from(file).map_err(|error| unusable(error.to_string()))?;
    let programs = kubeconfig.auth_infos.iter().filter_map(|user| user.auth_info.as_ref()?.exec.as_ref());
    for program in programs.filter_map(|exec| exec.command.as_deref()) {
        if Some(program) != network.allow_exec.as_deref() {
            return Err(unusable(format!(
                "it would run {program:?}, which is not allowed; allow it by deploy.allow_exec, or use another user"
            )));
        }
    }
    let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
    let config = config.map_err(|error| unusable(error.to_string()))?;
    client(config, None, network, clock, stop).map_err(|error| unusable(chain(&error)))
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
    let unusable = |message: String| ConnectError::ServiceAccount { path: account.display().to_string(), message };
    let file = |name: &str| Some(account.join(name).to_string_lossy().into_owned());
    let namespace =
        std::fs::read_to_string(account.join("namespace")).map_err(|error| unusable(format!("namespace: {error}")))?;
    let cluster = Cluster { server: Some(server), certificate_authority: file("ca.crt"), ..Cluster::default() };
    let user = AuthInfo { token_file: file("token"), ..AuthInfo::default() };
    let kubeconfig = single(cluster, user, Some(namespace.trim().to_owned()));
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    let config = config.map_err(|error| unusable(error.to_string()))?;
    client(config, None, network, clock, stop).map_err(|error| unusable(chain(&error)))
}

fn client(
    mut config: Config,
    tokens: Option<Arc<Tokens>>,
    network: &Network,
    clock: &Clock,
    stop: &Stop,
) -> Result<Api, kube::Error> {
    // Retries are ours: the library's would go on for hours and repeat what must not be.
    config.default_retry = false;
    config.connect_timeout = Some(std::time::Duration::from_secs(10));
    config.proxy_url = network.proxy(&config.cluster_url);
    config.root_cert = config.root_cert.or_else(|| network.authorities.clone());
    let builder = ClientBuilder::try_from(config)?;
    let client = match tokens {
        Some(tokens) => {
            let add = AsyncFilterLayer::new(move |request| with_token(tokens.clone(), request));
            // The filter clones what it asks, and the stack below is none that can be cloned.
            builder.with_layer(&BufferLayer::new(WAITING)).with_layer(&add).build()
        }
        None => builder.build(),
    };
    Ok(Api::new(client, clock.clone(), stop.clone()))
}

/// Gives a request the token of the moment.
async fn with_token<B>(tokens: Arc<Tokens>, mut request: http::Request<B>) -> Result<http::Request<B>, BoxError> {
    let token = tokens.token().await?;
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose()))?;
    value.set_sensitive(true);
    request.headers_mut().insert(AUTHORIZATION, value);
    Ok(request)
}

/// A kubeconfig from a plan must not make us read files or run programs.
fn refuse_outside(kubeconfig: &Kubeconfig, allowed_program: Option<&str>) -> Result<(), ConnectError> {
    let refuse = |what: &str| {
        Err(ConnectError::Kubeconfig(format!("{what} is not allowed in a plan; put the value into the document")))
    };
    for user in kubeconfig.auth_infos.iter().filter_map(|user| user.auth_info.as_ref()) {
        if let Some(exec) = &user.exec
            && (exec.command.is_none() || exec.command.as_deref() != allowed_program)
        {
            return refuse("exec");
        }
        if user.auth_provider.is_some() {
            return refuse("auth-provider");
        }
        if user.token_file.is_some() || user.client_certificate.is_some() || user.client_key.is_some() {
            return refuse("a file of credentials");
        }
    }
    for cluster in kubeconfig.clusters.iter().filter_map(|cluster| cluster.cluster.as_ref()) {
        if cluster.certificate_authority.is_some() {
            return refuse("a certificate-authority file");
        }
    }
    Ok(())
}

fn from_parts(cluster: &ClusterInfo) -> Result<Kubeconfig, ConnectError> {
    if cluster.endpoint.is_empty() {
        return Err(ConnectError::Missing("kube_config or endpoint"));
    }
    if !cluster.ca_data.is_empty() {
        let pem = STANDARD.decode(&cluster.ca_data).map_err(|_| ConnectError::Certificate)?;
        if !String::from_utf8_lossy(&pem).contains("BEGIN CERTIFICATE") {
            return Err(ConnectError::Certificate);
        }
    }
    let token = cluster.token.as_ref().map(|token| token.expose().to_owned().into());
    if token.is_none() && cluster.cloud.is_none() {
        return Err(ConnectError::Missing("token"));
    }
    let server = Cluster {
        server: Some(cluster.endpoint.clone()),
        certificate_authority_data: Some(cluster.ca_data.clone()).filter(|data| !data.is_empty()),
        ..Cluster::default()
    };
    Ok(single(server, AuthInfo { token, ..AuthInfo::default() }, None))
}

/// A kubeconfig of one cluster and one user.
fn single(cluster: Cluster, user: AuthInfo, namespace: Option<String>) -> Kubeconfig {
    let name = "cluster".to_owned();
    let context = Context { cluster: name.clone(), user: Some(name.clone()), namespace, ..Context::default() };
    Kubeconfig {
        clusters: vec![NamedCluster { name: name.clone(), cluster: Some(cluster), ..NamedCluster::default() }],
        auth_infos: vec![NamedAuthInfo { name: name.clone(), auth_info: Some(user), ..NamedAuthInfo::default() }],
        contexts: vec![NamedContext { name: name.clone(), context: Some(context), ..NamedContext::default() }],
        current_context: Some(name),
        ..Kubeconfig::default()
    }
}
