//! Which object was probably meant, for errors and notes about ids and selectors that match none.

use crate::base::nearest::nearest;
use crate::kustomize::resource::{Id, Resource};
use crate::kustomize::tree::fieldpath::lookup;
use crate::yaml::{Node, Value};

/// Maximum number of members that help names.
const MAX_NAMED: usize = 8;

/// Returns help about an object that is not among the resources: one that differs in its version,
/// its namespace or a few letters of its name. Empty if there is none. Empty parts of `wanted` fit
/// everything.
pub(crate) fn help_for(wanted: &Id, resources: &[Resource]) -> String {
    let ids: Vec<Id> = resources.iter().flat_map(Resource::ids).collect();
    let fits = |part: &str, other: &str| part.is_empty() || part == other;
    let of_kind = ids.iter().filter(|id| fits(&wanted.kind, &id.kind));
    let mut named = of_kind.clone().filter(|id| fits(&wanted.name, &id.name));
    if let Some(id) = named
        .clone()
        .find(|id| !fits(&wanted.group, &id.group) || !fits(&wanted.version, &id.version))
    {
        return format!("{} has the apiVersion {}", id, id.api_version());
    }
    if let Some(id) = named.next() {
        return match id.namespace.as_str() {
            namespace if fits(&wanted.namespace, namespace) => {
                match id.group == wanted.group || wanted.version.is_empty() {
                    true => String::new(),
                    false => format!("{} has the apiVersion {}", id, id.api_version()),
                }
            }
            "" => format!("{} has no namespace", id),
            namespace => format!("{} is in the namespace {namespace}", id),
        };
    }
    let names = of_kind.map(|id| id.name.as_str());
    match nearest(&wanted.name, names) {
        Some(near) if wanted.kind.is_empty() => format!("did you mean {near}?"),
        Some(near) => format!("did you mean {}/{near}?", wanted.kind),
        None => other_kind(wanted, &ids),
    }
}

/// Returns help about an object of the wanted name and another kind.
fn other_kind(wanted: &Id, ids: &[Id]) -> String {
    let mut named = ids.iter().filter(|id| id.name == wanted.name);
    named
        .next()
        .map(|id| format!("did you mean {}?", id))
        .unwrap_or_default()
}

/// Returns what a map or list holds, for help about a path that leads to nothing.
pub(super) fn contents(node: &Node) -> String {
    let names: Vec<String> = match &node.value {
        Value::Scalar(..) => return "is no map or list".into(),
        Value::Mapping(pairs) => pairs
            .iter()
            .filter_map(|(key, _)| key.as_str().map(str::to_owned))
            .collect(),
        Value::Sequence(items) => (0..)
            .zip(items)
            .map(
                |(at, item): (usize, _)| match item.get("name").and_then(Node::as_str) {
                    Some(name) => format!("{at} (name {name})"),
                    None => at.to_string(),
                },
            )
            .collect(),
    };
    let more = if names.len() > MAX_NAMED { ", …" } else { "" };
    let named: Vec<String> = names.into_iter().take(MAX_NAMED).collect();
    match named.is_empty() {
        true => "is empty".into(),
        false => format!("has {}{more}", named.join(", ")),
    }
}

/// Returns how far a path leads, and what is there.
pub(crate) fn on_the_way(object: &Node, parts: &[String]) -> String {
    let parents = (0..parts.len()).rev().filter_map(|end| parts.get(..end));
    let mut found = parents.filter_map(|path| Some((path, lookup(object, path).ok()??)));
    match found.next() {
        Some(([], node)) => format!("the object {}", contents(node)),
        Some((path, node)) => format!("{} {}", path.join("."), contents(node)),
        None => String::new(),
    }
}
