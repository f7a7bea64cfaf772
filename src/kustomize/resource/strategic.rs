//! Applies strategic merge patches to resources: finds the resource and protects its identity.

use std::cell::RefCell;
use std::collections::HashMap;

use crate::kustomize::BuildError;
use crate::kustomize::go::json;
use crate::kustomize::resource::selector::Selector;
use crate::kustomize::resource::{Id, Resource, check_ids, document, merge, near};
use crate::kustomize::schema::openapi::{Schema, Shape};
use crate::kustomize::schema::patch::PatchOptions;
use crate::kustomize::tree::walk;
use crate::yaml::{Node, Style, Value};

/// Returns a patch as kustomize copies it for selected objects: label and annotation values become
/// strings, so a null removes none of them.
pub(crate) fn with_string_metadata(patch: Node) -> Node {
    let mut patch = with_string_annotations(patch);
    document::make_texts(&mut patch, "labels");
    patch
}

/// Like [`with_string_metadata`], but only for annotations, where kustomize stores the options of a
/// patch.
pub(crate) fn with_string_annotations(mut patch: Node) -> Node {
    document::make_texts(&mut patch, "annotations");
    patch
}

/// The positions of resources by name. Consecutive patches without options share an index, because
/// they change no name. It is built on first use, and again after a patch deleted a resource.
#[derive(Default)]
pub(crate) struct Index(RefCell<Option<HashMap<String, Vec<usize>>>>);

impl Index {
    /// Returns the positions of the resources that have or had an id.
    fn positions(&self, resources: &[Resource], id: &Id) -> Vec<usize> {
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
                .is_some_and(|resource| resource.has_or_had_id(id))
        });
        places
    }

    fn invalidate(&self) {
        *self.0.borrow_mut() = None;
    }
}

/// One strategic merge patch.
pub(crate) struct StrategicMergePatch<'a> {
    pub patch: &'a Node,
    pub options: PatchOptions,
    pub schema: &'a Schema,
    /// True if kustomize copies the patch for each object, with the object's version.
    pub is_copied: bool,
}

impl StrategicMergePatch<'_> {
    /// Patches the one object that has or had the patch's id.
    pub fn apply_by_id(
        &self,
        resources: &mut Vec<Resource>,
        index: &Index,
    ) -> Result<(), BuildError> {
        let id = Resource::new(self.patch.clone()).id();
        if id.kind.is_empty() || id.name.is_empty() {
            return Err(
                "without a target a strategic merge patch needs kind and metadata.name".into(),
            );
        }
        let at = match index.positions(resources, &id).as_slice() {
            [at] => *at,
            [] => {
                let message = format!("the patch is for {}, which the build lacks", id);
                let error = BuildError::at(self.patch.position, message);
                return Err(error.with_help(near::help_for(&id, resources)));
            }
            _ => {
                let message = format!("the patch is for {}, which several objects are or were", id);
                let error = BuildError::at(self.patch.position, message);
                return Err(error.with_help("select one by a target"));
            }
        };
        if let Some(resource) = resources.get_mut(at) {
            self.apply_to(resource)?;
            if document::is_empty(resource) {
                resources.remove(at);
                index.invalidate();
            }
        }
        if self.is_copied {
            check_ids(resources)
        } else {
            Ok(())
        }
    }

    /// Patches every selected object.
    pub fn apply_to_selected(
        &self,
        resources: &mut Vec<Resource>,
        selector: &Selector,
    ) -> Result<(), BuildError> {
        for resource in resources.iter_mut() {
            if selector.selects(resource)? {
                self.apply_to(resource)?;
            }
        }
        resources.retain(|resource| !document::is_empty(resource));
        if self.is_copied {
            check_ids(resources)
        } else {
            Ok(())
        }
    }

    /// Returns the shape of the object's kind, or if that is unknown the shape of the patch's kind.
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
        let of_object = self.schema.shape_of(&version, &text(object, "kind"));
        of_object.or_else(|| self.schema.shape_of(&patched, &text(self.patch, "kind")))
    }

    /// Patches one object. An object that the patch deletes is left empty. Kind and name change
    /// only if the options allow it; version and namespace never change.
    fn apply_to(&self, resource: &mut Resource) -> Result<(), BuildError> {
        let PatchOptions {
            allow_name_change: name,
            allow_kind_change: kind,
        } = self.options;
        let before = resource.id();
        if name || kind {
            resource.record_id();
        }
        let shape = self.shape(&resource.node);
        let nothing = Node::new(Value::Mapping(Vec::new()));
        let old = std::mem::replace(&mut resource.node, nothing);
        let mut patch = self.patch.clone();
        if let Value::Mapping(pairs) = &mut patch.value {
            pairs.retain(|(key, _)| key.as_str() != Some("apiVersion"));
        }
        let is_normalized = resource.is_json_normalized;
        let merged = merge::merge(old, &patch, shape, self.schema, is_normalized)
            .map_err(|error| error.about(&before))?;
        let Some(node) =
            merged.filter(|node| node.as_mapping().is_some_and(|pairs| !pairs.is_empty()))
        else {
            return Ok(());
        };
        resource.node = node;
        resource.is_json_normalized = false;
        if self.is_copied && resource.node.get("apiVersion").is_none() {
            walk::set(
                &mut resource.node,
                "apiVersion",
                Node::new(Value::Scalar("".into(), Style::Plain)),
            );
        }
        if !kind {
            walk::set(&mut resource.node, "kind", json::text(&before.kind));
        }
        if !name {
            resource.set_metadata("name", &before.name);
        }
        if resource.id().namespace != before.namespace {
            resource.set_namespace(&before.namespace);
        }
        json::decide(&mut resource.node);
        resource.update_aliased_values();
        document::quote_annotations(resource);
        Ok(())
    }
}
