//! `patchesStrategicMerge`: applies patches to the objects with the same ids.
//!
//! ```yaml
//! # the kustomization
//! patchesStrategicMerge:
//! - '{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: 3}}'
//! # before
//! {apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: 1}}
//! # after
//! {apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: 3}}
//! ```

use std::rc::Rc;

use serde::Deserialize;

use super::patch::INLINE;
use super::{Part, Transform};
use crate::kustomize::BuildError;
use crate::kustomize::error::PathStep;
use crate::kustomize::load::setup::Setup;
use crate::kustomize::resource::strategic::{Index, StrategicMergePatch};
use crate::kustomize::resource::{Resource, document, strategic};
use crate::kustomize::schema::kustomization::Kustomization;
use crate::kustomize::schema::openapi::Schema;
use crate::kustomize::schema::patch::PatchOptions;
use crate::yaml::Node;

/// The config of a `PatchStrategicMergeTransformer`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct StrategicMergeConfig {
    /// File names, or inline patches.
    paths: Vec<String>,
    patches: String,
}

/// The parsed patches.
pub(crate) struct Patches {
    documents: Vec<Document>,
    schema: Rc<Schema>,
    index: Index,
}

/// One patch document.
struct Document {
    /// The index in `paths`; one past the end for `patches`.
    entry: usize,
    /// None if it is inline.
    file: Option<String>,
    patch: Node,
}

impl StrategicMergeConfig {
    pub fn set_up(self, setup: &mut Setup<'_, '_>) -> Result<Patches, BuildError> {
        let mut documents = Vec::new();
        let mut add = |entry: usize, text: &str, file: Option<&str>| {
            let read = document::objects(text)
                .map_err(|error| error.in_text(file, INLINE).below(PathStep::Item(entry)))?
                .into_iter()
                .map(strategic::with_string_metadata);
            documents.extend(read.map(|patch| Document {
                entry,
                file: file.map(str::to_owned),
                patch,
            }));
            Ok::<_, BuildError>(())
        };
        for (entry, path) in self.paths.iter().enumerate() {
            if path.contains('\n') || path.contains(": ") {
                add(entry, path, None)?;
            } else {
                add(entry, &setup.read_text(path)?, Some(path))?;
            }
        }
        if !self.patches.is_empty() {
            add(self.paths.len(), &self.patches, None)?;
        }
        if documents.is_empty() {
            return Err("no patch is given; set paths or patches".into());
        }
        Ok(Patches {
            documents,
            schema: setup.schema.clone(),
            index: Index::default(),
        })
    }
}

pub(crate) fn from_kustomization(
    kustomization: &Kustomization,
    setup: &mut Setup<'_, '_>,
) -> Result<Option<Patches>, BuildError> {
    let paths = kustomization.patches_strategic_merge.clone();
    if paths.is_empty() {
        return Ok(None);
    }
    StrategicMergeConfig {
        paths,
        patches: String::new(),
    }
    .set_up(setup)
    .map(Some)
}

impl Transform for Patches {
    fn apply(&self, resources: &mut Vec<Resource>) -> Result<(), BuildError> {
        self.documents.iter().try_for_each(|document| {
            DocumentPatch {
                document,
                patches: self,
            }
            .apply(resources)
        })
    }

    fn parts(&self) -> Vec<Part<'_>> {
        let parts = self.documents.iter().map(|document| Part {
            entry: Some(document.entry),
            file: document.file.as_deref(),
            key: "",
            has_lines: true,
            work: Box::new(DocumentPatch {
                document,
                patches: self,
            }),
        });
        parts.collect()
    }
}

/// Applies one document of the patches.
struct DocumentPatch<'a> {
    document: &'a Document,
    patches: &'a Patches,
}

impl Transform for DocumentPatch<'_> {
    fn apply(&self, resources: &mut Vec<Resource>) -> Result<(), BuildError> {
        let Document { entry, file, patch } = self.document;
        let Patches { schema, index, .. } = self.patches;
        let strategic_patch = StrategicMergePatch {
            patch,
            options: PatchOptions::default(),
            schema,
            is_copied: true,
        };
        strategic_patch
            .apply_by_id(resources, index)
            .map_err(|error| {
                let error = error.in_text(file.as_deref(), INLINE);
                error.below(PathStep::Item(*entry))
            })
    }
}
