//! Shared code of the commands that work on a cluster: connection and input objects.

mod arguments;
mod environment;
mod person;

use std::collections::HashMap;
use std::path::Path;

pub use arguments::{
    AcceptedInput, adopt_argument, dry_run_argument, with_source, with_target, yes_argument,
};
use clap::ArgMatches;
use environment::{checked_namespace, in_cluster_server, kubeconfigs};
pub use person::confirm;

use super::error::{CommandError, exit_code_for};
use super::session::{self, Session};
use super::{Code, chain, input, overlay, print_stderr};
use crate::base::clock::Clock;
use crate::base::nearest::nearest;
use crate::base::secret::Redactor;
use crate::base::stop::Stop;
use crate::build::artifact;
use crate::clients::http::Authorities;
use crate::clients::{Clients, Local, Secrets};
use crate::cluster::client::Api;
use crate::cluster::client::connect::{
    ConnectError, connect_by_kubeconfig, connect_by_service_account,
};
use crate::cluster::client::discovery::ServedKinds;
use crate::cluster::fields::policy::FieldPolicy;
use crate::cluster::rollout::failure::DeployFailure;
use crate::cluster::rollout::inventory::{Component, Inventory};
use crate::cluster::rollout::options::Options;
use crate::deployment::{DeployConfig, Deployment, Progress};
use crate::manifest::ObjectSet;
use crate::registry::format;
use crate::registry::reference::Reference;

/// Error message of commands that need a component and have none.
const NO_COMPONENT: &str = "no component is given; use --component NAME";

/// Directory where Kubernetes mounts the service account of a pod.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// A connected cluster, with the clients and settings for changing it.
pub struct ClusterTarget {
    pub api: Api,
    /// Name of the kubeconfig's context; `None` in a pod.
    context: Option<String>,
    pub clients: Clients,
    pub deploy: DeployConfig,
    pub namespace: String,
    pub component: Option<Component>,
    pub redactor: Redactor,
    pub clock: Clock,
    stop: Stop,
}

/// The objects that a command works on, and the artifact that they come from.
pub struct InputObjects {
    pub objects: ObjectSet,
    /// `oci://…@sha256:…`, if the objects come from an artifact.
    pub artifact: Option<String>,
    /// Keeps the secret values of the objects masked in output while this value lives.
    _secrets: Secrets,
}

/// What a command deploys, and where.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    pub options: &'a Options,
    pub namespace: &'a str,
    pub component: Option<&'a Component>,
    pub artifact: Option<&'a str>,
}

impl Progress for ClusterTarget {
    fn step(&self, message: &str) {
        self.print_stderr(message);
    }

    fn note(&self, message: &str) {
        self.print_stderr(&format!("note: {message}"));
    }
}

impl From<DeployFailure> for CommandError {
    fn from(failure: DeployFailure) -> Self {
        Self(exit_code_for(&failure), failure.sentence())
    }
}

impl ClusterTarget {
    async fn connect(session: &Session<'_>) -> Result<Self, CommandError> {
        let Session {
            matches,
            environment,
            config,
            redactor,
            stop,
        } = session;
        let text = |name: &str| {
            matches
                .get_one::<String>(name)
                .map(String::as_str)
                .filter(|text| !text.is_empty())
        };
        let variable = |name: &str| environment.get(name).cloned();
        let clock = Clock::system();
        let authorities = Authorities::read(config.clients.tls_ca_file.as_deref(), &variable)?;
        // A person may name clusters and registries on this machine.
        let local = Local {
            loopback: true,
            registries: false,
        };
        let clients = Clients::new(&config.clients, &authorities, local, &clock, &variable)?;
        let (api, context) = match kubeconfigs(text("kubeconfig"), environment).as_slice() {
            files @ [_, ..] => {
                connect_by_kubeconfig(files, text("context"), &clients.network, &clock, stop)
                    .await?
            }
            [] => {
                let server = in_cluster_server(environment).ok_or(ConnectError::NoKubeconfig)?;
                let account = Path::new(SERVICE_ACCOUNT);
                let network = &clients.network;
                let api = connect_by_service_account(server, account, network, &clock, stop);
                (api.await?, None)
            }
        };
        let namespace = checked_namespace(text("namespace").unwrap_or(api.namespace()))?;
        let component = text("component")
            .map(|name| Component::named(name, &namespace))
            .transpose();
        let component = component.map_err(|error| CommandError(Code::Usage, error.to_string()))?;
        let mut deploy = config.deploy.clone();
        let adopts = matches.try_get_one::<bool>("adopt").ok().flatten();
        deploy.options.adopt |= adopts == Some(&true);
        Ok(Self {
            api,
            context,
            clients,
            deploy,
            namespace,
            component,
            redactor: redactor.clone(),
            clock,
            stop: stop.clone(),
        })
    }

