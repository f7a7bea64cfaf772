//! The objects of a manifest that is built.

use crate::clients::Secrets;
use crate::manifest::{Manifest, Object};
use crate::worker::{Context, FailureKind, StepFailure};

/// Takes the objects of a manifest, which must hold some. Logs the documents that are ignored, and
/// registers the values of Secrets with the redactor.
pub fn read_objects(
    manifest: Manifest,
    secrets: &mut Secrets,
    context: &Context,
) -> Result<Vec<Object>, StepFailure> {
    secrets.learn_objects(&context.redactor, &manifest.objects);
    for document in &manifest.left_out {
        let sentence = document.sentence("manifest");
        context.log.warn(format!("{sentence}; it is left out"));
    }
    if manifest.objects.is_empty() {
        return Err(StepFailure::new(
            FailureKind::Render,
            "the manifest holds no objects, so there is nothing to deploy",
        ));
    }
    Ok(manifest.objects)
}
