//! `ValueAddTransformer`, which no field of a kustomization configures: writes one string into
//! fields of many objects.
//!
//! ```yaml
//! # the kustomization
//! transformers:
//! - |-
//!   apiVersion: builtin
//!   kind: ValueAddTransformer
//!   metadata: {name: any}
//!   value: prod
//!   targets: [{fieldPath: metadata/namespace}]
//! # before
//! {apiVersion: v1, kind: ConfigMap, metadata: {name: c}}
//! # after
//! {apiVersion: v1, kind: ConfigMap, metadata: {name: c, namespace: prod}}
//! ```

use serde::Deserialize;

use super::Transform;
use crate::kustomize::BuildError;
use crate::kustomize::go::decode::decode_config;
use crate::kustomize::go::json;
use crate::kustomize::load::setup::Setup;
use crate::kustomize::resource::Resource;
use crate::kustomize::resource::selector::Selector;
use crate::kustomize::schema::field_spec::{FieldSpec, anywhere};
use crate::kustomize::schema::patch::Target;
use crate::kustomize::schema::settings;
use crate::kustomize::tree::walk;
use crate::kustomize::tree::walk::set_scalar;
use crate::yaml::Node;

/// The config of a `ValueAddTransformer`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ValueAddConfig {
    value: String,
    targets: Vec<TargetSpec>,
    target_file_path: String,
}

/// A field that gets the value.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct TargetSpec {
    selector: Option<Target>,
    field_path: String,
    /// The position of the value as a part of the field's path, from 1; 0 replaces the whole field.
    file_path_position: i64,
}

pub(crate) struct ValueAdd {
    value: String,
    targets: Vec<ValueTarget>,
}

struct ValueTarget {
    selector: Option<Selector>,
    field: FieldSpec,
    position: usize,
}

impl ValueAddConfig {
    pub fn set_up(mut self, setup: &mut Setup<'_, '_>) -> Result<ValueAdd, BuildError> {
        if !self.target_file_path.is_empty() {
            let file = setup.read_config(&self.target_file_path)?;
            let more = more_targets(file.bytes()).map_err(|error| file.locate(error))?;
            self.targets.extend(more);
        }
        if self.targets.is_empty() {
            return Err("must specify at least one target".into());
        }
        let value = self.value.trim();
        let value = if value.is_empty() {
            setup.directory_name()
        } else {
            value
        };
        let targets = self
            .targets
            .into_iter()
            .map(TargetSpec::into_target)
            .collect::<Result<_, _>>()?;
        Ok(ValueAdd {
            value: value.to_owned(),
            targets,
        })
    }
}

fn more_targets(bytes: &[u8]) -> Result<Vec<TargetSpec>, BuildError> {
    let value = settings::read(bytes)?.ok_or("it is empty")?;
    decode_config(&value).map(|config: ValueAddConfig| config.targets)
}

impl TargetSpec {
    fn into_target(self) -> Result<ValueTarget, BuildError> {
        if self.field_path.is_empty() {
            return Err("fieldPath cannot be empty".into());
        }
        let position = usize::try_from(self.file_path_position).map_err(|_| {
            format!(
                "filePathPosition cannot be negative: {}",
                self.file_path_position
            )
        })?;
        let selector = self.selector.as_ref().map(Selector::new).transpose()?;
        Ok(ValueTarget {
            selector,
            field: FieldSpec {
                path: self.field_path.into(),
                ..anywhere("", true)
            },
            position,
        })
    }
}

impl Transform for ValueAdd {
    fn apply(&self, resources: &mut Vec<Resource>) -> Result<(), BuildError> {
        for target in &self.targets {
            for resource in resources.iter_mut() {
                if let Some(selector) = &target.selector
                    && !selector.selects(resource)?
                {
                    continue;
                }
                let id = resource.id();
                if target.field.path == "metadata/namespace" {
                    if !id.is_cluster_scoped() {
                        let metadata = walk::entry(&mut resource.node, "metadata");
                        set_scalar(walk::entry(metadata, "namespace"), json::text(&self.value))?;
                    }
                    continue;
                }
                let mut write = |node: &mut Node| {
                    let old = node.as_str().filter(|_| target.position > 0);
                    let new = old.map(|old| inserted(old, target.position - 1, &self.value));
                    set_scalar(node, json::undecided(new.as_deref().unwrap_or(&self.value)))
                };
                target
                    .field
                    .visit(&mut resource.node, &mut write)
                    .map_err(|error| error.about(&id))?;
            }
        }
        Ok(())
    }
}

/// Inserts a part into a path. A position beyond the end appends it; an absolute path stays
/// absolute.
fn inserted(path: &str, at: usize, part: &str) -> String {
    let (root, rest) = path
        .strip_prefix('/')
        .map_or(("", path), |rest| ("/", rest));
    let mut parts: Vec<&str> = rest.split('/').filter(|part| !part.is_empty()).collect();
    parts.insert(at.min(parts.len()), part);
    format!("{root}{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_put_into_a_path() {
        assert_eq!(inserted("/a/nice/pie", 2, "PEACH"), "/a/nice/PEACH/pie");
        assert_eq!(inserted("raw", 9, "PEACH"), "raw/PEACH");
        assert_eq!(inserted("/", 0, "PEACH"), "/PEACH");
        assert_eq!(inserted("", 3, "PEACH"), "PEACH");
    }
}