    /// Returns the options for changing the cluster. Plans contain keyed hashes of Secrets; this
    /// key is random and known to nobody else.
    pub fn options(&self) -> Options {
        Options {
            fields: FieldPolicy {
                key: Some(rand::random::<[u8; 32]>().to_vec().into()),
                ..self.deploy.options.fields.clone()
            },
            ..self.deploy.options.clone()
        }
    }

    /// Returns the scope of the command's own flags.
    pub fn scope<'a>(&'a self, options: &'a Options, artifact: Option<&'a str>) -> Scope<'a> {
        Scope {
            options,
            namespace: &self.namespace,
            component: self.component.as_ref(),
            artifact,
        }
    }

    /// Returns a deployment, whose progress is printed on standard error.
    pub fn deployment<'a>(&'a self, scope: Scope<'a>) -> Deployment<'a> {
        Deployment {
            api: &self.api,
            config: &self.deploy,
            options: scope.options,
            registries: &self.clients.registries,
            clock: &self.clock,
            namespace: scope.namespace,
            component: scope.component,
            artifact: scope.artifact,
            is_resumed: false,
            deadline: None,
            progress: self,
        }
    }

    /// Returns where a command works, for people: the cluster, the context and the namespace.
    pub fn place(&self, namespace: &str) -> String {
        let context = self
            .context
            .iter()
            .map(|context| format!("context {context}"));
        let namespace = format!("namespace {namespace}");
        let parts: Vec<String> = context.chain([namespace]).collect();
        format!("{} ({})", self.api.address(), parts.join(", "))
    }

    /// Returns the error about a component that was never deployed here, with the names that were
    /// probably meant.
    pub async fn no_inventory(&self, served: &ServedKinds, component: &Component) -> CommandError {
        let Component { name, namespace } = component;
        let known = Inventory::components(&self.api, served, namespace).await;
        let here: Vec<&str> = known
            .iter()
            .filter(|known| known.namespace == *namespace)
            .map(|known| known.name.as_str())
            .collect();
        // Whose they are is not known, so other namespaces are not named.
        let is_elsewhere = known.iter().any(|known| known.name == *name);
        let help = match nearest(name, here.iter().copied()) {
            Some(near) => format!("; help: did you mean {near}?"),
            None if is_elsewhere => format!("; help: {name} is in another namespace"),
            None if here.is_empty() => String::new(),
            None => format!("; help: there are {}", here.join(", ")),
        };
        let message =
            format!("the component {name} has no inventory in the namespace {namespace}{help}");
        CommandError(Code::Error, message)
    }

    /// Returns the component. Fails if `--component` is missing.
    pub fn component(&self) -> Result<&Component, CommandError> {
        let missing = || CommandError(Code::Usage, NO_COMPONENT.into());
        self.component.as_ref().ok_or_else(missing)
    }

    /// Loads the objects that the arguments name: a file, an overlay or an artifact.
    pub async fn load_objects(&self, matches: &ArgMatches) -> Result<InputObjects, CommandError> {
        let text = |name: &str| matches.get_one::<String>(name).map(String::as_str);
        if let Some(file) = text("filename") {
            let objects = input::objects(file)?.into_set(file);
            return Ok(self.with_masked_secrets(objects, None));
        }
        if let Some(directory) = text("kustomize") {
            return Ok(self.with_masked_secrets(overlay::objects(directory)?, None));
        }
        self.pull(text("SOURCE").unwrap_or_default()).await
    }

    /// Pulls the objects of the artifact at a [`Reference`].
    pub async fn pull(&self, reference: &str) -> Result<InputObjects, CommandError> {
        let reference = Reference::parse(reference)?;
        let registries = &self.clients.registries;
        let repository = registries.open_reference(&reference.place).await?;
        let pulled = format::pull(&repository, &reference.version).await?;
        let artifact = format!("oci://{}@{}", repository.name(), pulled.digest);
        let objects = artifact::objects(pulled.content).map_err(|error| chain(&error))?;
        Ok(self.with_masked_secrets(objects, Some(artifact)))
    }

    /// Wraps objects so that their secret values are masked in output while the result lives.
    pub fn with_masked_secrets(
        &self,
        objects: impl Into<ObjectSet>,
        artifact: Option<String>,
    ) -> InputObjects {
        let objects = objects.into();
        let mut secrets = Secrets::default();
        secrets.learn_objects(&self.redactor, &objects.objects);
        InputObjects {
            objects,
            artifact,
            _secrets: secrets,
        }
    }

    /// Prints a line to stderr with secrets masked.
    pub fn print_stderr(&self, line: &str) {
        print_stderr(&self.redactor.mask(line));
    }
}

/// Connects to the cluster and runs a command. Prints its error.
pub fn run(
    matches: &ArgMatches,
    environment: &HashMap<String, String>,
    accepted: AcceptedInput,
    work: impl AsyncFnOnce(&ClusterTarget) -> Result<Code, CommandError>,
) -> Code {
    let check = || accepted.check(matches);
    session::run(matches, environment, check, async |session| {
        let target = ClusterTarget::connect(session).await?;
        work(&target).await
    })
}
