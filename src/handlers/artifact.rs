//! The objects of an artifact.

use std::collections::BTreeMap;

use crate::kustomize;
use crate::manifest::{self, Object};
use crate::registry::format::{self, Content};
use crate::worker::failure::because;
use crate::worker::{Failure, FailureKind};

/// The objects of an artifact's content: of its one text, of a kustomization at its root, else of all YAML files
/// in the order of their names.
///
/// # Errors
/// [`Failure`] of kind `Render`.
pub fn objects(content: Content) -> Result<Vec<Object>, Failure> {
    let files = match content {
        Content::Text(text) => {
            return Ok(manifest::read(&text)
                .map_err(because(FailureKind::Render))?
                .objects);
        }
        Content::Files(files) => files,
    };
    let files: BTreeMap<String, Vec<u8>> = files.into_iter().collect();
    if files.contains_key("kustomization.yaml") {
        let render = |message: String| Failure::new(FailureKind::Render, message);
        let objects = kustomize::build(
            &files,
            "",
            &kustomize::Options::default(),
            &kustomize::Alone,
        );
        let text = kustomize::print(&objects.map_err(|error| render(error.to_string()))?);
        let text = text.map_err(|error| render(error.to_string()))?;
        return Ok(manifest::read(text.as_bytes())
            .map_err(because(FailureKind::Render))?
            .objects);
    }
    let mut objects = Vec::new();
    for (name, content) in files.iter().filter(|(name, _)| format::is_yaml(name)) {
        let manifest = manifest::read(content).map_err(|error| {
            Failure::new(
                FailureKind::Render,
                format!("{name} in the artifact: {error}"),
            )
        })?;
        objects.extend(manifest.objects);
    }
    manifest::sort(&mut objects);
    Ok(objects)
}
