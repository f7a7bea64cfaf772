//! The transformers, one file each, in kustomize's order.

pub(super) mod patch_json;

mod annotation;
mod image;
mod label;
mod name;
mod namespace;
mod replica;

use super::BuildError;
use super::kustomization::Kustomization;
use super::resource::Resource;

/// Reads a file that a patch names.
pub(super) type Read<'a> = dyn FnMut(&str) -> Result<Vec<u8>, BuildError> + 'a;

/// Applies what a kustomization asks for.
pub(super) fn all(
    resources: &mut [Resource],
    kustomization: &Kustomization,
    read: &mut Read<'_>,
) -> Result<(), BuildError> {
    patch_json::apply(resources, &kustomization.patches, "patches", read)?;
    namespace::apply(resources, &kustomization.namespace);
    name::apply(resources, &kustomization.name_prefix, &kustomization.name_suffix);
    label::apply(resources, kustomization);
    annotation::apply(resources, &kustomization.common_annotations);
    patch_json::apply(resources, &kustomization.patches_json6902, "patchesJson6902", read)?;
    replica::apply(resources, &kustomization.replicas)?;
    image::apply(resources, &kustomization.images)
}
