//! Plugins: generators, transformers and validators with config documents of their own.

use serde_json::Value;

use crate::kustomize::generate::Generate;
use crate::kustomize::go::json;
use crate::kustomize::load::setup::Setup;
use crate::kustomize::resource::Resource;
use crate::kustomize::transform::origin::{Origin, Plugin};
use crate::kustomize::transform::{Transform, origin};
use crate::kustomize::{BuildError, generate, transform};

/// The config document of a plugin.
pub(crate) struct PluginConfig {
    pub resource: Resource,
    kind: String,
}

impl PluginConfig {
    pub fn new(resource: Resource) -> Self {
        Self {
            kind: resource.id().kind,
            resource,
        }
    }

    /// Returns the config as JSON. Refuses plugins that are not built in, such as exec plugins and
    /// KRM functions.
    fn builtin_config(&self) -> Result<Value, BuildError> {
        let id = self.resource.id();
        if !id.group.is_empty() || id.version != "builtin" {
            let message = format!(
                "the plugin {id} is not built in; only plugins with apiVersion: builtin are supported, not KRM functions or exec plugins"
            );
            return Err(message.into());
        }
        json::to_json(&self.resource.node).map_err(|error| error.about(id))
    }

    pub fn generator(&self, setup: &mut Setup<'_, '_>) -> Result<Box<dyn Generate>, BuildError> {
        let value = self.builtin_config()?;
        generate::of_config(&self.kind, &value, setup).map_err(|error| self.locate(error))
    }

    pub fn transformer(&self, setup: &mut Setup<'_, '_>) -> Result<Box<dyn Transform>, BuildError> {
        let value = self.builtin_config()?;
        transform::from_config(&self.kind, &value, setup).map_err(|error| self.locate(error))
    }

    /// Names the plugin as what an error is in.
    pub fn locate(&self, error: BuildError) -> BuildError {
        error.in_file(&format!("plugin {}", self.resource.id()))
    }

    /// Returns the origin of what the plugin generates or transforms; none unless the build records
    /// origins.
    pub fn origin(&self) -> Option<Origin> {
        let origin = Origin::read(origin::annotation(&self.resource)?)?;
        let id = self.resource.id();
        let api_version = self
            .resource
            .node
            .get("apiVersion")
            .and_then(|node| node.as_str())
            .unwrap_or_default();
        Some(origin.into_configured_by(Plugin {
            api_version: api_version.to_owned(),
            kind: id.kind,
            name: id.name,
            namespace: id.namespace,
        }))
    }
}
