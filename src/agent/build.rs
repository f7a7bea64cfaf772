//! Makes the clients and services of the agent.

use prometheus::Registry;

use super::VERSION;
use super::error::AgentError;
use super::mode::Mode;
use crate::base::clock::Clock;
use crate::base::secret::Redactor;
use crate::clients::http::Authorities;
use crate::clients::{Clients, http};
use crate::cluster::rollout::inventory::Signer;
use crate::config::Config;
use crate::control::logs::LogContext;
use crate::control::{Client, ClientOptions, ControlStatus};
use crate::deployment::metrics::Metrics;
use crate::handlers;
use crate::handlers::Services;
use crate::journal::Journal;
use crate::worker::WorkerServices;

/// What the clients are made from.
pub(super) struct BuildContext<'a> {
    pub(super) config: &'a Config,
    pub(super) mode: Mode,
    pub(super) clock: &'a Clock,
    pub(super) redactor: &'a Redactor,
    pub(super) journal: &'a Journal,
    pub(super) authorities: &'a Authorities,
    pub(super) control_status: &'a ControlStatus,
    pub(super) registry: &'a Registry,
}

impl BuildContext<'_> {
    pub(super) fn control_client(
        &self,
        metrics: &crate::control::metrics::Metrics,
    ) -> Result<Client, AgentError> {
        let control = &self.config.control;
        let missing = || AgentError::Missing(control.missing_settings().join("; "));
        Ok(Client::new(ClientOptions {
            url: control.url.clone(),
            runner: control.runner.clone().ok_or_else(missing)?,
            token: control.token.clone().ok_or_else(missing)?,
            control_status: self.control_status.clone(),
            version: VERSION.to_owned(),
            http: http::client(self.authorities)?,
            clock: self.clock.clone(),
            redactor: self.redactor.clone(),
            metrics: metrics.clone(),
        })?)
    }

    pub(super) async fn worker_services(
        &self,
        control: &Client,
        control_metrics: crate::control::metrics::Metrics,
        clients: Clients,
    ) -> Result<WorkerServices, AgentError> {
        let mut services = Services {
            clock: self.clock.clone(),
            redactor: self.redactor.clone(),
            groups: self.mode.groups(),
            clients,
            build: self.config.build.clone(),
            deploy: self.config.deploy.clone(),
            metrics: Metrics::new()?,
        };
        services.metrics.register(self.registry)?;
        if let Some(runner) = &self.config.control.runner {
            let key = self.journal.hash_key(&runner.to_string()).await?;
            services.deploy.options.signer = Some(Signer::new(&key));
            services.deploy.options.fields.key = Some(key.into());
        }
        Ok(WorkerServices {
            control: control.clone(),
            journal: self.journal.clone(),
            clock: self.clock.clone(),
            redactor: self.redactor.clone(),
            logs: LogContext {
                client: control.clone(),
                version: VERSION.to_owned(),
                clock: self.clock.clone(),
                redactor: self.redactor.clone(),
                metrics: control_metrics,
            },
            handlers: handlers::all(services),
            groups: self.mode.groups(),
            metrics: crate::worker::metrics::Metrics::register(self.registry)?,
        })
    }
}
