//! Merge keys (`<<: *other`), which kustomize resolves when it reads a file: what follows sees each
//! map with its own copy.

use std::collections::HashSet;

use crate::kustomize::BuildError;
use crate::kustomize::go::json::is_merge;
use crate::yaml::{Limits, Node, Value};

/// Copies into each map the members of the maps that its merge key names, and removes the key. A
/// map's own members win, and of several maps the first. A quoted `"<<"` is removed too, as
/// kustomize does.
///
/// # Errors
/// Fails if a map has two merge keys, or merges anything but a map or a list of maps, or if the
/// copies are too many.
pub(crate) fn expand(node: &mut Node) -> Result<(), BuildError> {
    expand_within(node, &mut Limits::default().nodes)
}

/// `budget` is the number of nodes that may still be copied.
fn expand_within(node: &mut Node, budget: &mut usize) -> Result<(), BuildError> {
    let pairs = match &mut node.value {
        Value::Scalar(..) => return Ok(()),
        Value::Sequence(items) => {
            return items
                .iter_mut()
                .try_for_each(|item| expand_within(item, budget));
        }
        Value::Mapping(pairs) => pairs,
    };
    for (_, value) in pairs.iter_mut() {
        expand_within(value, budget)?;
    }
    if pairs.iter().all(|(key, _)| key.as_str() != Some("<<")) {
        return Ok(());
    }
    let (merges, own): (Vec<_>, Vec<_>) = std::mem::take(pairs)
        .into_iter()
        .partition(|(key, _)| key.as_str() == Some("<<"));
    *pairs = own;
    let mut merges = merges.into_iter().filter(|(key, _)| is_merge(key));
    let Some((key, merged)) = merges.next() else {
        return Ok(());
    };
    if let Some((second, _)) = merges.next() {
        let message = format!("the merge key << is already defined at {}", key.position);
        return Err(BuildError::at(second.position, message));
    }
    let position = merged.position;
    let maps = match merged.value {
        Value::Sequence(items) => items,
        _ => vec![merged],
    };
    let own = pairs
        .iter()
        .filter_map(|(key, _)| key.as_str().map(str::to_owned));
    let mut known: HashSet<String> = own.collect();
    for map in maps {
        let Value::Mapping(members) = map.value else {
            let message = "<< merges only a map or a list of maps";
            return Err(BuildError::at(position, message));
        };
        for (key, value) in members {
            let is_new = key
                .as_str()
                .is_none_or(|text| known.insert(text.to_owned()));
            if is_new {
                let size = size(&value);
                *budget = budget.checked_sub(size).ok_or_else(|| {
                    BuildError::at(position, "<< merges too many nodes into the document")
                })?;
                pairs.push((key, value));
            }
        }
    }
    Ok(())
}

fn size(node: &Node) -> usize {
    1 + match &node.value {
        Value::Scalar(..) => 0,
        Value::Sequence(items) => items.iter().map(size).sum(),
        Value::Mapping(pairs) => pairs
            .iter()
            .map(|(key, value)| size(key) + size(value))
            .sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kustomize::go::json::to_json;
    use crate::yaml::parse;

    fn expanded(text: &str) -> Result<String, String> {
        let mut node = parse(text, Limits::default()).unwrap().unwrap();
        expand(&mut node).map_err(|error| error.to_string())?;
        Ok(to_json(&node).unwrap().to_string())
    }

    #[test]
    fn own_members_win_and_then_the_first_map() {
        for (text, expected) in [
            (
                "a: &a {x: 1, y: 1}\nb: {<<: *a, y: 2}",
                r#"{"a":{"x":1,"y":1},"b":{"y":2,"x":1}}"#,
            ),
            ("<<: [{x: 1}, {x: 2, y: 2}]\nz: 3", r#"{"z":3,"x":1,"y":2}"#),
            ("{'<<': gone, x: 1}", r#"{"x":1}"#),
            ("- <<: {<<: {x: 1}}", r#"[{"x":1}]"#),
        ] {
            assert_eq!(expanded(text).as_deref(), Ok(expected), "{text}");
        }
        assert!(
            expanded("{<<: {x: 1}, <<: {y: 1}}")
                .unwrap_err()
                .contains("already defined")
        );
        for wrong in ["<<: text", "<<: [text]", "<<: [[{x: 1}]]"] {
            assert!(
                expanded(wrong).unwrap_err().contains("only a map"),
                "{wrong}"
            );
        }
    }
}
