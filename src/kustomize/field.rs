//! Places inside a resource: which kinds they apply to, and how they are walked.
#![expect(clippy::indexing_slicing, reason = "indexes come from the lengths of the same lists")]

use std::borrow::Cow;

use super::BuildError;
use super::resource::Id;
use crate::yaml::{Node, Value};

/// A place in resources of a kind; empty parts of the kind match anything.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FieldSpec {
    pub group: Cow<'static, str>,
    pub version: Cow<'static, str>,
    pub kind: Cow<'static, str>,
    /// Parts joined by `/`, which is written `\/` inside a part; lists are entered by themselves.
    pub path: Cow<'static, str>,
    /// Whether missing maps are made.
    pub create: bool,
}

/// A place in every kind.
pub(super) const fn anywhere(path: &'static str, create: bool) -> FieldSpec {
    at_version("", "", "", path, create)
}

/// A place in one kind.
pub(super) const fn at(group: &'static str, kind: &'static str, path: &'static str, create: bool) -> FieldSpec {
    at_version(group, "", kind, path, create)
}

/// A place in one version of a kind.
pub(super) const fn at_version(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    path: &'static str,
    create: bool,
) -> FieldSpec {
    FieldSpec {
        group: Cow::Borrowed(group),
        version: Cow::Borrowed(version),
        kind: Cow::Borrowed(kind),
        path: Cow::Borrowed(path),
        create,
    }
}

impl FieldSpec {
    /// Whether it applies to a resource.
    pub fn selects(&self, id: &Id) -> bool {
        let fits = |wanted: &str, got: &str| wanted.is_empty() || wanted == got;
        fits(&self.group, &id.group) && fits(&self.version, &id.version) && fits(&self.kind, &id.kind)
    }

    /// Calls `change` on every node at the place.
    ///
    /// # Errors
    /// A scalar stands where the path goes on.
    pub fn visit(&self, root: &mut Node, change: &mut dyn FnMut(&mut Node)) -> Result<(), BuildError> {
        walk(root, &parts(&self.path), self.create, change).map_err(|Scalar| blocked(&self.path))
    }
}

/// The parts of a path.
fn parts(path: &str) -> Vec<Cow<'_, str>> {
    if !path.contains('\\') {
        return path.split('/').map(|part| Cow::Borrowed(part.trim_end_matches("[]"))).collect();
    }
    let whole = path.replace(r"\/", "\0");
    whole.split('/').map(|part| Cow::Owned(part.trim_end_matches("[]").replace('\0', "/"))).collect()
}

/// A scalar on the way.
struct Scalar;

fn blocked(path: &str) -> BuildError {
    BuildError::new("", format!("considering field '{path}': expected a list or a map on the way, found a scalar"))
}

fn walk(
    node: &mut Node,
    parts: &[Cow<'_, str>],
    create: bool,
    change: &mut dyn FnMut(&mut Node),
) -> Result<(), Scalar> {
    if let Value::Sequence(items) = &mut node.value {
        return items.iter_mut().try_for_each(|item| walk(item, parts, create, change));
    }
    let Some((part, rest)) = parts.split_first() else {
        change(node);
        return Ok(());
    };
    if create && (node.is_null() || node.as_mapping().is_some()) {
        return walk(entry(node, part), rest, create, change);
    }
    if matches!(node.value, Value::Scalar(..)) && !node.is_null() {
        return Err(Scalar);
    }
    match get_mut(node, part) {
        Some(child) if !child.is_null() => walk(child, rest, create, change),
        _ => Ok(()),
    }
}

/// The value under a key; none if it is not there.
pub(super) fn get_mut<'a>(node: &'a mut Node, key: &str) -> Option<&'a mut Node> {
    match &mut node.value {
        Value::Mapping(pairs) => pairs.iter_mut().rev().find(|(k, _)| k.as_str() == Some(key)).map(|(_, value)| value),
        _ => None,
    }
}

/// The value under a key, made as an empty map if it is not there. What is no map becomes one.
pub(super) fn entry<'a>(node: &'a mut Node, key: &str) -> &'a mut Node {
    if node.as_mapping().is_none() {
        node.value = Value::Mapping(Vec::new());
        node.tag = None;
    }
    match &mut node.value {
        Value::Mapping(pairs) => {
            let at = pairs.iter().rposition(|(k, _)| k.as_str() == Some(key)).unwrap_or_else(|| {
                pairs.push((super::json::text(key), Node::new(Value::Mapping(Vec::new()))));
                pairs.len() - 1
            });
            &mut pairs[at].1
        }
        _ => unreachable!("it was made a map above"),
    }
}

/// Sets a key.
pub(super) fn set(node: &mut Node, key: &str, value: Node) {
    *entry(node, key) = value;
}

/// Calls `change` on every node at a path that is there.
///
/// # Errors
/// A scalar stands where the path goes on.
pub(super) fn visit_path(root: &mut Node, path: &str, change: &mut dyn FnMut(&mut Node)) -> Result<(), BuildError> {
    walk(root, &parts(path), false, change).map_err(|Scalar| blocked(path))
}
