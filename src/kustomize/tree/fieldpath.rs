//! Field paths as in `replacements`: `spec.containers.[name=web].image`.
//!
//! Parts are separated by dots. A part that contains a dot is in brackets, or the dot is written
//! `\.`. `[key=value]` selects list items whose key matches, `*` all items, and a number one item.

use crate::kustomize::BuildError;
use crate::kustomize::go::{json, pattern};
use crate::yaml::{Limits, Node, Value, parse};

/// Splits a path into its parts.
pub(crate) fn split(path: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    let mut open: Option<String> = None;
    for part in split_at_dots(path) {
        match open.take() {
            Some(begun) => {
                let joined = format!("{begun}.{part}");
                if part.ends_with(']') {
                    parts.push(strip_key_brackets(joined))
                } else {
                    open = Some(joined)
                }
            }
            None if part.starts_with('[') && !part.ends_with(']') => open = Some(part),
            None => parts.push(part),
        }
    }
    parts.extend(open.map(strip_key_brackets));
    parts
}

/// Splits at dots that are not escaped. A leading dot is ignored.
fn split_at_dots(path: &str) -> Vec<String> {
    let mut pieces = path.split('.').peekable();
    if path.starts_with('.') {
        pieces.next();
    }
    let mut parts: Vec<String> = Vec::new();
    for piece in pieces {
        match parts.last_mut().and_then(|last| {
            last.strip_suffix('\\')
                .map(str::to_owned)
                .map(|text| (last, text))
        }) {
            Some((last, text)) => *last = format!("{text}.{piece}"),
            None => parts.push(piece.to_owned()),
        }
    }
    parts
}

/// Returns a part that was in brackets: a condition keeps them, a key with dots loses them.
fn strip_key_brackets(text: String) -> String {
    if text.contains('=') {
        text
    } else {
        text.trim_matches(['[', ']']).to_owned()
    }
}

enum Part<'a> {
    Index(usize),
    Matching { key: &'a str, value: &'a str },
    Every,
    Field(&'a str),
}

impl<'a> Part<'a> {
    fn read(text: &'a str) -> Result<Self, BuildError> {
        if let Ok(index) = text.parse() {
            return Ok(Self::Index(index));
        }
        if text == "*" {
            return Ok(Self::Every);
        }
        match text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            Some(condition) => match condition.split_once('=') {
                Some((key, value)) => Ok(Self::Matching { key, value }),
                None => Err(BuildError::new(format!(
                    "list path element must contain fieldName=fieldValue for element to match: \
                     {text}"
                ))),
            },
            None => Ok(Self::Field(text)),
        }
    }
}

/// Returns the first node at a path; none if there is none.
pub(crate) fn lookup<'a>(node: &'a Node, path: &[String]) -> Result<Option<&'a Node>, BuildError> {
    let Some((part, rest)) = path.split_first() else {
        return Ok(Some(node));
    };
    let child = child_at(node, part)?.and_then(|at| match &node.value {
        Value::Sequence(items) => items.get(at),
        Value::Mapping(pairs) => pairs.get(at).map(|(_, value)| value),
        Value::Scalar(..) => None,
    });
    child.map_or(Ok(None), |child| lookup(child, rest))
}

/// Like [`lookup`], for a node to change.
pub(crate) fn lookup_mut<'a>(
    node: &'a mut Node,
    path: &[String],
) -> Result<Option<&'a mut Node>, BuildError> {
    let Some((part, rest)) = path.split_first() else {
        return Ok(Some(node));
    };
    let Some(at) = child_at(node, part)? else {
        return Ok(None);
    };
    let child = match &mut node.value {
        Value::Sequence(items) => items.get_mut(at),
        Value::Mapping(pairs) => pairs.get_mut(at).map(|(_, value)| value),
        Value::Scalar(..) => None,
    };
    child.map_or(Ok(None), |child| lookup_mut(child, rest))
}

/// Returns the place of the first child that a part of a path names.
fn child_at(node: &Node, part: &str) -> Result<Option<usize>, BuildError> {
    let items = node.as_sequence().unwrap_or_default();
    let of_key = |name: &str| {
        let pairs = node.as_mapping().unwrap_or_default();
        pairs
            .iter()
            .rposition(|(key, _)| key.as_str() == Some(name))
    };
    Ok(match Part::read(part)? {
        Part::Index(index) if node.as_mapping().is_none() => (index < items.len()).then_some(index),
        Part::Index(_) | Part::Every => of_key(part),
        Part::Matching { key: "", value } => {
            items.iter().position(|item| item.as_str() == Some(value))
        }
        Part::Matching { key, value } => items
            .iter()
            .position(|item| item.get(key).and_then(Node::as_str) == Some(value)),
        Part::Field(name) => of_key(name),
    })
}

