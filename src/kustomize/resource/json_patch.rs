//! JSON patches (RFC 6902), with the deviations of kustomize's library: `replace` adds a missing
//! key, `add` without a value adds null, and a pointer without a leading slash loses its first
//! part.

use serde::Deserialize;
use serde_json::Value;

use crate::kustomize::BuildError;
use crate::kustomize::go::json;
use crate::kustomize::resource::selector::Selector;
use crate::kustomize::resource::{Id, Resource, near};
use crate::kustomize::tree::walk;
use crate::manifest::pointer;
use crate::yaml;
use crate::yaml::{Limits, Node, Position, Value as Tree};

/// One operation of a JSON patch.
#[derive(Debug, Deserialize)]
pub(crate) struct Operation {
    op: String,
    path: Option<String>,
    #[serde(default)]
    from: Option<String>,
    #[serde(default)]
    value: Value,
    /// `value` as a YAML tree with line numbers.
    #[serde(skip)]
    tree: Option<Node>,
    /// Where the operation is in its file.
    #[serde(skip)]
    position: Position,
}

/// Controls whether references still find an object by the name that it had before the patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Names {
    Keep,
    /// Used for `patchesJson6902`.
    Forget,
}

/// Applies the operations to every selected resource.
pub(crate) fn apply(
    resources: &mut [Resource],
    operations: &[Operation],
    selector: &Selector,
    previous_names: Names,
) -> Result<(), BuildError> {
    for resource in resources {
        if !selector.selects(resource)? {
            continue;
        }
        let id = resource.id();
        let failed = |error: BuildError| error.about(&id);
        if !resource.is_json_normalized {
            let object = as_floats(json::object_to_json(&resource.node).map_err(failed)?);
            resource.node = json::from_json(&object);
            resource.is_json_normalized = true;
        }
        if previous_names == Names::Keep {
            resource.record_id();
        }
        if resource.has_internal_annotations() {
            ensure_annotations(&mut resource.node);
        }
        for operation in operations {
            let applied = operation.apply(&mut resource.node);
            applied.map_err(|error| operation.locate(error, &id, &resource.node))?;
        }
        resource.aliased_values.clear();
    }
    Ok(())
}

/// Parses a JSON patch; none if the text is not a list, and so may be a strategic merge patch.
pub(crate) fn parse(text: &str) -> Result<Option<Vec<Operation>>, BuildError> {
    let written = yaml::parse(text, Limits::default()).ok().flatten();
    let value = if text.trim_start().starts_with('[') {
        serde_json::from_str(text)
            .map_err(|error| format!("the patch begins with [ and is not valid JSON: {error}"))?
    } else {
        let Some(node) = written.as_ref().filter(|node| node.as_sequence().is_some()) else {
            return Ok(None);
        };
        yaml::json::to_json(node)?
    };
    let operations: Result<Vec<Operation>, _> = serde_json::from_value(value);
    let mut operations = operations.map_err(|error| format!("it is not a JSON patch: {error}"))?;
    let written = written
        .as_ref()
        .and_then(Node::as_sequence)
        .unwrap_or_default();
    for (operation, written) in operations
        .iter_mut()
        .zip(written.iter().map(Some).chain(std::iter::repeat(None)))
    {
        operation.value = as_floats(std::mem::take(&mut operation.value));
        let mut tree = json::from_json(&operation.value);
        if let Some(written) = written.and_then(|written| written.get("value")) {
            copy_positions(&mut tree, written);
        }
        operation.tree = Some(tree);
        operation.position = written.map_or_else(Position::default, |written| written.position);
    }
    Ok(Some(operations))
}

/// Converts whole numbers as kustomize does before it applies JSON patches: they become 64-bit
/// floats, which are exact up to 2^53.
fn as_floats(value: Value) -> Value {
    match value {
        Value::Number(number) => match number.as_f64() {
            Some(float) if !number.is_f64() => yaml::json::number(float),
            _ => Value::Number(number),
        },
        Value::Array(items) => items.into_iter().map(as_floats).collect(),
        Value::Object(map) => Value::Object(
            map.into_iter()
                .map(|(key, value)| (key, as_floats(value)))
                .collect(),
        ),
        other => other,
    }
}

