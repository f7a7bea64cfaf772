//! `images`: changes names, tags and digests of container images.
//!
//! ```yaml
//! # the kustomization
//! images: [{name: nginx, newTag: "2"}]
//! # before
//! {apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {containers: [{name: app, image: "nginx:1"}]}}
//! # after
//! {apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {containers: [{name: app, image: "nginx:2"}]}}
//! ```

use std::collections::{BTreeSet, HashSet};

use regex::Regex;
use serde::Deserialize;

use super::Transform;
use crate::base::nearest::nearest;
use crate::kustomize::BuildError;
use crate::kustomize::go::pattern::PatternError;
use crate::kustomize::go::{json, pattern};
use crate::kustomize::resource::{Resource, check_ids};
use crate::kustomize::schema::configuration::Configuration;
use crate::kustomize::schema::field_spec::FieldSpec;
use crate::kustomize::schema::kustomization::Image;
use crate::kustomize::tree::walk;
use crate::yaml::{Node, Value};

/// Pattern of what may follow the name of an image: a tag and a digest.
const AFTER_NAME: &str =
    "(:[a-zA-Z0-9_.{}-]*)?(@[a-zA-Z0-9]+([.+_-][a-zA-Z0-9]+)*:[a-zA-Z0-9_.{}-]*)?$";

/// Changes the name, tag or digest of one image.
pub(crate) struct ImageTagTransformer {
    image: Image,
    /// Matches the images to change. `None` if the name is no pattern: it matches nothing.
    pattern: Option<Regex>,
    fields: Vec<FieldSpec>,
}

/// The config of an `ImageTagTransformer`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ImageTagConfig {
    image_tag: Image,
    field_specs: Vec<FieldSpec>,
}

impl ImageTagConfig {
    pub fn compile(self) -> Result<ImageTagTransformer, BuildError> {
        // kustomize puts the name into the pattern as it is, without a group around it.
        let name = &self.image_tag.name;
        let pattern = format!("^{name}{AFTER_NAME}");
        let pattern = match pattern::compile(&pattern) {
            Ok(pattern) => Some(pattern),
            Err(PatternError::Invalid(_)) => None,
            Err(error) => return Err(error.into()),
        };
        Ok(ImageTagTransformer {
            pattern,
            image: self.image_tag,
            fields: self.field_specs,
        })
    }
}

pub(crate) fn from_entry(
    image: &Image,
    configuration: &Configuration,
) -> Result<ImageTagTransformer, BuildError> {
    let config = ImageTagConfig {
        image_tag: image.clone(),
        field_specs: configuration.images.clone(),
    };
    config.compile()
}

impl Transform for ImageTagTransformer {
    fn apply(&self, resources: &mut Vec<Resource>) -> Result<(), BuildError> {
        let mut change = |node: &mut Node| {
            let kind = node.kind();
            let text = node
                .as_str()
                .ok_or_else(|| format!("an image must be a string, not {kind}"))?;
            if self
                .pattern
                .as_ref()
                .is_some_and(|pattern| pattern.is_match(text))
            {
                *node = json::text(&renamed(&self.image, text));
            }
            Ok(())
        };
        for resource in resources.iter_mut() {
            let id = resource.id();
            if id.kind == "CustomResourceDefinition" {
                continue;
            }
            // kustomize visits containers twice, here and through the field specs, so it adds a tag
            // suffix twice.
            visit_container_images(&mut resource.node, &mut change)
                .map_err(|error| error.about(&id))?;
            for field in self.fields.iter().filter(|field| field.selects(&id)) {
                field
                    .visit_present(&mut resource.node, &mut change)
                    .map_err(|error| error.about(&id))?;
            }
        }
        check_ids(resources)
    }

