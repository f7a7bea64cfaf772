//! Strategic merge patches onto resources: which resource a patch is for, and what of it may change.

use std::cell::RefCell;
use std::collections::HashMap;

use serde::Deserialize;

use super::resource::{Id, Resource, check_ids};
use super::schema::{Schema, Shape};
use super::{document, field, json, merge};
use crate::yaml::{Node, Style, Value};

/// What a patch may change beside the content of an object.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Options {
    pub allow_name_change: bool,
    pub allow_kind_change: bool,
}

/// A patch as kustomize copies it for objects that are looked up: its labels and annotations are texts,
/// so that null removes none of them.
pub(super) fn with_texts(patch: Node) -> Node {
    let mut patch = with_text_annotations(patch);
    document::make_texts(&mut patch, "labels");
    patch
}

/// The same for annotations alone; a patch with options notes them there.
pub(super) fn with_text_annotations(mut patch: Node) -> Node {
    document::make_texts(&mut patch, "annotations");
    patch
}

/// Where the resources of each name stand. Patches without options, which change no name, share one
/// while they follow each other; it is made when it is first asked, and again after a patch has deleted
/// something.
#[derive(Default)]
pub(super) struct Index(RefCell<Option<HashMap<String, Vec<usize>>>>);

impl Index {
    /// The places of the resources that have, or had, an id.
    fn places(&self, resources: &[Resource], id: &Id) -> Vec<usize> {
        let mut known = self.0.borrow_mut();
        let by_name = known.get_or_insert_with(|| {
            let mut by_name: HashMap<String, Vec<usize>> = HashMap::with_capacity(resources.len());
            for (at, resource) in resources.iter().enumerate() {
                for id in resource.ids() {
                    by_name.entry(id.name).or_default().push(at);
                }
            }
            by_name
        });
        let mut places = by_name.get(&id.name).cloned().unwrap_or_default();
        places.dedup();
        places.retain(|at| {
            resources
                .get(*at)
                .is_some_and(|resource| resource.answers_to(id))
        });
        places
    }

    fn forget(&self) {
        *self.0.borrow_mut() = None;
    }
}

/// One strategic merge patch.
pub(super) struct Merging<'a> {
    pub patch: &'a Node,
    pub options: Options,
    pub schema: &'a Schema,
    /// Whether kustomize copies the patch for each object, with the object's version.
    pub is_copied: bool,
}

impl Merging<'_> {
    /// Patches the one object of the patch's own id.
    pub fn onto_its_own(&self, resources: &mut Vec<Resource>, index: &Index) -> Result<(), String> {
        let id = Resource::new(self.patch.clone()).id();
        if id.kind.is_empty() || id.name.is_empty() {
            return Err(
                "without a target a strategic merge patch needs kind and metadata.name".into(),
            );
        }
        let at = match index.places(resources, &id).as_slice() {
            [at] => *at,
            [] => {
                return Err(format!(
                    "no resource matches strategic merge patch \"{id}\": no matches for Id {id}; \
                     failed to find unique target for patch {id}"
                ));
            }
            _ => {
                return Err(format!(
                    "multiple matches for Id {id}; failed to find unique target for patch {id}"
                ));
            }
        };
        if let Some(resource) = resources.get_mut(at) {
            self.onto(resource)?;
            if document::is_empty(resource) {
                resources.remove(at);
                index.forget();
            }
        }
        if self.is_copied {
            check_ids(resources)
        } else {
            Ok(())
        }
    }

    /// Patches every object that is selected.
    pub fn onto_all(
        &self,
        resources: &mut Vec<Resource>,
        selects: impl Fn(&Resource) -> bool,
    ) -> Result<(), String> {
        for resource in resources.iter_mut().filter(|resource| selects(resource)) {
            self.onto(resource)?;
        }
        resources.retain(|resource| !document::is_empty(resource));
        if self.is_copied {
            check_ids(resources)
        } else {
            Ok(())
        }
    }

    /// The shape of an object, or of what the patch takes it for.
    fn shape(&self, object: &Node) -> Option<Shape> {
        let text = |node: &'_ Node, member: &str| {
            node.get(member)
                .and_then(Node::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let version = text(object, "apiVersion");
        let patched = if self.is_copied {
            version.clone()
        } else {
            text(self.patch, "apiVersion")
        };
        let of_object = self.schema.of(&version, &text(object, "kind"));
        of_object.or_else(|| self.schema.of(&patched, &text(self.patch, "kind")))
    }

    /// An object that the patch deletes is empty afterwards. Kind and name change only when the patch's
    /// options allow it, version and namespace never.
    fn onto(&self, resource: &mut Resource) -> Result<(), String> {
        let Options {
            allow_name_change: name,
            allow_kind_change: kind,
        } = self.options;
        let before = resource.id();
        if name || kind {
            resource.remember();
        }
        let shape = self.shape(&resource.node);
        let nothing = Node::new(Value::Mapping(Vec::new()));
        let old = std::mem::replace(&mut resource.node, nothing);
        let mut patch = self.patch.clone();
        if let Value::Mapping(pairs) = &mut patch.value {
            pairs.retain(|(key, _)| key.as_str() != Some("apiVersion"));
        }
        let merged = merge::merge(old, &patch, shape, self.schema)
            .map_err(|message| format!("{before}: {message}"))?;
        let Some(node) =
            merged.filter(|node| node.as_mapping().is_some_and(|pairs| !pairs.is_empty()))
        else {
            return Ok(());
        };
        resource.node = node;
        resource.is_plain = false;
        if self.is_copied && resource.node.get("apiVersion").is_none() {
            field::set(
                &mut resource.node,
                "apiVersion",
                Node::new(Value::Scalar("".into(), Style::Plain)),
            );
        }
        if !kind {
            field::set(&mut resource.node, "kind", json::text(&before.kind));
        }
        if !name {
            resource.set_metadata("name", &before.name);
        }
        if resource.id().namespace != before.namespace {
            resource.set_namespace(&before.namespace);
        }
        json::decide(&mut resource.node);
        resource.settle();
        document::quote_annotations(resource);
        Ok(())
    }
}
