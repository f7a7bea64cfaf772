//! A generator or transformer that is ready to run, whatever configures it.

use crate::kustomize::build::plugin::PluginConfig;
use crate::kustomize::load::step::{FieldRef, Step};
use crate::kustomize::transform::origin::{Origin, Plugin};

/// A step that a field of a kustomization or the config of a plugin configures.
pub(crate) struct ReadyStep<T: ?Sized> {
    pub field_ref: FieldRef,
    pub work: Box<T>,
    /// The origin of what it generates or transforms; none unless the build records origins.
    pub origin: Option<Origin>,
    /// The trace number of its config, if a plugin's config configures it; 0 if that is inline.
    pub config: Option<usize>,
}

impl<T: ?Sized> ReadyStep<T> {
    /// Takes a step that a field of the kustomization file `file` configures. `origin` is that of
    /// the file's directory.
    pub fn of_field(step: Step<T>, origin: Option<&Origin>, file: &str) -> Self {
        Self {
            field_ref: step.field_ref,
            work: step.work,
            origin: origin.map(|origin| origin.configured(file, Plugin::builtin(step.kind))),
            config: None,
        }
    }

    /// Takes the work of a plugin, whose config a field names.
    pub fn of_config(field: &'static str, work: Box<T>, config: &PluginConfig) -> Self {
        Self {
            field_ref: FieldRef::whole(field),
            work,
            origin: config.origin(),
            config: Some(config.resource.trace_number),
        }
    }
}
