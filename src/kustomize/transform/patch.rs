//! `patches`: which objects a patch changes, and how.
//!
//! A patch that is a list is a JSON patch and needs a target. Any other is a strategic merge patch:
//! with a target it changes all that the target selects, without one the object of its own id.
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

use serde::Deserialize;

use super::{Part, Transform};
use crate::kustomize::json_patch::{self, Operation};
use crate::kustomize::resource::Resource;
use crate::kustomize::schema::Schema;
use crate::kustomize::selector::{Selector, Target};
use crate::kustomize::setup::Setup;
use crate::kustomize::strategic::{self, Index, Merging, Options};
use crate::kustomize::{BuildError, document};
use crate::yaml::Node;

/// An entry of `patches` or `patchesJson6902`, and the config of a transformer.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in crate::kustomize) struct Patch {
    pub path: String,
    pub patch: String,
    pub target: Option<Target>,
    pub options: Option<Options>,
}

/// What an inline patch is called in errors.
pub(super) const INLINE: &str = "the inline patch";

/// A patch that was read.
pub(in crate::kustomize) struct Patching {
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
        options: Options,
        schema: Rc<Schema>,
    },
}

impl Patch {
    pub fn set_up(&self, setup: &mut Setup<'_, '_>) -> Result<Patching, BuildError> {
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
        let unable =
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
                let documents = document::objects(&text).map_err(unable)?.into_iter();
                let documents = match (
                    &selector,
                    options.allow_name_change || options.allow_kind_change,
                ) {
                    (Some(_), _) => documents.map(strategic::with_texts).collect(),
                    (None, true) => documents.map(strategic::with_text_annotations).collect(),
                    (None, false) => documents.collect(),
                };
                Change::Merge {
                    documents,
                    options,
                    schema: setup.schema.clone(),
                }
            }
        };
        Ok(Patching {
            file,
            selector,
            change,
            index: Rc::default(),
        })
    }
}

/// The patches of a kustomization.
pub(super) fn of(
    patches: &[Patch],
    setup: &mut Setup<'_, '_>,
) -> Result<Vec<Patching>, BuildError> {
    let mut index = Rc::<Index>::default();
    let mut all = Vec::new();
    for patch in patches {
        let mut patching = patch.set_up(setup)?;
        if patching.keeps_names() {
            patching.index = index.clone();
        } else {
            index = Rc::default();
        }
        all.push(patching);
    }
    Ok(all)
}

impl Patching {
    /// Whether it can change no name, and finds its object by one.
    fn keeps_names(&self) -> bool {
        let Change::Merge { options, .. } = &self.change else {
            return false;
        };
        self.selector.is_none() && !options.allow_name_change && !options.allow_kind_change
    }
}

impl Transform for Patching {
    fn apply(&self, resources: &mut Vec<Resource>) -> Result<(), String> {
        let done = match (&self.change, &self.selector) {
            (Change::Operations(operations), Some(selector)) => {
                json_patch::apply(resources, operations, selector, json_patch::Names::Kept)
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
                        "several strategic merge patches in one entry must not have a target; \
                         make an entry of each"
                            .into(),
                    )
                } else {
                    documents.iter().try_for_each(|patch| {
                        let merging = Merging {
                            patch,
                            options: *options,
                            schema,
                            is_copied: selector.is_some(),
                        };
                        match selector {
                            Some(selector) => {
                                merging.onto_all(resources, |resource| selector.selects(resource))
                            }
                            None => merging.onto_its_own(resources, &self.index),
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
