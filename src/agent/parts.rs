//! What handlers are made of, from the settings.

use std::sync::Arc;
use std::time::Duration;

use super::AgentError;
use super::http::{self, Authorities, Proxy};
use crate::base::clock::Clock;
use crate::base::guard::{Guard, Reach, is_loopback};
use crate::base::secret::Redactor;
use crate::cluster::client::connect::Network;
use crate::cluster::client::identity::Machine;
use crate::config::{ArtifactLayout, Config};
use crate::handlers::metrics::Metrics;
use crate::handlers::{Builds, Parts, Registries};
use crate::job::Group;
use crate::registry::credentials::DockerConfig;
use crate::registry::format::Layout;
use crate::registry::remote::Connections;
use crate::workspace::child::Supervisor;
use crate::workspace::git;
use crate::workspace::helm::Helm;

/// How long a connection to a registry may take to stand.
const CONNECT: Duration = Duration::from_secs(10);

/// Builds every client that handlers need. `variable` looks up the process's environment.
///
/// # Errors
/// [`AgentError`].
pub fn parts(
    config: &Config,
    authorities: &Authorities,
    clock: &Clock,
    redactor: &Redactor,
    groups: Vec<Group>,
    local_registries: bool,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Parts, AgentError> {
    let proxy = Proxy::from_environment(variable)?;
    let builder = || http::builder(authorities).map(|builder| builder.connect_timeout(CONNECT));
    let guard = guard(config, &proxy, &groups);
    let of_git = guard.and_allow(&config.git_allow_insecure);
    let web = builder()?
        .dns_resolver(of_git.resolver(Reach::Author))
        .build()
        .map_err(http::HttpError::Setup)?;
    let connections = Connections::new(builder, &guard.and_allow(&config.registry_allow_insecure))?;
    let supervisor = Supervisor::default();
    let machine = Machine::new(
        variable,
        builder()?.build().map_err(http::HttpError::Setup)?,
    );
    Ok(Parts {
        clock: clock.clone(),
        redactor: redactor.clone(),
        groups,
        git: git::Policy {
            guard: of_git,
            supervisor: supervisor.clone(),
            allow_insecure: config.git_allow_insecure.clone(),
            max_entries: config.git_max_entries,
            max_bytes: config.git_max_bytes,
            authorities: authorities.pem().map(Arc::new),
            ssh_key_file: config.git_ssh_key_file.clone(),
            ssh_known_hosts_file: config.git_ssh_known_hosts_file.clone(),
            proxy: proxy.https.clone().map(Into::into),
            no_proxy: Some(proxy.except.clone()).filter(|hosts| !hosts.is_empty()),
        },
        builds: Builds {
            allow_remote: config.build_allow_remote,
            web,
            helm: Helm {
                program: config.build_helm_command.clone().into(),
                supervisor,
            },
        },
        registries: Registries {
            connections,
            insecure: config.registry_allow_insecure.clone(),
            docker: DockerConfig::locate(variable),
            local: local_registries,
        },
        layout: match config.artifact_layout {
            ArtifactLayout::Flux => Layout::Flux,
            ArtifactLayout::Archive => Layout::Archive,
        },
        network: Network::new(
            proxy.https.as_deref(),
            &proxy.except,
            authorities.all(),
            machine,
        )
        .allow_exec(config.deploy.allow_exec.clone())
        .guarded(guard)
        .trusting(
            config.deploy.allow_insecure.clone(),
            config.deploy.allow_endpoints.clone(),
        ),
        deploys: config.deploy.clone(),
        metrics: Metrics::new()?,
    })
}

/// The guard of all that input names: it lets pass what the operator allows. Clusters and registries may be on this machine
/// where the control plane is, and where a person names them: a command serves no groups.
fn guard(config: &Config, proxy: &Proxy, groups: &[Group]) -> Guard {
    let guard = proxy.guarded(Guard::new(config.network_allow.clone()));
    if groups.is_empty() || is_loopback(&config.api_url) {
        guard.with_loopback()
    } else {
        guard
    }
}
