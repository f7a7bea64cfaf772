//! Strategic merge patches onto resources: which resource a patch is for, and what of it may change.

use serde::Deserialize;

use super::resource::{Resource, check_ids};
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
    pub fn onto_its_own(&self, resources: &mut Vec<Resource>) -> Result<(), String> {
        let id = Resource::new(self.patch.clone()).id();
        if id.kind.is_empty() || id.name.is_empty() {
            return Err("without a target a strategic merge patch needs kind and metadata.name".into());
        }
        let is_it = |resource: &Resource| resource.answers_to(&id);
        match resources.iter().filter(|resource| is_it(resource)).count() {
            0 => Err(format!(
                "no resource matches strategic merge patch \"{id}\": no matches for Id {id}; \
                 failed to find unique target for patch {id}"
            )),
            1 => self.onto_all(resources, is_it),
            _ => Err(format!("multiple matches for Id {id}; failed to find unique target for patch {id}")),
        }
    }

    /// Patches every object that is selected.
    pub fn onto_all(&self, resources: &mut Vec<Resource>, selects: impl Fn(&Resource) -> bool) -> Result<(), String> {
        for resource in resources.iter_mut().filter(|resource| selects(resource)) {
            self.onto(resource)?;
        }
        resources.retain(|resource| !document::is_empty(resource));
        if self.is_copied { check_ids(resources) } else { Ok(()) }
    }

    /// The shape of an object, or of what the patch takes it for.
    fn shape(&self, object: &Node) -> Option<Shape> {
        let text =
            |node: &'_ Node, member: &str| node.get(member).and_then(Node::as_str).unwrap_or_default().to_owned();
        let version = text(object, "apiVersion");
        let patched = if self.is_copied { version.clone() } else { text(self.patch, "apiVersion") };
        let of_object = self.schema.of(&version, &text(object, "kind"));
        of_object.or_else(|| self.schema.of(&patched, &text(self.patch, "kind")))
    }

    /// An object that the patch deletes is empty afterwards. Kind and name change only when the patch's
    /// options allow it, version and namespace never.
    fn onto(&self, resource: &mut Resource) -> Result<(), String> {
        let Options { allow_name_change: name, allow_kind_change: kind } = self.options;
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
        let merged = merge::merge(old, &patch, shape, self.schema).map_err(|message| format!("{before}: {message}"))?;
        let Some(node) = merged.filter(|node| node.as_mapping().is_some_and(|pairs| !pairs.is_empty())) else {
            return Ok(());
        };
        resource.node = node;
        resource.is_plain = false;
        if self.is_copied && resource.node.get("apiVersion").is_none() {
            field::set(&mut resource.node, "apiVersion", Node::new(Value::Scalar("".into(), Style::Plain)));
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
