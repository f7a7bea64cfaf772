//! Plugins: generators, transformers and validators that are configured by documents of their own.

use serde_json::Value;

use super::generate::{self, Generate};
use super::origin::{self, Origin, Plugin};
use super::resource::Resource;
use super::setup::Setup;
use super::transform::{self, Transform};
use super::{BuildError, json};

/// The config of a plugin.
pub(super) struct Config {
    pub resource: Resource,
    kind: String,
}

impl Config {
    pub fn of(resource: Resource) -> Self {
        Self {
            kind: resource.id().kind,
            resource,
        }
    }

    /// Its fields. Plugins that are programs or containers are refused.
    fn checked(&self, field: &str) -> Result<Value, BuildError> {
        let id = self.resource.id();
        if !id.group.is_empty() || id.version != "builtin" {
            let message = format!(
                "the plugin {id} is not built in; only plugins with apiVersion: builtin can run, \
                 functions and programs cannot"
            );
            return Err(BuildError::new(field, message));
        }
        json::to_json(&self.resource.node)
            .map_err(|message| BuildError::new(field, format!("{id}: {message}")))
    }

    pub fn generator(&self, setup: &mut Setup<'_, '_>) -> Result<Box<dyn Generate>, BuildError> {
        let value = self.checked(setup.field)?;
        generate::of_config(&self.kind, &value, setup).map_err(|error| self.named(error))
    }

    pub fn transformer(&self, setup: &mut Setup<'_, '_>) -> Result<Box<dyn Transform>, BuildError> {
        let value = self.checked(setup.field)?;
        transform::of_config(&self.kind, &value, setup).map_err(|error| self.named(error))
    }

    /// An error that names the plugin.
    pub fn named(&self, error: BuildError) -> BuildError {
        BuildError {
            message: format!("plugin {}: {}", self.resource.id(), error.message),
            ..error
        }
    }

    /// What it is as an origin, if the build keeps origins.
    pub fn origin(&self) -> Option<Origin> {
        let origin = Origin::read(origin::of(&self.resource)?)?;
        let id = self.resource.id();
        let api_version = self
            .resource
            .node
            .get("apiVersion")
            .and_then(|node| node.as_str())
            .unwrap_or_default();
        Some(origin.configures(Plugin {
            api_version: api_version.to_owned(),
            kind: id.kind,
            name: id.name,
            namespace: id.namespace,
        }))
    }
}
