//! How generated objects join those that are there.

use indexmap::IndexMap;

use crate::kustomize::BuildError;
use crate::kustomize::build::accumulated::Accumulated;
use crate::kustomize::generate::{Behavior, Generated, data};
use crate::kustomize::go::json;
use crate::kustomize::resource::{Resource, near};
use crate::kustomize::transform::origin;
use crate::kustomize::tree::walk;
use crate::yaml::{self, Node};

/// Adds a generated object, or merges it with the existing one with its id, as its behavior says.
pub(crate) fn absorb(resources: &mut Accumulated, made: Generated) -> Result<(), BuildError> {
    let Generated { resource, behavior } = made;
    let id = resource.id();
    let old = resources.find_unique(&id)?;
    match (old, behavior) {
        (None, Behavior::Create) => resources.add(resource),
        (None, _) => {
            let near = near::help_for(&id, &resources.resources);
            let message = format!("there is no {} to merge with or to replace", id);
            Err(BuildError::new(message).with_help(match near.is_empty() {
                true => "leave out behavior, to create it".to_owned(),
                false => near,
            }))
        }
        (Some(_), Behavior::Create) => {
            let message = format!("{} is there already", id);
            let help = "behavior: merge or replace changes what is there";
            Err(BuildError::new(message).with_help(help))
        }
        (Some(old), behavior) => {
            *old = merge_or_replace(old, resource, behavior);
            Ok(())
        }
    }
}

/// Returns the existing object with the content of the generated one. Labels and annotations of
/// both are merged, and with [`Behavior::Merge`] their data too. Name, namespace and id history are
/// those of the existing object.
fn merge_or_replace(old: &Resource, mut new: Resource, behavior: Behavior) -> Resource {
    let mut joined = old.clone();
    for map in ["labels", "annotations"] {
        let both = merged_strings(old.node.get("metadata"), new.node.get("metadata"), map);
        if !both.is_empty() {
            walk::set(
                walk::entry(&mut new.node, "metadata"),
                map,
                string_map(both),
            );
        }
    }
    let current_id = old.id();
    new.set_metadata("name", &current_id.name);
    if !current_id.namespace.is_empty() {
        new.set_metadata("namespace", &current_id.namespace);
    }
    if behavior == Behavior::Merge {
        let mut before = old.node.clone();
        fold_string_data(&mut before);
        for map in ["data", "binaryData"] {
            let both = merged_strings(Some(&before), Some(&new.node), map);
            if !both.is_empty() {
                walk::set(&mut new.node, map, string_map(both));
            }
        }
        if let Some(note) = origin::annotation(old) {
            origin::restore(&mut new, note);
        }
    }
    joined.needs_hash &= new.needs_hash;
    joined.is_generated |= new.is_generated;
    joined.node = new.node;
    joined.is_json_normalized = new.is_json_normalized;
    joined
}

/// Copies the `stringData` of a Secret into its `data`, base64-encoded.
fn fold_string_data(secret: &mut Node) {
    if secret.get("kind").and_then(Node::as_str) != Some("Secret") {
        return;
    }
    for (key, text) in strings_in(Some(secret), "stringData") {
        walk::set(
            walk::entry(secret, "data"),
            &key,
            json::text(&data::encode(text.as_bytes())),
        );
    }
}

fn strings_in(holder: Option<&Node>, map: &str) -> IndexMap<String, String> {
    let pairs = holder
        .and_then(|holder| holder.get(map))
        .and_then(Node::as_mapping)
        .unwrap_or_default();
    pairs
        .iter()
        .filter_map(|(key, value)| Some((key.as_str()?.to_owned(), value.as_str()?.to_owned())))
        .collect()
}

/// Merges the strings of two maps; those of the second win.
fn merged_strings(
    first: Option<&Node>,
    second: Option<&Node>,
    map: &str,
) -> IndexMap<String, String> {
    let mut both = strings_in(first, map);
    both.extend(strings_in(second, map));
    both
}

fn string_map(map: IndexMap<String, String>) -> Node {
    Node::new(yaml::Value::Mapping(
        map.iter()
            .map(|(key, text)| (json::key(key), json::text(text)))
            .collect(),
    ))
}
