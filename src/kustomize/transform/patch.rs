//! `patches`, `patchesStrategicMerge` and `patchesJson6902`: which objects a patch changes, and how.
//!
//! A patch that is a list is a JSON patch and needs a target. Any other is a strategic merge patch:
//! with a target it changes all that the target selects, without one the object of its own id.

use std::collections::BTreeMap;

use super::{Read, patch_json};
use crate::kustomize::kustomization::Patch;
use crate::kustomize::resource::Resource;
use crate::kustomize::schema::Schema;
use crate::kustomize::selector::Selector;
use crate::kustomize::{BuildError, document, json, merge};
use crate::yaml::{Node, Value};

/// Applies the entries of `patches` or `patchesJson6902`, in order.
pub(in crate::kustomize) fn apply(
    resources: &mut Vec<Resource>,
    patches: &[Patch],
    field: &str,
    schema: &Schema,
    read: &mut Read<'_>,
) -> Result<(), BuildError> {
    for patch in patches {
        let bad = |message: String| BuildError::new(field, message);
        let (text, origin) = match (patch.patch.is_empty(), patch.path.is_empty()) {
            (false, true) => (patch.patch.clone(), "the inline patch".to_owned()),
            (true, false) => (text_of(&patch.path, field, read)?, patch.path.clone()),
            (true, true) => return Err(bad("a patch needs patch or path".into())),
            (false, false) => return Err(bad("a patch has both patch and path; only one is allowed".into())),
        };
        let failed = |message: String| bad(format!("{origin}: {message}"));
        let selector = patch.target.as_ref().map(Selector::new).transpose();
        let selector = selector.map_err(|message| bad(format!("target: {message}")))?;
        if let Some(operations) = patch_json::parse(&text).map_err(failed)? {
            let selector = selector.ok_or_else(|| failed("a JSON patch needs a target".into()))?;
            patch_json::apply(resources, &operations, &selector).map_err(failed)?;
            continue;
        }
        if field == "patchesJson6902" {
            return Err(failed("it is not a JSON patch".into()));
        }
        let documents = strategic(&text).map_err(failed)?;
        if selector.is_some() && documents.len() > 1 {
            let message = "several strategic merge patches in one entry must not have a target; make an entry of each";
            return Err(failed(message.into()));
        }
        let options = patch.options.clone().unwrap_or_default();
        for document in &documents {
            let merging = Merging { patch: document, options: &options, schema };
            match &selector {
                Some(selector) => merging.onto_all(resources, |resource| selector.selects(resource)),
                None => merging.onto_its_own(resources),
            }
            .map_err(failed)?;
        }
    }
    Ok(())
}

/// Applies the entries of `patchesStrategicMerge`: texts, or names of files.
pub(super) fn apply_strategic(
    resources: &mut Vec<Resource>,
    entries: &[String],
    schema: &Schema,
    read: &mut Read<'_>,
) -> Result<(), BuildError> {
    let field = "patchesStrategicMerge";
    for entry in entries {
        let is_inline = entry.contains('\n') || entry.contains(": ");
        let (text, origin) = match is_inline {
            true => (entry.clone(), "the inline patch"),
            false => (text_of(entry, field, read)?, entry.as_str()),
        };
        let failed = |message: String| BuildError::new(field, format!("{origin}: {message}"));
        for document in strategic(&text).map_err(failed)? {
            let merging = Merging { patch: &document, options: &BTreeMap::new(), schema };
            merging.onto_its_own(resources).map_err(failed)?;
        }
    }
    Ok(())
}

fn text_of(path: &str, field: &str, read: &mut Read<'_>) -> Result<String, BuildError> {
    let bytes = read(path, field)?;
    String::from_utf8(bytes).map_err(|_| BuildError::new(field, format!("{path} is not UTF-8")))
}

fn strategic(text: &str) -> Result<Vec<Node>, String> {
    let documents = document::documents(text).map_err(|error| format!("it is not valid YAML: {error}"))?;
    match documents.iter().find(|document| document.as_mapping().is_none()) {
        Some(document) => Err(format!("it is {} where an object is expected", document.kind())),
        None if documents.is_empty() => Err("it is empty".into()),
        None => Ok(documents),
    }
}

/// One strategic merge patch.
struct Merging<'a> {
    patch: &'a Node,
    options: &'a BTreeMap<String, bool>,
    schema: &'a Schema,
}

impl Merging<'_> {
    /// Patches the one object of the patch's own id.
    fn onto_its_own(&self, resources: &mut Vec<Resource>) -> Result<(), String> {
        let id = Resource::new(self.patch.clone()).id();
        if id.kind.is_empty() || id.name.is_empty() {
            return Err("without a target a strategic merge patch needs kind and metadata.name".into());
        }
        let is_it = |resource: &Resource| resource.ids().iter().any(|known| known.equals(&id));
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
    fn onto_all(&self, resources: &mut Vec<Resource>, selects: impl Fn(&Resource) -> bool) -> Result<(), String> {
        let mut kept = Vec::with_capacity(resources.len());
        for resource in resources.drain(..) {
            if selects(&resource) {
                kept.extend(self.onto(resource)?);
            } else {
                kept.push(resource);
            }
        }
        *resources = kept;
        Ok(())
    }

    /// Nothing is left of an object that the patch deletes. Kind and name change only when the patch's
    /// options allow it, version and namespace never.
    fn onto(&self, mut resource: Resource) -> Result<Option<Resource>, String> {
        let allows = |option: &str| self.options.get(option).copied().unwrap_or_default();
        let (name, kind) = (allows("allowNameChange"), allows("allowKindChange"));
        let before = resource.id();
        if name || kind {
            resource.remember();
        }
        let placeholder = Node::new(Value::Sequence(Vec::new()));
        let old = std::mem::replace(&mut resource.node, placeholder);
        let mut patch = self.patch.clone();
        if let Value::Mapping(pairs) = &mut patch.value {
            pairs.retain(|(key, _)| key.as_str() != Some("apiVersion"));
        }
        let merged = merge::merge(old, &patch, self.schema).map_err(|message| format!("{before}: {message}"))?;
        let Some(node) = merged.filter(|node| node.as_mapping().is_some_and(|pairs| !pairs.is_empty())) else {
            return Ok(None);
        };
        resource.node = node;
        if !kind {
            crate::kustomize::field::set(&mut resource.node, "kind", json::text(&before.kind));
        }
        if !name {
            resource.set_metadata("name", &before.name);
        }
        if resource.id().namespace != before.namespace {
            resource.set_namespace(&before.namespace);
        }
        document::quote_annotations(&mut resource);
        Ok(Some(resource))
    }
}
