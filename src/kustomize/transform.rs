//! The transformers, one file each, in kustomize's order.

pub(super) mod patch;

mod annotation;
mod image;
mod label;
mod name;
mod namespace;
mod patch_json;
mod replacement;
mod replica;

use super::BuildError;
pub(super) use replacement::Replacement;

use super::accumulate::Accumulated;
use super::configuration::{Configuration, specs};
use super::field::FieldSpec;
use super::kustomization::Kustomization;
use super::schema::Schema;

/// Reads a file for a field.
pub(super) type Read<'a> = dyn FnMut(&str, &str) -> Result<Vec<u8>, BuildError> + 'a;

/// Applies what a kustomization asks for.
pub(super) fn all(
    all: &mut Accumulated,
    kustomization: &Kustomization,
    schema: &Schema,
    read: &mut Read<'_>,
) -> Result<(), BuildError> {
    let Accumulated { resources, configuration, .. } = all;
    patch::apply_strategic(resources, &kustomization.patches_strategic_merge, schema, read)?;
    patch::apply(resources, &kustomization.patches, "patches", schema, read)?;
    namespace::apply(resources, &kustomization.namespace, &specs(&configuration.namespace))?;
    name::apply(resources, kustomization, configuration)?;
    label::apply(resources, kustomization, configuration)?;
    annotation::apply(resources, &kustomization.common_annotations, &specs(&configuration.common_annotations))?;
    patch::apply(resources, &kustomization.patches_json6902, "patchesJson6902", schema, read)?;
    replica::apply(resources, &kustomization.replicas, &specs(&configuration.replicas))?;
    image::apply(resources, &kustomization.images, &specs(&configuration.images))?;
    replacement::apply(resources, &kustomization.replacements, read)
}

/// Refuses a configuration that tells a built-in place of labels or annotations differently.
pub(super) fn check(configuration: &Configuration) -> Result<(), BuildError> {
    let labels = label::builtin();
    for (places, builtin) in
        [(&configuration.common_labels, labels.as_slice()), (&configuration.common_annotations, &annotation::FIELDS)]
    {
        for place in specs(places) {
            let same = |known: &&FieldSpec| FieldSpec { create: place.create, ..(*known).clone() } == place;
            if builtin.iter().find(same).is_some_and(|known| known.create != place.create) {
                let message = format!("conflicting fieldspecs: {} is told with and without create", place.path);
                return Err(BuildError::new("configurations", message));
            }
        }
    }
    Ok(())
}