/// Copies line numbers from the source to a tree with the same content.
fn copy_positions(tree: &mut Node, written: &Node) {
    tree.position = written.position;
    match (&mut tree.value, &written.value) {
        (Tree::Sequence(items), Tree::Sequence(written)) => {
            items
                .iter_mut()
                .zip(written)
                .for_each(|(item, written)| copy_positions(item, written));
        }
        (Tree::Mapping(pairs), Tree::Mapping(written)) if pairs.len() == written.len() => {
            pairs
                .iter_mut()
                .zip(written)
                .for_each(|((_, value), (_, written))| copy_positions(value, written));
        }
        _ => {}
    }
}

impl Operation {
    fn tree(&self) -> Node {
        self.tree
            .clone()
            .unwrap_or_else(|| json::from_json(&self.value))
    }

    /// Adds the operation, its object and what that has to an error.
    fn locate(&self, error: BuildError, id: &Id, object: &Node) -> BuildError {
        let path = self.path.as_deref().map(parse_pointer).unwrap_or_default();
        let subject = format!("{} in {}", self.op, id);
        let error = error.about(subject).at_position(self.position);
        let parents = (0..path.len()).rev().filter_map(|end| path.get(..end));
        let mut parents = parents.filter_map(|path| Some((path, get(object, path)?)));
        match parents.next() {
            Some((parent, node)) if get(object, &path).is_none() => {
                let help = format!("/{} {}", parent.join("/"), near::contents(node));
                error.with_help(help)
            }
            _ => error,
        }
    }

    fn apply(&self, document: &mut Node) -> Result<(), BuildError> {
        let path = self.path.as_deref().map(parse_pointer);
        let path = path.ok_or_else(|| format!("{} operation: missing value path", self.op))?;
        let from = || {
            self.from
                .as_deref()
                .map(parse_pointer)
                .ok_or_else(|| format!("{} needs from", self.op))
        };
        match self.op.as_str() {
            "add" => add(document, &path, self.tree()),
            "remove" => remove(document, &path).map(drop),
            "replace" => replace(document, &path, self.tree()),
            "move" => {
                let value = remove(document, &from()?)?;
                add(document, &path, value)
            }
            "copy" => {
                let from = from()?;
                let value = get(document, &from)
                    .ok_or_else(|| missing_path(&from))?
                    .clone();
                add(document, &path, value)
            }
            "test" => match get(document, &path) {
                Some(value) if json::to_json(value)? == self.value => Ok(()),
                None if self.value.is_null() => Ok(()),
                _ => Err(BuildError::new(format!(
                    "/{} does not have the tested value",
                    path.join("/")
                ))),
            },
            op => {
                let error = BuildError::new(format!("{op:?} is not an operation"));
                Err(error.with_help("use add, remove, replace, move, copy or test"))
            }
        }
    }
}

fn parse_pointer(text: &str) -> Vec<String> {
    text.split('/').skip(1).map(pointer::unescape).collect()
}

fn missing_path(path: &[String]) -> BuildError {
    BuildError::new(format!("there is nothing at /{}", path.join("/")))
}

fn get<'a>(document: &'a Node, path: &[String]) -> Option<&'a Node> {
    path.iter()
        .try_fold(document, |node, part| match &node.value {
            Tree::Mapping(_) => node.get(part),
            Tree::Sequence(items) => index(part, items.len()).and_then(|at| items.get(at)),
            Tree::Scalar(..) => None,
        })
}

