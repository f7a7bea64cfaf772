//! `patchesStrategicMerge`: patches that look like the objects of their own ids.
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
use crate::kustomize::kustomization::Kustomization;
use crate::kustomize::resource::Resource;
use crate::kustomize::schema::Schema;
use crate::kustomize::setup::Setup;
use crate::kustomize::strategic::{self, Index, Merging, Options};
use crate::kustomize::{BuildError, document};
use crate::yaml::Node;

/// The config of a transformer.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Config {
    /// Names of files, or patches themselves.
    paths: Vec<String>,
    patches: String,
}

/// Patches that were read.
pub(super) struct Patches {
    documents: Vec<Document>,
    schema: Rc<Schema>,
    index: Index,
}

/// One of them.
struct Document {
    /// Which of the paths it is from.
    entry: usize,
    /// None if it is inline.
    file: Option<String>,
    patch: Node,
}

impl Config {
    pub fn set_up(self, setup: &mut Setup<'_, '_>) -> Result<Patches, BuildError> {
        let mut documents = Vec::new();
        let field = setup.field;
        let mut add = |entry: usize, text: &str, file: Option<&str>| {
            let failed = |message: String| {
                BuildError::new(field, format!("{}: {message}", file.unwrap_or(INLINE)))
            };
            let read = document::objects(text)
                .map_err(failed)?
                .into_iter()
                .map(strategic::with_texts);
            documents.extend(read.map(|patch| Document {
                entry,
                file: file.map(str::to_owned),
                patch,
            }));
            Ok(())
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
            return Err(BuildError::new(
                field,
                "there is no patch; it needs paths or patches",
            ));
        }
        Ok(Patches {
            documents,
            schema: setup.schema.clone(),
            index: Index::default(),
        })
    }
}

pub(super) fn of(
    kustomization: &Kustomization,
    setup: &mut Setup<'_, '_>,
) -> Result<Option<Patches>, BuildError> {
    let paths = kustomization.patches_strategic_merge.clone();
    if paths.is_empty() {
        return Ok(None);
    }
    Config {
        paths,
        patches: String::new(),
    }
    .set_up(setup)
    .map(Some)
}

impl Transform for Patches {
    fn apply(&self, resources: &mut Vec<Resource>) -> Result<(), String> {
        self.documents.iter().try_for_each(|document| {
            Patching {
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
            work: Box::new(Patching {
                document,
                patches: self,
            }),
        });
        parts.collect()
    }
}

/// One patch at work.
struct Patching<'a> {
    document: &'a Document,
    patches: &'a Patches,
}

impl Transform for Patching<'_> {
    fn apply(&self, resources: &mut Vec<Resource>) -> Result<(), String> {
        let Document { file, patch, .. } = self.document;
        let Patches { schema, index, .. } = self.patches;
        let merging = Merging {
            patch,
            options: Options::default(),
            schema,
            is_copied: true,
        };
        let origin = file.as_deref().unwrap_or(INLINE);
        merging
            .onto_its_own(resources, index)
            .map_err(|message| format!("{origin}: {message}"))
    }
}
