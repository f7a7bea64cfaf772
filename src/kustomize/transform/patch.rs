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
        let inline = self.patch.trim();
        let (text, file) = match (inline.is_empty(), self.path.is_empty()) {
            (false, true) => (inline.to_owned(), None),
            (true, false) => (setup.read_text(&self.path)?, Some(self.path.clone())),
            (true, true) => return Err("must specify one of patch and path".into()),
            (false, false) => return Err("patch and path can't be set at the same time".into()),
        };
        let selector = self.target.as_ref().map(Selector::new).transpose();
        let selector = selector.map_err(|error| error.about("target"))?;
        let change = self
            .change(&text, selector.as_ref(), setup.schema)
            .map_err(|error| error.in_text(file.as_deref(), INLINE))?;
        Ok(PatchTransformer {
            file,
            selector,
            change,
            index: Rc::default(),
        })
    }

    fn change(
        &self,
        text: &str,
        selector: Option<&Selector>,
        schema: &Rc<Schema>,
    ) -> Result<Change, BuildError> {
        if let Some(operations) = json_patch::parse(text)? {
            return match selector {
                Some(_) => Ok(Change::Operations(operations)),
                None => Err("must specify a target for JSON patch".into()),
            };
        }
        let options = self.options.unwrap_or_default();
        let documents = document::objects(text)
            .map_err(|error| error.about("unable to parse SM or JSON patch"))?
            .into_iter();
        let may_rename = options.allow_name_change || options.allow_kind_change;
        let documents = match (selector, may_rename) {
            (Some(_), _) => documents.map(strategic::with_string_metadata).collect(),
            (None, true) => documents.map(strategic::with_string_annotations).collect(),
            (None, false) => documents.collect(),
        };
        Ok(Change::Merge {
            documents,
            options,
            schema: schema.clone(),
        })
    }
}

/// The index that consecutive patches share as long as none of them changes a name.
#[derive(Default)]
pub(crate) struct SharedIndex(Rc<Index>);

impl SharedIndex {
    /// Gives a patch the index of its neighbors.
    pub fn share(&mut self, mut patch: PatchTransformer) -> PatchTransformer {
        if patch.can_share_index() {
            patch.index = self.0.clone();
        } else {
            self.0 = Rc::default();
        }
        patch
    }
}

impl PatchTransformer {
    fn change_resources(&self, resources: &mut Vec<Resource>) -> Result<(), BuildError> {
        let (documents, options, schema) = match &self.change {
            Change::Operations(operations) => {
                let selector = self.selector.as_ref();
                let selector = selector.ok_or("must specify a target for JSON patch")?;
                return json_patch::apply(resources, operations, selector, json_patch::Names::Keep);
            }
            Change::Merge {
                documents,
                options,
                schema,
            } => (documents, *options, schema),
        };
        if self.selector.is_some() && documents.len() > 1 {
            return Err(
                "an entry with several strategic merge patches must not have a target; \
                        use one entry per patch"
                    .into(),
            );
        }
        documents.iter().try_for_each(|patch| {
            let strategic_patch = StrategicMergePatch {
                patch,
                options,
                schema,
                is_copied: self.selector.is_some(),
            };
            match &self.selector {
                Some(selector) => strategic_patch.apply_to_selected(resources, selector),
                None => strategic_patch.apply_by_id(resources, &self.index),
            }
        })
    }

    /// Returns true if the patch finds its object by id and cannot change a name.
    fn can_share_index(&self) -> bool {
        let Change::Merge { options, .. } = &self.change else {
            return false;
        };
        self.selector.is_none() && !options.allow_name_change && !options.allow_kind_change
    }
}

impl Transform for PatchTransformer {
    fn apply(&self, resources: &mut Vec<Resource>) -> Result<(), BuildError> {
        self.change_resources(resources)
            .map_err(|error| error.in_text(self.file.as_deref(), INLINE))
    }

    fn unmatched(&self, resources: &[Resource]) -> Vec<BuildError> {
        let selector = self.selector.as_ref();
        let note = selector.and_then(|selector| selector.unmatched(resources, Selector::selects));
        note.map(|note| note.below("target")).into_iter().collect()
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
