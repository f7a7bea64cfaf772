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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_that_are_left_out_are_told_whatever_the_artifact_holds() {
        const LEFT_OUT: &str =
            "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n---\n";
        let object = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";
        let text = Content::Text(format!("{LEFT_OUT}{object}").into_bytes());
        let files = Content::Files(vec![
            ("a.yaml".to_owned(), object.into()),
            ("b.yaml".to_owned(), LEFT_OUT.into()),
        ]);
        for (content, place) in [(text, "the artifact:1:1:"), (files, "b.yaml:1:1:")] {
            let set = objects(content).unwrap();
            assert_eq!(set.objects.len(), 1);
            assert_eq!(set.left_out.len(), 1, "{place}");
            assert!(set.left_out[0].starts_with(place), "{:?}", set.left_out);
        }
    }
}
