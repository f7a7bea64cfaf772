//! Makes the clients for git, Helm, registries and clusters from their settings. Used by the daemon
//! and by commands.

pub mod http;

mod config;
mod registries;
mod secrets;

use std::sync::Arc;
use std::time::Duration;

pub use config::{ClientsConfig, ClusterConfig, GitConfig};
use http::{Authorities, HttpError, Proxy};
pub use registries::Registries;
pub use secrets::Secrets;

use crate::base::clock::Clock;
use crate::base::guard::{Reach, SsrfGuard};
use crate::cloud::Machine;
use crate::cluster::client::connect::Network;
use crate::registry::credentials::MachineCredentials;
use crate::registry::login::Logins;
use crate::registry::remote::RegistryClients;
use crate::workspace::child::Supervisor;
use crate::workspace::git;
use crate::workspace::helm::Helm;

/// Timeout for establishing a connection to a registry or another host that a job uses.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The clients of builds and deploys.
pub struct Clients {
    /// Policy for fetching with git.
    pub git: git::Policy,
    /// HTTP client that reaches only the hosts that git may reach.
    pub web: reqwest::Client,
    /// The program that inflates charts.
    pub helm: Helm,
    /// Access to registries.
    pub registries: Registries,
    /// Connections to clusters.
    pub network: Network,
}

/// Which hosts on this machine input may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Local {
    /// Whether clusters and registries may be on a loopback address.
    pub loopback: bool,
    /// Whether folders on disk may be registries.
    pub registries: bool,
}

impl Clients {
    /// Makes the clients. `variable` looks up the process's environment.
    ///
    /// # Errors
    /// [`HttpError`] if the proxy of the environment or an authority cannot be used.
    // Long: the list of all clients.
    pub fn new(
        config: &ClientsConfig,
        authorities: &Authorities,
        local: Local,
        clock: &Clock,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, HttpError> {
        let proxy = Proxy::from_environment(variable)?;
        let supervisor = Supervisor::default();
        let builder =
            || http::builder(authorities).map(|builder| builder.connect_timeout(CONNECT_TIMEOUT));
        let guard = proxy.guarded(SsrfGuard::new(config.network_allow.clone()));
        let guard = if local.loopback {
            guard.with_loopback()
        } else {
            guard
        };
        let of_git = guard.with_allowed(&config.git.allow_insecure);
        let web = builder()?
            .dns_resolver(of_git.resolver(Reach::Author))
            .build()?;
        let of_registries = guard.with_allowed(&config.registry_allow_insecure);
        let connections = RegistryClients::new(builder, &of_registries, clock.clone())?;
        let machine = Machine::new(variable, builder()?.build()?);
        Ok(Self {
            git: git::Policy {
                guard: of_git,
                supervisor: supervisor.clone(),
                allow_insecure: config.git.allow_insecure.clone(),
                max_entries: config.git.max_entries,
                max_bytes: config.git.max_bytes,
                ca_bundle: authorities.pem().map(Arc::new),
                ssh_key_file: config.git.ssh_key_file.clone(),
                ssh_known_hosts_file: config.git.ssh_known_hosts_file.clone(),
                proxy: proxy.https.clone().map(Into::into),
                no_proxy: Some(proxy.no_proxy.clone()).filter(|hosts| !hosts.is_empty()),
            },
            web,
            helm: Helm {
                program: config.helm_command.clone().into(),
                supervisor: supervisor.clone(),
            },
            registries: Registries {
                connections,
                insecure: config.registry_allow_insecure.clone(),
                docker: MachineCredentials::locate(variable, supervisor.clone()),
                logins: Logins::new(
                    machine.clone(),
                    config.registry_allow_endpoints.clone(),
                    clock.clone(),
                ),
                local: local.registries,
            },
            network: Network::new(
                proxy.https.as_deref(),
                &proxy.no_proxy,
                authorities.all(),
                machine,
            )
            .with_allowed_exec(config.cluster.allow_exec.clone())
            .guarded(guard)
            .with_trusted_hosts(
                config.cluster.allow_insecure.clone(),
                config.cluster.allow_endpoints.clone(),
            ),
        })
    }
}