fn get_mut<'a>(document: &'a mut Node, path: &[String]) -> Option<&'a mut Node> {
    path.iter()
        .try_fold(document, |node, part| match &mut node.value {
            Tree::Mapping(pairs) => pairs
                .iter_mut()
                .find(|(key, _)| key.as_str() == Some(part))
                .map(|(_, value)| value),
            Tree::Sequence(items) => {
                let at = index(part, items.len())?;
                items.get_mut(at)
            }
            Tree::Scalar(..) => None,
        })
}

/// Parses a list index; a negative one counts from the end.
fn index(part: &str, length: usize) -> Option<usize> {
    match part.parse::<i64>().ok()? {
        at if at >= 0 => usize::try_from(at).ok(),
        at => length.checked_sub(usize::try_from(-at).ok()?),
    }
}

/// Creates `metadata.annotations` if it is missing. During a build kustomize keeps internal
/// annotations there, so patches find the map.
fn ensure_annotations(object: &mut Node) {
    if let Some(metadata) =
        walk::get_mut(object, "metadata").filter(|metadata| metadata.as_mapping().is_some())
    {
        let annotations = walk::entry(metadata, "annotations");
        if annotations.is_null() {
            annotations.value = Tree::Mapping(Vec::new());
        }
    }
}

/// Returns the map or list that contains the last part of a path.
fn container<'a, 'p>(
    document: &'a mut Node,
    path: &'p [String],
) -> Result<(&'a mut Tree, &'p str), BuildError> {
    let (last, parents) = path
        .split_last()
        .ok_or("the whole document cannot be removed or moved")?;
    let holder = get_mut(document, parents).ok_or_else(|| missing_path(path))?;
    Ok((&mut holder.value, last))
}

fn bad_index(part: &str) -> BuildError {
    BuildError::new(format!("the list has no index {part}"))
}

/// Sets the value of a key.
fn set(pairs: &mut Vec<(Node, Node)>, key: &str, value: Node) {
    match pairs
        .iter_mut()
        .find(|(known, _)| known.as_str() == Some(key))
    {
        Some((_, slot)) => *slot = value,
        None => pairs.push((json::text(key), value)),
    }
}

fn add(document: &mut Node, path: &[String], value: Node) -> Result<(), BuildError> {
    if path.is_empty() {
        *document = value;
        return Ok(());
    }
    let (holder, last) = container(document, path)?;
    match holder {
        Tree::Mapping(pairs) => set(pairs, last, value),
        Tree::Sequence(items) if last == "-" => items.push(value),
        Tree::Sequence(items) => {
            // A negative index counts from the end of the list after the insertion.
            let at = index(last, items.len() + 1).filter(|at| *at <= items.len());
            items.insert(at.ok_or_else(|| bad_index(last))?, value);
        }
        Tree::Scalar(..) => return Err(missing_path(path)),
    }
    Ok(())
}

fn replace(document: &mut Node, path: &[String], value: Node) -> Result<(), BuildError> {
    if path.is_empty() {
        *document = value;
        return Ok(());
    }
    let (holder, last) = container(document, path)?;
    match holder {
        Tree::Mapping(pairs) => set(pairs, last, value),
        Tree::Sequence(items) => {
            let at = index(last, items.len()).and_then(|at| items.get_mut(at));
            *at.ok_or_else(|| bad_index(last))? = value;
        }
        Tree::Scalar(..) => return Err(missing_path(path)),
    }
    Ok(())
}

fn remove(document: &mut Node, path: &[String]) -> Result<Node, BuildError> {
    let (holder, last) = container(document, path)?;
    match holder {
        Tree::Mapping(pairs) => {
            match pairs.iter().position(|(key, _)| key.as_str() == Some(last)) {
                Some(at) => Ok(pairs.remove(at).1),
                None => Err(missing_path(path)),
            }
        }
        Tree::Sequence(items) => match index(last, items.len()).filter(|at| *at < items.len()) {
            Some(at) => Ok(items.remove(at)),
            None => Err(bad_index(last)),
        },
        Tree::Scalar(..) => Err(missing_path(path)),
    }
}
