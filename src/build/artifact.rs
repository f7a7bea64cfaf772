//! Reads the objects of an artifact.

use std::collections::BTreeMap;

use crate::kustomize::{self, BuildError};
use crate::manifest;
use crate::manifest::{ObjectSet, ReadError};
use crate::registry::format;
use crate::registry::format::Content;

/// Why an artifact gives no objects.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// Its text is no manifest.
    #[error(transparent)]
    Manifest(#[from] ReadError),
    /// The kustomization at its root cannot be built.
    #[error(transparent)]
    Kustomize(#[from] BuildError),
    /// One of its files is no manifest.
    #[error("{name} in the artifact: {source}")]
    File {
        /// The file's path in the artifact.
        name: String,
        /// Why.
        source: ReadError,
    },
}

/// Reads the objects of an artifact's content: those of its one text, of the kustomization at its
/// root, else of all YAML files in the order of their names.
///
/// # Errors
/// [`ArtifactError`] if a text is no manifest, or the kustomization cannot be built.
pub fn objects(content: Content) -> Result<ObjectSet, ArtifactError> {
    let files = match content {
        Content::Text(text) => return Ok(manifest::read(&text)?.into_set("the artifact")),
        Content::Files(files) => files,
    };
    let files: BTreeMap<String, Vec<u8>> = files.into_iter().collect();
    if files.contains_key("kustomization.yaml") {
        let built = kustomize::build(
            &files,
            "",
            &kustomize::BuildOptions::default(),
            &kustomize::NoHost,
        )?;
        return Ok(manifest::collect(built)?.into_set("the kustomization"));
    }
    let mut set = ObjectSet::default();
    for (name, content) in files.iter().filter(|(name, _)| format::is_yaml(name)) {
        let manifest = manifest::read(content).map_err(|source| ArtifactError::File {
            name: name.clone(),
            source,
        })?;
        let file = manifest.into_set(name);
        set.objects.extend(file.objects);
        set.left_out.extend(file.left_out);
    }
    manifest::sort(&mut set.objects);
    Ok(set)
}
