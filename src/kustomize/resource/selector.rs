//! Selects resources: anchored patterns on the parts of an id, and label and annotation selectors.
#![expect(
    clippy::indexing_slicing,
    reason = "indexes come from the lengths of the same lists"
)]

use std::collections::HashMap;

use regex::Regex;

use crate::kustomize::BuildError;
use crate::kustomize::go::pattern;
use crate::kustomize::resource::label_selector::LabelSelector;
use crate::kustomize::resource::{Id, Resource, near};
use crate::kustomize::schema::patch::Target;

/// A compiled [`Target`].
pub(crate) struct Selector {
    parts: [Option<Regex>; 5],
    /// An error counts once a resource fits all parts.
    labels: Result<LabelSelector, BuildError>,
    annotations: Result<LabelSelector, BuildError>,
    /// What is wanted, for messages.
    wanted: Id,
}

impl Selector {
    pub fn new(target: &Target) -> Result<Self, BuildError> {
        let parts = [
            &target.group,
            &target.version,
            &target.kind,
            &target.name,
            &target.namespace,
        ];
        let mut compiled = [const { None }; 5];
        for (slot, text) in compiled.iter_mut().zip(parts) {
            if !text.is_empty() {
                *slot = Some(pattern::compile_anchored(text)?);
            }
        }
        Ok(Self {
            parts: compiled,
            labels: LabelSelector::parse(&target.label_selector),
            annotations: LabelSelector::parse(&target.annotation_selector),
            wanted: target.id(),
        })
    }

    /// Returns a note if `selects` holds for none of the resources.
    pub fn unmatched(
        &self,
        resources: &[Resource],
        selects: impl Fn(&Self, &Resource) -> Result<bool, BuildError>,
    ) -> Option<BuildError> {
        let is_selected = |resource| selects(self, resource).unwrap_or(true);
        if resources.iter().any(is_selected) {
            return None;
        }
        let subject = self.wanted.to_string();
        let message = match subject.is_empty() {
            true => "it selects no object".to_owned(),
            false => format!("it selects no object: {subject}"),
        };
        Some(BuildError::new(message).with_help(near::help_for(&self.wanted, resources)))
    }

    /// Returns true if the resource is the target of a patch. The name may be the original or the
    /// present one, and so may, independently, the namespace; group, version and kind are the
    /// present ones.
    ///
    /// # Errors
    /// Fails if the resource fits, but the label or annotation selector cannot be parsed.
    pub fn selects(&self, resource: &Resource) -> Result<bool, BuildError> {
        let (original, present) = (resource.original_id(), resource.id());
        let either = |fits: &dyn Fn(&Id) -> bool| fits(&original) || fits(&present);
        let fits = self.fits(0, &present.group)
            && self.fits(1, &present.version)
            && self.fits(2, &present.kind)
            && either(&|id| self.fits(3, &id.name))
            && either(&|id| self.fits(4, id.effective_namespace()));
        Ok(fits && self.fits_metadata(resource)?)
    }

    /// Returns true if the resource fits by its present id or a previous one, whose kind, name and
    /// namespace then all count. Group and version are the present ones.
    ///
    /// # Errors
    /// Fails if the label or annotation selector cannot be parsed.
    pub fn selects_any_id(&self, resource: &Resource) -> Result<bool, BuildError> {
        let fits_metadata = self.fits_metadata(resource)?;
        let present = resource.id();
        let is = |id: &Id, namespace: &str| {
            self.fits(2, &id.kind) && self.fits(3, &id.name) && self.fits(4, namespace)
        };
        let mut previous = resource.previous_ids.iter();
        Ok(fits_metadata
            && self.fits(0, &present.group)
            && self.fits(1, &present.version)
            && (is(&present, &present.namespace)
                || previous.any(|id| is(id, id.effective_namespace()))))
    }

    fn fits(&self, part: usize, text: &str) -> bool {
        self.parts[part]
            .as_ref()
            .is_none_or(|pattern| pattern.is_match(text))
    }

    fn fits_metadata(&self, resource: &Resource) -> Result<bool, BuildError> {
        for (selector, map) in [(&self.labels, "labels"), (&self.annotations, "annotations")] {
            let selector = selector.as_ref();
            let selector = selector.map_err(|error| error.clone().about("target"))?;
            if !selector.is_empty() && !selector.matches(&metadata_map(resource, map)) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn metadata_map<'a>(resource: &'a Resource, map: &str) -> HashMap<&'a str, &'a str> {
    let pairs = resource
        .node
        .get("metadata")
        .and_then(|metadata| metadata.get(map))
        .and_then(|map| map.as_mapping());
    pairs
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.as_str()?, value.as_str()?)))
        .collect()
}
