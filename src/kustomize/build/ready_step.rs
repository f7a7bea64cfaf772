//! A generator or transformer that is ready to run, whatever configures it.

use crate::kustomize::BuildError;
use crate::kustomize::build::plugin::PluginConfig;
use crate::kustomize::load::step::{ConfiguredStep, FieldRef};
use crate::kustomize::transform::origin::{Origin, Plugin};

/// A step that a field of a kustomization or the config of a plugin configures.
pub(crate) struct ReadyStep<T: ?Sized> {
    pub field_ref: FieldRef,
    pub work: Box<T>,
    /// The origin of what it generates or transforms; none unless the build records origins.
    pub origin: Option<Origin>,
    /// The plugin's config, if one configures it.
    config: Option<PluginConfig>,
}

impl<T: ?Sized> ReadyStep<T> {
    /// Names the plugin or the field as what an error is in.
    pub fn locate(&self, error: BuildError) -> BuildError {
        match &self.config {
            Some(config) => config.locate(error).in_field(self.field_ref),
            None => error.below(self.field_ref),
        }
    }

    /// Returns the trace number of the plugin's config, if one configures it; 0 if that is inline.
    pub fn trace_number(&self) -> Option<usize> {
        let config = self.config.as_ref()?;
        Some(config.resource.trace_number)
    }

    /// Takes the steps that fields of the kustomization file `file` configure. `origin` is that of
    /// the file's directory.
    pub fn of_fields(
        steps: Vec<ConfiguredStep<T>>,
        origin: Option<&Origin>,
        file: &str,
    ) -> Vec<Self> {
        let ready = steps.into_iter().map(|step| Self {
            field_ref: step.field_ref,
            work: step.work,
            origin: origin.map(|origin| origin.configured(file, Plugin::builtin(step.kind))),
            config: None,
        });
        ready.collect()
    }

    /// Makes the steps of plugins, whose configs a field names.
    pub fn of_configs(
        field: &'static str,
        configs: Vec<PluginConfig>,
        mut make: impl FnMut(&PluginConfig) -> Result<Box<T>, BuildError>,
    ) -> Result<Vec<Self>, BuildError> {
        let ready = configs.into_iter().map(|config| {
            Ok(Self {
                field_ref: FieldRef::whole(field),
                work: make(&config).map_err(|error| error.in_field(field))?,
                origin: config.origin(),
                config: Some(config),
            })
        });
        ready.collect()
    }
}
