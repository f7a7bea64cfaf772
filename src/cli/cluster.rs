//! What the commands that work on a cluster have in common: connection, sources of objects, and how they end.

mod arguments;
mod person;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

pub use arguments::{Sources, dry_run_argument, with_source, with_target, yes_argument};
use clap::ArgMatches;
pub use person::confirm;
use person::listen;
use tracing::level_filters::LevelFilter;

use super::{Code, chain, complain, input, overlay, say, settings};
use crate::base::clock::Clock;
use crate::base::secret::Redactor;
use crate::base::stop::Stop;
use crate::build::artifact;
use crate::clients::http::Authorities;
use crate::clients::{Clients, Local, Secrets};
use crate::cluster::client::connect::{ConnectError, by_files, by_service_account};
use crate::cluster::client::{Api, ClusterError};
use crate::cluster::fields::policy::FieldPolicy;
use crate::cluster::rollout::deploy::Failure;
use crate::cluster::rollout::inventory::Component;
use crate::cluster::rollout::options::Options;
use crate::config::{Config, LogFormat};
use crate::deployment::DeployConfig;
use crate::kustomize;
use crate::manifest::{self, Object};
use crate::registry::{RegistryError, Version, format};
use crate::telemetry::start_log;

/// What is said where a component has to be named.
const NO_COMPONENT: &str = "which component? give --component NAME";

/// Where Kubernetes puts the service account of a pod.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Why a command did not do what it was for, and its exit code.
pub struct Stopped(pub Code, pub String);

impl From<ClusterError> for Stopped {
    fn from(error: ClusterError) -> Self {
        Self(
            if error.is_forbidden() {
                Code::Forbidden
            } else {
                Code::Error
            },
            chain(&error),
        )
    }
}

impl From<ConnectError> for Stopped {
    fn from(error: ConnectError) -> Self {
        Self(Code::Forbidden, chain(&error))
    }
}

impl From<RegistryError> for Stopped {
    fn from(error: RegistryError) -> Self {
        let is_denied = matches!(error, RegistryError::Denied { .. });
        Self(
            if is_denied {
                Code::Forbidden
            } else {
                Code::Error
            },
            chain(&error),
        )
    }
}

impl From<String> for Stopped {
    fn from(message: String) -> Self {
        Self(Code::Error, message)
    }
}

/// The exit code of a failed deploy.
pub fn code_of(failure: &Failure) -> Code {
    match failure {
        Failure::Moved(_) => Code::Moved,
        Failure::NotReady(_) => Code::NotReady,
        Failure::Refused { by_guard: true, .. } => Code::Guarded,
        Failure::Refused {
            is_forbidden: true, ..
        } => Code::Forbidden,
        Failure::Refused { .. } => Code::Error,
        Failure::Stopped => Code::Interrupted,
    }
}

/// A cluster, and how it is changed.
pub struct Target {
    pub api: Api,
    pub clients: Clients,
    pub deploy: DeployConfig,
    pub namespace: String,
    pub component: Option<Component>,
    pub redactor: Redactor,
    pub clock: Clock,
    stop: Stop,
}

/// Objects, and what they are known by.
pub struct Source {
    pub objects: Vec<Object>,
    /// `oci://…@sha256:…`, if they are of an artifact.
    pub artifact: Option<String>,
    /// Secrets among them, hidden for as long as this lives.
    _secrets: Secrets,
}

impl Target {
    async fn connect(
        matches: &ArgMatches,
        config: &Config,
        environment: &HashMap<String, String>,
        redactor: Redactor,
        stop: &Stop,
    ) -> Result<Self, Stopped> {
        let text = |name: &str| {
            matches
                .get_one::<String>(name)
                .map(String::as_str)
                .filter(|text| !text.is_empty())
        };
        let variable = |name: &str| environment.get(name).cloned();
        let clock = Clock::system();
        let authorities = Authorities::read(config.clients.tls_ca_file.as_deref(), &variable)
            .map_err(|error| chain(&error))?;
        // A person may name clusters and registries on this machine.
        let local = Local {
            loopback: true,
            registries: false,
        };
        let clients = Clients::new(&config.clients, &authorities, local, &variable)
            .map_err(|error| chain(&error))?;
        let api = match kubeconfigs(text("kubeconfig"), environment).as_slice() {
            files @ [_, ..] => {
                by_files(files, text("context"), &clients.network, &clock, stop).await?
            }
            [] => {
                let server = server_around(environment).ok_or(ConnectError::NoKubeconfig)?;
                by_service_account(
                    server,
                    Path::new(SERVICE_ACCOUNT),
                    &clients.network,
                    &clock,
                    stop,
                )
                .await?
            }
        };
        let namespace = text("namespace").unwrap_or(api.namespace()).to_owned();
        let component = text("component")
            .map(|name| Component::named(name, &namespace))
            .transpose();
        let component = component.map_err(|reason| Stopped(Code::Usage, reason))?;
        Ok(Self {
            api,
            clients,
            deploy: config.deploy.clone(),
            namespace,
            component,
            redactor,
            clock,
            stop: stop.clone(),
        })
    }

    /// How the cluster is changed. Of Secrets a plan remembers fingerprints; nobody else knows the key of this one's.
    pub fn options(&self) -> Options {
        Options {
            fields: FieldPolicy {
                key: Some(rand::random::<[u8; 32]>().to_vec().into()),
                ..self.deploy.options.fields.clone()
            },
            ..self.deploy.options.clone()
        }
    }

