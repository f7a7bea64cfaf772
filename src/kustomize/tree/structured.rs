//! Fields inside of a text that is YAML or JSON itself, such as a file in a ConfigMap.

use crate::kustomize::BuildError;
use crate::kustomize::go::{encode, json, write};
use crate::kustomize::tree::comments::carry;
use crate::kustomize::tree::fieldpath::{lookup, lookup_mut, tree_of, visit};
use crate::yaml::{Node, Value};

/// Changes a field inside of a text. `path` leads to the text and goes on in it. Returns false, and
/// changes nothing, if it does not, or if the change cannot be written back.
pub(crate) fn change_in_text(
    root: &mut Node,
    path: &[String],
    create: Option<&Node>,
    change: &mut dyn FnMut(&mut Node) -> Result<(), BuildError>,
) -> bool {
    (1..path.len()).any(|at| {
        let (outer, inner) = path.split_at(at);
        change_at(root, outer, inner, create, change).is_some()
    })
}

/// Changes a field in the text at `outer`; `None` if that is not possible.
fn change_at(
    root: &mut Node,
    outer: &[String],
    inner: &[String],
    create: Option<&Node>,
    change: &mut dyn FnMut(&mut Node) -> Result<(), BuildError>,
) -> Option<()> {
    let text = lookup(root, outer).ok()??.as_str()?.to_owned();
    let mut tree = tree_of(&text)?;
    let may_have_comments = text.contains('#') && !is_json(&text);
    let bare = may_have_comments.then(|| write::write(&tree));
    if visit(&mut tree, inner, create, change).ok()? == 0 {
        return None;
    }
    let mut new = serialized(&tree, &text).ok()?;
    if let Some(bare) = bare {
        new = carry(&text, &bare.ok()?, &new).unwrap_or(new);
    }
    let place = lookup_mut(root, outer).ok()??;
    match &mut place.value {
        Value::Scalar(text, _) => *text = new.into(),
        _ => return None,
    }
    Some(())
}

fn is_json(text: &str) -> bool {
    text.trim_start().starts_with(['{', '['])
}

/// Writes a tree in the form that the text had: as JSON, on one or several lines, or as YAML.
fn serialized(tree: &Node, old: &str) -> Result<String, BuildError> {
    if !is_json(old) {
        return write::write(tree);
    }
    let value = json::to_json(tree)?;
    let is_pretty = old.contains('\n') && old.contains("  ");
    Ok(match is_pretty {
        true => encode::pretty(&value),
        false => encode::compact(&value),
    })
}
