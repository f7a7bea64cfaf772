//! How generated objects join those that are there.

use indexmap::IndexMap;

use crate::kustomize::build::accumulated::Accumulated;
use crate::kustomize::generate::{Behavior, Generated, data};
use crate::kustomize::go::json;
use crate::kustomize::resource::Resource;
use crate::kustomize::transform::origin;
use crate::kustomize::tree::walk;
use crate::yaml::{self, Node};

/// Adds a generated object, or merges it with the existing one with its id, as its behavior says.
pub(crate) fn absorb(resources: &mut Accumulated, made: Generated) -> Result<(), String> {
    let Generated { resource, behavior } = made;
    let id = resource.id();
    let old = resources.the_one(&id)?;
    match (old, behavior) {
        (None, Behavior::Create) => resources.add(resource),
        (None, _) => Err(format!("id {id} does not exist; cannot merge or replace")),
        (Some(_), Behavior::Create) => Err(format!(
            "id {id} exists; behavior must be merge or replace to change what is there"
        )),
        (Some(old), behavior) => {
            *old = onto(old, resource, behavior);
            Ok(())
        }
    }
}

/// Returns the existing object with the content of the generated one. Labels and annotations of
/// both are merged, and with [`Behavior::Merge`] their data too. Name, namespace and id history are
/// those of the existing object.
fn onto(old: &Resource, mut new: Resource, behavior: Behavior) -> Resource {
    let mut joined = old.clone();
    for map in ["labels", "annotations"] {
        let both = united(old.node.get("metadata"), new.node.get("metadata"), map);
        if !both.is_empty() {
            walk::set(walk::entry(&mut new.node, "metadata"), map, texts(both));
        }
    }
    let present = old.id();
    new.set_metadata("name", &present.name);
    if !present.namespace.is_empty() {
        new.set_metadata("namespace", &present.namespace);
    }
    if behavior == Behavior::Merge {
        let mut before = old.node.clone();
        fold_string_data(&mut before);
        for map in ["data", "binaryData"] {
            let both = united(Some(&before), Some(&new.node), map);
            if !both.is_empty() {
                walk::set(&mut new.node, map, texts(both));
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
    for (key, text) in texts_of(Some(secret), "stringData") {
        walk::set(
            walk::entry(secret, "data"),
            &key,
            json::text(&data::encode(text.as_bytes())),
        );
    }
}

fn texts_of(holder: Option<&Node>, map: &str) -> IndexMap<String, String> {
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
fn united(first: Option<&Node>, second: Option<&Node>, map: &str) -> IndexMap<String, String> {
    let mut both = texts_of(first, map);
    both.extend(texts_of(second, map));
    both
}

fn texts(map: IndexMap<String, String>) -> Node {
    Node::new(yaml::Value::Mapping(
        map.iter()
            .map(|(key, text)| (json::text(key), json::text(text)))
            .collect(),
    ))
}
