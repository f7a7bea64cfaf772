//! `images`.

use regex::Regex;

use crate::kustomize::BuildError;
use crate::kustomize::field::{self, FieldSpec, visit_path};
use crate::kustomize::json;
use crate::kustomize::kustomization::Image;
use crate::kustomize::resource::Resource;
use crate::yaml::{Node, Value};

/// Places beside every list of containers.
const PATHS: [&str; 7] = [
    "spec/containers/image",
    "spec/initContainers/image",
    "spec/volumes/image/reference",
    "spec/template/spec/containers/image",
    "spec/template/spec/initContainers/image",
    "spec/template/spec/volumes/image/reference",
    "spec/jobTemplate/spec/template/spec/volumes/image/reference",
];

pub(super) fn apply(resources: &mut [Resource], images: &[Image], more: &[FieldSpec]) -> Result<(), BuildError> {
    for image in images {
        let pattern = format!("^(?:{})(:[a-zA-Z0-9_.{{}}-]*)?(@sha256:[a-zA-Z0-9_.{{}}-]*)?$", image.name);
        let pattern = Regex::new(&pattern)
            .map_err(|error| BuildError::new("images", format!("{:?} is not a pattern: {error}", image.name)))?;
        let mut change = |node: &mut Node| {
            if let Some(text) = node.as_str().filter(|text| pattern.is_match(text)) {
                *node = json::text(&renamed(image, text));
            }
        };
        for resource in resources.iter_mut() {
            // kustomize walks twice, which shows in a suffix that is added twice.
            if resource.id().kind != "CustomResourceDefinition" {
                containers(&mut resource.node, &mut change);
            }
            for path in PATHS {
                visit_path(&mut resource.node, path, &mut change)?;
            }
            let id = resource.id();
            for spec in more.iter().filter(|spec| spec.selects(&id)) {
                spec.visit(&mut resource.node, &mut change)?;
            }
        }
    }
    Ok(())
}

/// Every `image` in a list called `containers` or `initContainers`, however deep.
fn containers(node: &mut Node, change: &mut dyn FnMut(&mut Node)) {
    match &mut node.value {
        Value::Scalar(..) => {}
        Value::Sequence(items) => items.iter_mut().for_each(|item| containers(item, change)),
        Value::Mapping(pairs) => {
            for (key, value) in pairs {
                if matches!(key.as_str(), Some("containers" | "initContainers"))
                    && let Value::Sequence(items) = &mut value.value
                {
                    items.iter_mut().filter_map(|item| field::get_mut(item, "image")).for_each(&mut *change);
                }
                containers(value, change);
            }
        }
    }
}

fn renamed(image: &Image, text: &str) -> String {
    let (rest, old_digest) = text.split_once('@').map_or((text, None), |(rest, digest)| (rest, Some(digest)));
    // A colon before the last slash belongs to a port.
    let tag_at = rest.rfind(':').filter(|at| rest.rfind('/').is_none_or(|slash| slash < *at));
    let (name, old_tag) = match tag_at {
        Some(at) => (&rest[..at], Some(&rest[at + 1..])),
        None => (rest, None),
    };
    let name = if image.new_name.is_empty() { name } else { &image.new_name };
    let set = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let (tag, digest) = match (set(&image.new_tag), set(&image.digest)) {
        (Some(tag), digest) => (Some(tag), digest),
        (None, Some(digest)) => (None, Some(digest)),
        (None, None) if !image.tag_suffix.is_empty() => {
            (Some(format!("{}{}", old_tag.unwrap_or_default(), image.tag_suffix)), None)
        }
        (None, None) => (old_tag.map(str::to_owned), old_digest.map(str::to_owned)),
    };
    let tag = tag.map(|tag| format!(":{tag}")).unwrap_or_default();
    let digest = digest.map(|digest| format!("@{digest}")).unwrap_or_default();
    format!("{name}{tag}{digest}")
}