    /// The component that the command is about.
    pub fn component(&self) -> Result<&Component, Stopped> {
        let missing = || Stopped(Code::Usage, NO_COMPONENT.into());
        self.component.as_ref().ok_or_else(missing)
    }

    /// The objects that the arguments name.
    pub async fn source(&self, matches: &ArgMatches) -> Result<Source, Stopped> {
        let text = |name: &str| matches.get_one::<String>(name).map(String::as_str);
        if let Some(file) = text("filename") {
            let manifest = input::objects(file)?;
            if !manifest.dropped.is_empty() {
                say(&format!(
                    "warning: {} documents are no objects and are left out",
                    manifest.dropped.len()
                ));
            }
            return Ok(self.known(manifest.objects, None));
        }
        if let Some(directory) = text("kustomize") {
            return Ok(self.known(render(directory)?, None));
        }
        self.pull(text("SOURCE").unwrap_or_default()).await
    }

    /// The objects of an artifact, by `oci://HOST/NAME:TAG` or `@DIGEST`.
    pub async fn pull(&self, reference: &str) -> Result<Source, Stopped> {
        let name = reference.strip_prefix("oci://").unwrap_or(reference);
        let (address, version) = match name.split_once('@') {
            // Of tag and digest the digest counts.
            Some((address, digest)) => (
                address
                    .rsplit_once(':')
                    .filter(|(_, tag)| !tag.contains('/'))
                    .map_or(address, |(address, _)| address),
                Version::digest(digest),
            ),
            None => match name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')) {
                Some((address, tag)) => (address, Version::tag(tag)),
                None => (name, Version::tag("latest")),
            },
        };
        let version = version.map_err(|error| chain(&error))?;
        let repository = self.clients.registries.open_address(address).await?;
        let pulled = format::pull(&repository, &version).await?;
        let artifact = format!("oci://{}@{}", repository.name(), pulled.digest);
        let objects = artifact::objects(pulled.content).map_err(|error| chain(&error))?;
        Ok(self.known(objects, Some(artifact)))
    }

    /// Objects whose secrets are hidden from now on.
    pub fn known(&self, objects: Vec<Object>, artifact: Option<String>) -> Source {
        let mut secrets = Secrets::default();
        secrets.learn_objects(&self.redactor, &objects);
        Source {
            objects,
            artifact,
            _secrets: secrets,
        }
    }

    /// Says a line on stderr, secrets hidden.
    pub fn say(&self, line: &str) {
        say(&self.redactor.mask(line));
    }
}

/// The kubeconfig that is named, else those of `KUBECONFIG`, else the one in the home directory; of those that are
/// not named by an argument only what is there.
fn kubeconfigs(named: Option<&str>, environment: &HashMap<String, String>) -> Vec<PathBuf> {
    if let Some(named) = named {
        return vec![PathBuf::from(named)];
    }
    match environment
        .get("KUBECONFIG")
        .filter(|text| !text.is_empty())
    {
        Some(list) => std::env::split_paths(list)
            .filter(|path| path.exists())
            .collect(),
        None => {
            let of_home = environment
                .get("HOME")
                .map(|home| PathBuf::from(home).join(".kube/config"));
            of_home.filter(|path| path.exists()).into_iter().collect()
        }
    }
}

/// The API server of the cluster that this is a pod of.
fn server_around(environment: &HashMap<String, String>) -> Option<String> {
    let (host, port) = (
        environment.get("KUBERNETES_SERVICE_HOST")?,
        environment.get("KUBERNETES_SERVICE_PORT")?,
    );
    Some(if host.contains(':') {
        format!("https://[{host}]:{port}")
    } else {
        format!("https://{host}:{port}")
    })
}

/// The objects of an overlay on this machine.
fn render(directory: &str) -> Result<Vec<Object>, String> {
    let overlay = overlay::Overlay::plain(directory)?;
    let built = kustomize::build(
        &overlay.tree,
        overlay.root(),
        &overlay.options,
        &overlay.outside,
    );
    let built = built.map_err(|error| error.to_string())?;
    Ok(manifest::collect(built)
        .map_err(|error| chain(&error))?
        .objects)
}

/// Connects and runs a command; says why it did not do what it was for.
pub fn run(
    matches: &ArgMatches,
    environment: &HashMap<String, String>,
    sources: Sources,
    work: impl AsyncFnOnce(&Target) -> Result<Code, Stopped>,
) -> Code {
    let (config, _) = match settings::load(matches, environment) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let runtime = match super::settings::runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&error.to_string(), "");
            return Code::Error;
        }
    };
    if let Err(Stopped(code, message)) = sources.check(matches) {
        complain(&message, "");
        return code;
    }
    let (stop, redactor) = (Stop::default(), Redactor::default());
    start_log(LogFormat::Text, LevelFilter::WARN, redactor.clone());
    let ended = runtime.block_on(async {
        tokio::spawn(listen(stop.clone()));
        let target =
            Target::connect(matches, &config, environment, redactor.clone(), &stop).await?;
        work(&target).await
    });
    match ended {
        Ok(_) if stop.is_stopped() => Code::Interrupted,
        Ok(code) => code,
        Err(Stopped(code, message)) => {
            complain(&redactor.mask(&message), "");
            if stop.is_stopped() {
                Code::Interrupted
            } else {
                code
            }
        }
    }
}
