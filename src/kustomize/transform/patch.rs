//! `patches`: applies JSON patches and strategic merge patches.
//!
//! A patch that is a list is a JSON patch and needs a target. Any other patch is a strategic merge
//! patch: with a target it changes all selected objects, without one the object with its own id.
//!
//! ```yaml
//! # the kustomization
//! patches:
//! - target: {kind: Deployment}
//!   patch: '{kind: Deployment, metadata: {name: any}, spec: {replicas: 3}}'
//! # before
//! {apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: 1}}
//! # after
//! {apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: 3}}
//! ```

use std::rc::Rc;

use super::{Part, Transform};
use crate::kustomize::BuildError;
use crate::kustomize::load::setup::Setup;
use crate::kustomize::resource::json_patch::Operation;
use crate::kustomize::resource::selector::Selector;
use crate::kustomize::resource::strategic::{Index, StrategicMergePatch};
use crate::kustomize::resource::{Resource, document, json_patch, strategic};
use crate::kustomize::schema::openapi::Schema;
use crate::kustomize::schema::patch::{Patch, PatchOptions};
use crate::yaml::Node;

/// The name of an inline patch in errors.
pub(crate) const INLINE: &str = "the inline patch";

/// A parsed patch.
pub(crate) struct PatchTransformer {
    /// None if it is inline.
    file: Option<String>,
    selector: Option<Selector>,
    change: Change,
    index: Rc<Index>,
}

enum Change {
    Operations(Vec<Operation>),
    Merge {
        documents: Vec<Node>,
        options: PatchOptions,
        schema: Rc<Schema>,
    },
}

impl Patch {
    pub fn set_up(&self, setup: &mut Setup<'_, '_>) -> Result<PatchTransformer, BuildError> {
        let field = setup.field;
        let bad = |message: String| BuildError::new(field, message);
        let inline = self.patch.trim();
        let (text, file) = match (inline.is_empty(), self.path.is_empty()) {
            (false, true) => (inline.to_owned(), None),
            (true, false) => (setup.read_text(&self.path)?, Some(self.path.clone())),
            (true, true) => return Err(bad("must specify one of patch and path".into())),
            (false, false) => {
                return Err(bad("patch and path can't be set at the same time".into()));
            }
        };
        let failed =
            |message: String| bad(format!("{}: {message}", file.as_deref().unwrap_or(INLINE)));
        let unparsable =
            |message: String| failed(format!("unable to parse SM or JSON patch: {message}"));
        let selector = self.target.as_ref().map(Selector::new).transpose();
        let selector = selector.map_err(|message| bad(format!("target: {message}")))?;
        let change = match json_patch::parse(&text).map_err(failed)? {
            Some(_) if selector.is_none() => {
                return Err(failed("must specify a target for JSON patch".into()));
            }
            Some(operations) => Change::Operations(operations),
            None => {
                let options = self.options.unwrap_or_default();
                let documents = document::objects(&text).map_err(unparsable)?.into_iter();
                let documents = match (
                    &selector,
                    options.allow_name_change || options.allow_kind_change,
                ) {
                    (Some(_), _) => documents.map(strategic::with_string_metadata).collect(),
                    (None, true) => documents.map(strategic::with_string_annotations).collect(),
                    (None, false) => documents.collect(),
                };
                Change::Merge {
                    documents,
                    options,
                    schema: setup.schema.clone(),
                }
            }
        };
        Ok(PatchTransformer {
            file,
            selector,
            change,
            index: Rc::default(),
        })
    }
}

/// Returns the transformers for the patches of a kustomization. Consecutive patches that change no
/// name share an index.
pub(crate) fn from_entries(
    patches: &[Patch],
    setup: &mut Setup<'_, '_>,
) -> Result<Vec<PatchTransformer>, BuildError> {
    let mut index = Rc::<Index>::default();
    let mut all = Vec::new();
    for patch in patches {
        let mut transformer = patch.set_up(setup)?;
        if transformer.can_share_index() {
            transformer.index = index.clone();
        } else {
            index = Rc::default();
        }
        all.push(transformer);
    }
    Ok(all)
}

impl PatchTransformer {
    /// Returns true if the patch finds its object by id and cannot change a name.
    fn can_share_index(&self) -> bool {
        let Change::Merge { options, .. } = &self.change else {
            return false;
        };
        self.selector.is_none() && !options.allow_name_change && !options.allow_kind_change
    }
}

impl Transform for PatchTransformer {
    fn apply(&self, resources: &mut Vec<Resource>) -> Result<(), String> {
        let done = match (&self.change, &self.selector) {
            (Change::Operations(operations), Some(selector)) => {
                json_patch::apply(resources, operations, selector, json_patch::Names::Keep)
            }
            (Change::Operations(_), None) => Err("must specify a target for JSON patch".into()),
            (
                Change::Merge {
                    documents,
                    options,
                    schema,
                },
                selector,
            ) => {
                if selector.is_some() && documents.len() > 1 {
                    Err(
                        "an entry with several strategic merge patches must not have a target; use one entry per patch"
                            .into(),
                    )
                } else {
                    documents.iter().try_for_each(|patch| {
                        let strategic_patch = StrategicMergePatch {
                            patch,
                            options: *options,
                            schema,
                            is_copied: selector.is_some(),
                        };
                        match selector {
                            Some(selector) => strategic_patch
                                .apply_to_selected(resources, |resource| {
                                    selector.selects(resource)
                                }),
                            None => strategic_patch.apply_by_id(resources, &self.index),
                        }
                    })
                }
            }
        };
        done.map_err(|message| format!("{}: {message}", self.file.as_deref().unwrap_or(INLINE)))
    }

    fn parts(&self) -> Vec<Part<'_>> {
        vec![Part {
            entry: None,
            file: self.file.as_deref(),
            key: "patch",
            has_lines: true,
            work: Box::new(self),
        }]
    }
}
