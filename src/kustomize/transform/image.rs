//! `images`: other names, tags and digests for the images of containers.
//!
//! ```yaml
//! # the kustomization
//! images: [{name: nginx, newTag: "2"}]
//! # before
//! {apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {containers: [{name: app, image: "nginx:1"}]}}
//! # after
//! {apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {containers: [{name: app, image: "nginx:2"}]}}
//! ```

use regex::Regex;
use serde::Deserialize;

use super::Transform;
use crate::kustomize::configuration::{Configuration, united};
use crate::kustomize::field::{self, FieldSpec, anywhere};
use crate::kustomize::kustomization::Image;
use crate::kustomize::resource::{Resource, check_ids};
use crate::kustomize::{BuildError, json, pattern};
use crate::yaml::{Node, Value};

/// Places beside every list of containers.
pub(in crate::kustomize) const FIELDS: [FieldSpec; 7] = [
    anywhere("spec/containers[]/image", true),
    anywhere("spec/initContainers[]/image", true),
    anywhere("spec/volumes[]/image/reference", true),
    anywhere("spec/template/spec/containers[]/image", true),
    anywhere("spec/template/spec/initContainers[]/image", true),
    anywhere("spec/template/spec/volumes[]/image/reference", true),
    anywhere(
        "spec/jobTemplate/spec/template/spec/volumes[]/image/reference",
        true,
    ),
];

/// Changes one image.
pub(super) struct Renaming {
    image: Image,
    pattern: Regex,
    fields: Vec<FieldSpec>,
}

/// The config of a transformer.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Config {
    image_tag: Image,
    field_specs: Vec<FieldSpec>,
}

impl Config {
    pub fn compiled(self) -> Result<Renaming, String> {
        let after = "(:[a-zA-Z0-9_.{}-]*)?(@sha256:[a-zA-Z0-9_.{}-]*)?$";
        let pattern = pattern::between("^", &self.image_tag.name, after)?;
        Ok(Renaming {
            image: self.image_tag,
            pattern,
            fields: self.field_specs,
        })
    }
}

pub(super) fn of(image: &Image, configuration: &Configuration) -> Result<Renaming, BuildError> {
    let made = united(&FIELDS, &configuration.images).and_then(|field_specs| {
        Config {
            image_tag: image.clone(),
            field_specs,
        }
        .compiled()
    });
    made.map_err(|message| BuildError::new("images", message))
}

impl Transform for Renaming {
    fn apply(&self, resources: &mut Vec<Resource>) -> Result<(), String> {
        let mut change = |node: &mut Node| {
            let kind = node.kind();
            let text = node
                .as_str()
                .ok_or_else(|| format!("an image must be text, not {kind}"))?;
            if self.pattern.is_match(text) {
                *node = json::text(&renamed(&self.image, text));
            }
            Ok(())
        };
        for resource in resources.iter_mut() {
            let id = resource.id();
            if id.kind == "CustomResourceDefinition" {
                continue;
            }
            // kustomize walks twice, which shows in a suffix that is added twice.
            containers(&mut resource.node, &mut change)
                .map_err(|message| format!("{id}: {message}"))?;
            for field in self.fields.iter().filter(|field| field.selects(&id)) {
                field
                    .visit_present(&mut resource.node, &mut change)
                    .map_err(|message| format!("{id}: {message}"))?;
            }
        }
        check_ids(resources)
    }
}

/// Calls `change` on every `image` in a list called `containers` or `initContainers`, however deep.
fn containers(node: &mut Node, change: &mut field::Change<'_>) -> Result<(), String> {
    match &mut node.value {
        Value::Scalar(..) => Ok(()),
        Value::Sequence(items) => items
            .iter_mut()
            .try_for_each(|item| containers(item, change)),
        Value::Mapping(pairs) => pairs.iter_mut().try_for_each(|(key, value)| {
            if matches!(key.as_str(), Some("containers" | "initContainers"))
                && let Value::Sequence(items) = &mut value.value
            {
                items
                    .iter_mut()
                    .filter_map(|item| field::get_mut(item, "image"))
                    .try_for_each(&mut *change)?;
            }
            containers(value, change)
        }),
    }
}

fn renamed(image: &Image, text: &str) -> String {
    let (rest, old_digest) = text
        .split_once('@')
        .map_or((text, None), |(rest, digest)| (rest, Some(digest)));
    // A colon before the last slash belongs to a port.
    let tag_at = rest
        .rfind(':')
        .filter(|at| rest.rfind('/').is_none_or(|slash| slash < *at));
    let (name, old_tag) = match tag_at {
        Some(at) => (&rest[..at], Some(&rest[at + 1..])),
        None => (rest, None),
    };
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
