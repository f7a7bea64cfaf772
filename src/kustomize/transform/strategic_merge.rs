//! `patchesStrategicMerge`: patches that look like the objects of their own ids.

use std::rc::Rc;

use serde::Deserialize;

use super::Transform;
use crate::kustomize::kustomization::Kustomization;
use crate::kustomize::resource::Resource;
use crate::kustomize::schema::Schema;
use crate::kustomize::setup::Setup;
use crate::kustomize::strategic::{self, Merging, Options};
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
    documents: Vec<(String, Node)>,
    schema: Rc<Schema>,
}

const INLINE: &str = "the inline patch";

impl Config {
    pub fn set_up(self, setup: &mut Setup<'_, '_>) -> Result<Patches, BuildError> {
        let mut documents = Vec::new();
        let field = setup.field;
        let mut add = |text: &str, origin: &str| {
            let failed = |message: String| BuildError::new(field, format!("{origin}: {message}"));
            let read = document::objects(text).map_err(failed)?;
            documents.extend(read.into_iter().map(|patch| (origin.to_owned(), strategic::with_texts(patch))));
            Ok(())
        };
        for entry in &self.paths {
            if entry.contains('\n') || entry.contains(": ") {
                add(entry, INLINE)?;
            } else {
                add(&setup.read_text(entry)?, entry)?;
            }
        }
        if !self.patches.is_empty() {
            add(&self.patches, INLINE)?;
        }
        if documents.is_empty() {
            return Err(BuildError::new(field, "there is no patch; it needs paths or patches"));
        }
        Ok(Patches { documents, schema: setup.schema.clone() })
    }
}

pub(super) fn of(kustomization: &Kustomization, setup: &mut Setup<'_, '_>) -> Result<Option<Patches>, BuildError> {
    let paths = kustomization.patches_strategic_merge.clone();
    if paths.is_empty() {
        return Ok(None);
    }
    Config { paths, patches: String::new() }.set_up(setup).map(Some)
}

impl Transform for Patches {
    fn apply(&self, resources: &mut Vec<Resource>) -> Result<(), String> {
        self.documents.iter().try_for_each(|(origin, patch)| {
            let merging = Merging { patch, options: Options::default(), schema: &self.schema, is_copied: true };
            merging.onto_its_own(resources).map_err(|message| format!("{origin}: {message}"))
        })
    }
}
