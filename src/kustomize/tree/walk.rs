//! Walks a node tree along a path.

use std::borrow::Cow;

use crate::kustomize::BuildError;
use crate::yaml::{Node, Style, Value};

/// Callback that changes a node.
pub(crate) type ChangeNode<'a> = dyn FnMut(&mut Node) -> Result<(), BuildError> + 'a;

/// Calls `change` on every node at a path; its parts are joined by `/`, which is written `\/`
/// inside a part. Lists are entered by themselves; a part that ends with `[]` is a list and is
/// never made.
///
/// # Errors
/// A scalar stands where the path goes on, or `change` failed.
pub(crate) fn visit(
    root: &mut Node,
    path: &str,
    create: bool,
    change: &mut ChangeNode<'_>,
) -> Result<(), BuildError> {
    walk(root, Some(path), create, change)
        .map_err(|error| error.about(format_args!("considering field '{path}'")))
}

fn walk(
    node: &mut Node,
    path: Option<&str>,
    create: bool,
    change: &mut ChangeNode<'_>,
) -> Result<(), BuildError> {
    let Some(path) = path else {
        return change(node);
    };
    if node.is_null() && !create {
        return Ok(());
    }
    if let Value::Sequence(items) = &mut node.value {
        return items
            .iter_mut()
            .try_for_each(|item| walk(item, Some(path), create, change));
    }
    let (part, rest) = split_first(path);
    let (name, is_list) = part
        .strip_suffix("[]")
        .map_or((&*part, false), |name| (name, true));
    if name.is_empty() {
        return Err("a part of the path is empty".into());
    }
    if is_list_part(name) && node.as_mapping().is_some() {
        return Err(BuildError::new(format!(
            "{name} is for lists, which a field spec enters by itself"
        )));
    }
    if !node.is_null() && node.as_mapping().is_none() {
        return Err("expected sequence or mapping node on the way, found a scalar".into());
    }
    if create && !is_list {
        return walk(entry(node, name), rest, create, change);
    }
    match get_mut(node, name) {
        // As in kustomize, a null list on the way becomes an empty one.
        Some(child) if child.is_null() && is_list => {
            child.value = Value::Sequence(Vec::new());
            child.tag = None;
            Ok(())
        }
        // A null at the end of the path is a value like others.
        Some(child) if !child.is_null() || rest.is_none() => walk(child, rest, create, change),
        _ => Ok(()),
    }
}

/// Returns true if kustomize takes a part of a path for an item of a list, or for all of them.
fn is_list_part(name: &str) -> bool {
    name.parse::<i64>().is_ok()
        || matches!(name, "-" | "*")
        || (name.starts_with('[') && name.ends_with(']'))
}

/// Splits a path into its first part, unescaped, and the rest.
fn split_first(path: &str) -> (Cow<'_, str>, Option<&str>) {
    let mut part = Cow::Borrowed("");
    let mut rest = path;
    loop {
        let (piece, after) = match rest.split_once('/') {
            Some((piece, after)) => (piece, Some(after)),
            None => (rest, None),
        };
        match (piece.strip_suffix('\\'), after) {
            (Some(piece), Some(after)) => {
                part.to_mut().push_str(piece);
                part.to_mut().push('/');
                rest = after;
            }
            _ if part.is_empty() => return (Cow::Borrowed(piece), after),
            _ => {
                part.to_mut().push_str(piece);
                return (part, after);
            }
        }
    }
}

/// Replaces a scalar. One in quotes, or in a block, stays a text, whatever the new one is.
///
/// # Errors
/// Fails if the node is a list or a map.
pub(crate) fn set_scalar(node: &mut Node, mut new: Node) -> Result<(), BuildError> {
    if let Value::Scalar(_, old) = node.value {
        if let Value::Scalar(_, style) = &mut new.value
            && *style == Style::Plain
            && old != Style::Plain
        {
            *style = Style::DoubleQuoted;
        }
        *node = new;
        return Ok(());
    }
    Err(BuildError::new(format!(
        "wrong node kind: expected a scalar but got {}",
        node.kind()
    )))
}

/// Returns the value of a key; none if it is missing. Of duplicate keys the first one counts.
pub(crate) fn get_mut<'a>(node: &'a mut Node, key: &str) -> Option<&'a mut Node> {
    match &mut node.value {
        Value::Mapping(pairs) => pairs
            .iter_mut()
            .find(|(k, _)| k.as_str() == Some(key))
            .map(|(_, value)| value),
        _ => None,
    }
}

/// Returns the value of a key. Inserts null if it is missing. A node that is not a map becomes one.
pub(crate) fn entry<'a>(node: &'a mut Node, key: &str) -> &'a mut Node {
    if node.as_mapping().is_none() {
        node.value = Value::Mapping(Vec::new());
        node.tag = None;
    }
    let Value::Mapping(pairs) = &mut node.value else {
        unreachable!("it was made a map above")
    };
    let known = pairs.iter().position(|(k, _)| k.as_str() == Some(key));
    let at = known.unwrap_or_else(|| {
        let null = Node::new(Value::Scalar("".into(), Style::Plain));
        pairs.push((crate::kustomize::go::json::key(key), null));
        pairs.len() - 1
    });
    match pairs.get_mut(at) {
        Some((_, value)) => value,
        None => unreachable!("the pair was found or made above"),
    }
}

/// Sets the value of a key. A node that is not a map becomes one.
pub(crate) fn set(node: &mut Node, key: &str, value: Node) {
    *entry(node, key) = value;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_cut_at_slashes_that_are_not_escaped() {
        assert_eq!(
            split_first("spec/selector"),
            (Cow::Borrowed("spec"), Some("selector"))
        );
        assert_eq!(
            split_first(r"a.io\/b\/c/d"),
            (Cow::Borrowed("a.io/b/c"), Some("d"))
        );
        assert_eq!(split_first("name"), (Cow::Borrowed("name"), None));
    }
}