    fn unmatched(&self, resources: &[Resource]) -> Vec<BuildError> {
        let keys = self
            .fields
            .iter()
            .filter_map(|field| field.path.rsplit('/').next());
        let keys: HashSet<&str> = keys.chain(["image"]).collect();
        let mut names = BTreeSet::new();
        let is_named = |text: &str| {
            self.pattern
                .as_ref()
                .is_some_and(|pattern| pattern.is_match(text))
        };
        if resources
            .iter()
            .any(|resource| has_image(&resource.node, &keys, &is_named, &mut names))
        {
            return Vec::new();
        }
        let name = &self.image.name;
        let near = nearest(name, names.iter().map(String::as_str));
        let note = BuildError::new(format!("no object has the image {name}"));
        vec![note.suggest(near).in_field("name")]
    }
}

/// Returns true if a text of one of the keys fits. Collects the names of the others, without tag and
/// digest.
fn has_image(
    node: &Node,
    keys: &HashSet<&str>,
    fits: &dyn Fn(&str) -> bool,
    names: &mut BTreeSet<String>,
) -> bool {
    match &node.value {
        Value::Scalar(..) => false,
        Value::Sequence(items) => items.iter().any(|item| has_image(item, keys, fits, names)),
        Value::Mapping(pairs) => pairs.iter().any(|(key, value)| {
            let is_image = key.as_str().is_some_and(|key| keys.contains(key));
            match value.as_str().filter(|_| is_image) {
                Some(text) if fits(text) => true,
                Some(text) => {
                    names.insert(split(text).0.to_owned());
                    false
                }
                None => has_image(value, keys, fits, names),
            }
        }),
    }
}

/// Calls `change` on every `image` in a list named `containers` or `initContainers`, at any depth.
fn visit_container_images(
    node: &mut Node,
    change: &mut walk::ChangeNode<'_>,
) -> Result<(), BuildError> {
    match &mut node.value {
        Value::Scalar(..) => Ok(()),
        Value::Sequence(items) => items
            .iter_mut()
            .try_for_each(|item| visit_container_images(item, change)),
        Value::Mapping(pairs) => pairs.iter_mut().try_for_each(|(key, value)| {
            if matches!(key.as_str(), Some("containers" | "initContainers"))
                && let Value::Sequence(items) = &mut value.value
            {
                items
                    .iter_mut()
                    .filter_map(|item| walk::get_mut(item, "image"))
                    .try_for_each(&mut *change)?;
            }
            visit_container_images(value, change)
        }),
    }
}

/// Splits an image into name, tag and digest.
fn split(text: &str) -> (&str, Option<&str>, Option<&str>) {
    let (rest, digest) = text
        .split_once('@')
        .map_or((text, None), |(rest, digest)| (rest, Some(digest)));
    // A colon before the last slash separates a port.
    let tag_at = rest
        .rfind(':')
        .filter(|at| rest.rfind('/').is_none_or(|slash| slash < *at));
    match tag_at {
        Some(at) => (&rest[..at], Some(&rest[at + 1..]), digest),
        None => (rest, None, digest),
    }
}

fn renamed(image: &Image, text: &str) -> String {
    let (name, old_tag, old_digest) = split(text);
    let name = if image.new_name.is_empty() {
        name
    } else {
        &image.new_name
    };
    let set = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let (tag, digest) = match (set(&image.new_tag), set(&image.digest)) {
        (Some(tag), digest) => (Some(tag), digest),
        (None, Some(digest)) => (None, Some(digest)),
        (None, None) if !image.tag_suffix.is_empty() => (
            Some(format!(
                "{}{}",
                old_tag.unwrap_or_default(),
                image.tag_suffix
            )),
            None,
        ),
        (None, None) => (old_tag.map(str::to_owned), old_digest.map(str::to_owned)),
    };
    let tag = tag.map(|tag| format!(":{tag}")).unwrap_or_default();
    let digest = digest
        .map(|digest| format!("@{digest}"))
        .unwrap_or_default();
    format!("{name}{tag}{digest}")
}
