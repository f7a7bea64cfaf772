//! The transformers, one file each, in kustomize's order.

pub(super) mod patch;

mod annotation;
mod image;
mod label;
mod name;
mod namespace;
mod patch_json;
mod replica;

use super::BuildError;
use super::kustomization::Kustomization;
use super::resource::Resource;
use super::schema::Schema;

/// Reads a file that a patch names.
pub(super) type Read<'a> = dyn FnMut(&str) -> Result<Vec<u8>, BuildError> + 'a;

/// Applies what a kustomization asks for.
pub(super) fn all(
    resources: &mut Vec<Resource>,
    kustomization: &Kustomization,
    schema: &Schema,
    read: &mut Read<'_>,
) -> Result<(), BuildError> {
    patch::apply_strategic(resources, &kustomization.patches_strategic_merge, schema, read)?;
    patch::apply(resources, &kustomization.patches, "patches", schema, read)?;
    namespace::apply(resources, &kustomization.namespace);
    name::apply(resources, &kustomization.name_prefix, &kustomization.name_suffix);
    label::apply(resources, kustomization);
    annotation::apply(resources, &kustomization.common_annotations);
    patch::apply(resources, &kustomization.patches_json6902, "patchesJson6902", schema, read)?;
    replica::apply(resources, &kustomization.replicas)?;
    image::apply(resources, &kustomization.images)
}