/// Calls `change` on every node at a path, and returns their number. With `create`, missing nodes
/// are created first; the new leaf is an empty node of the same kind as `create`.
// Long: one arm per form of a part.
pub(crate) fn visit(
    node: &mut Node,
    path: &[String],
    create: Option<&Node>,
    change: &mut dyn FnMut(&mut Node) -> Result<(), BuildError>,
) -> Result<usize, BuildError> {
    let Some((part, rest)) = path.split_first() else {
        return change(node).map(|()| 1);
    };
    if let Value::Scalar(text, _) = &node.value
        && !node.is_null()
        && let Some(mut copy) = tree_of(text)
    {
        // kustomize changes a copy here, and loses it.
        return visit(&mut copy, path, create, change);
    }
    let part = Part::read(part)?;
    if let Part::Field(name) = part {
        return visit_field(node, name, rest, create, change);
    }
    let kind = node.kind();
    let Value::Sequence(items) = &mut node.value else {
        return Err(BuildError::new(format!(
            "wrong node kind: expected a list but got {kind}"
        )));
    };
    match part {
        Part::Index(index) => {
            if items.len() == index && create.is_some() {
                items.extend(create.map(|leaf| empty_node(rest, leaf)));
            }
            let length = items.len();
            let item = items.get_mut(index);
            let item = item.ok_or_else(|| {
                format!("index {index} specified but only {length} elements found")
            })?;
            visit(item, rest, create, change)
        }
        Part::Every => {
            let mut count = 0;
            for item in items {
                count += visit(item, rest, create, change)?;
            }
            Ok(count)
        }
        Part::Matching { key, value } => {
            let pattern = pattern::compile(value)?;
            let fits = |item: &Node| {
                let text = if key.is_empty() {
                    item.as_str()
                } else {
                    item.get(key).and_then(Node::as_str)
                };
                text.is_some_and(|text| pattern.is_match(text))
            };
            if create.is_some() && !items.iter().any(&fits) {
                let leaf = json::undecided(value);
                items.push(match key {
                    "" => leaf,
                    key => Node::new(Value::Mapping(vec![(json::key(key), leaf)])),
                });
            }
            let mut count = 0;
            for item in items.iter_mut().filter(|item| fits(item)) {
                count += visit(
                    item,
                    if key.is_empty() { &[] } else { rest },
                    create,
                    change,
                )?;
            }
            Ok(count)
        }
        Part::Field(_) => Ok(0),
    }
}

fn visit_field(
    node: &mut Node,
    name: &str,
    rest: &[String],
    create: Option<&Node>,
    change: &mut dyn FnMut(&mut Node) -> Result<(), BuildError>,
) -> Result<usize, BuildError> {
    if node.is_null() {
        match create {
            Some(_) => node.value = Value::Mapping(Vec::new()),
            None => return Ok(0),
        }
    }
    let kind = node.kind();
    let Value::Mapping(pairs) = &mut node.value else {
        return Err(BuildError::new(format!(
            "wrong node kind: expected a map but got {kind}"
        )));
    };
    if let Some(leaf) = create.filter(|_| !pairs.iter().any(|(key, _)| key.as_str() == Some(name)))
    {
        pairs.push((json::key(name), empty_node(rest, leaf)));
    }
    match pairs
        .iter_mut()
        .rev()
        .find(|(key, _)| key.as_str() == Some(name))
    {
        Some((_, value)) => visit(value, rest, create, change),
        None => Ok(0),
    }
}

/// Parses a text that holds a list or a map.
pub(crate) fn tree_of(text: &str) -> Option<Node> {
    let tree = parse(text, Limits::default()).ok()??;
    (!matches!(tree.value, Value::Scalar(..))).then_some(tree)
}

/// Returns an empty node for the rest of a path; at its end, of the same kind as `leaf`.
fn empty_node(rest: &[String], leaf: &Node) -> Node {
    let empty_list = || Node::new(Value::Sequence(Vec::new()));
    match rest.first().map(|part| Part::read(part)) {
        Some(Ok(Part::Index(_) | Part::Matching { .. })) => empty_list(),
        Some(_) => Node::new(Value::Mapping(Vec::new())),
        None => match &leaf.value {
            Value::Scalar(..) => json::undecided(""),
            Value::Sequence(_) => empty_list(),
            Value::Mapping(_) => Node::new(Value::Mapping(Vec::new())),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_are_kept_in_brackets_and_after_a_backslash() {
        assert_eq!(
            split("spec.c.[name=a.b].image"),
            ["spec", "c", "[name=a.b]", "image"]
        );
        assert_eq!(
            split(r"metadata.annotations.x\.y/z"),
            ["metadata", "annotations", "x.y/z"]
        );
        assert_eq!(
            split("metadata.annotations.[a.b]"),
            ["metadata", "annotations", "a.b"]
        );
    }
}
