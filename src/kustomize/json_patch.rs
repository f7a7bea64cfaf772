//! JSON patches (RFC 6902), with the ways of the library that kustomize uses: `replace` adds what is
//! missing, `add` without a value adds null, a pointer without a leading slash loses its first part.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::json;
use super::resource::Resource;
use super::selector::Selector;
use crate::yaml::{self, Limits};

/// One operation.
#[derive(Debug, Deserialize)]
pub(super) struct Operation {
    op: String,
    path: Option<String>,
    #[serde(default)]
    from: Option<String>,
    #[serde(default)]
    value: Value,
}

/// Whether an object that gets another name is still known by its old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    Kept,
    /// As `patchesJson6902` has it.
    Forgotten,
}

/// Applies the operations to every resource that is selected.
pub(super) fn apply(
    resources: &mut [Resource],
    operations: &[Operation],
    selector: &Selector,
    names: Names,
) -> Result<(), String> {
    for resource in resources.iter_mut().filter(|resource| selector.selects(resource)) {
        let id = resource.id();
        let failed = |message: String| format!("on {id}: {message}");
        let has_notes = names == Names::Kept || resource.has_notes();
        let mut document = json::to_json(&resource.node).map_err(failed)?;
        if has_notes {
            make_annotations(&mut document);
        }
        for operation in operations {
            operation.apply(&mut document).map_err(failed)?;
        }
        if names == Names::Kept {
            resource.remember();
        }
        resource.node = json::from_json(&document);
        resource.shared.clear();
    }
    Ok(())
}

/// The operations of a JSON patch; nothing if the text is none, but an object.
pub(super) fn parse(text: &str) -> Result<Option<Vec<Operation>>, String> {
    let value = if text.trim_start().starts_with('[') {
        serde_json::from_str(text).map_err(|error| {
            format!("unable to parse SM or JSON patch: it begins with [ and is not valid JSON: {error}")
        })?
    } else {
        let Ok(Some(node)) = yaml::parse(text, Limits::default()) else { return Ok(None) };
        if node.as_sequence().is_none() {
            return Ok(None);
        }
        yaml::json::to_json(&node).map_err(|error| error.to_string())?
    };
    serde_json::from_value(value).map(Some).map_err(|error| format!("it is not a JSON patch: {error}"))
}

impl Operation {
    fn apply(&self, document: &mut Value) -> Result<(), String> {
        let path =
            self.path.as_deref().map(pointer).ok_or_else(|| format!("{} operation: missing value path", self.op))?;
        let from = || self.from.as_deref().map(pointer).ok_or_else(|| format!("{} needs from", self.op));
        match self.op.as_str() {
            "add" => add(document, &path, self.value.clone()),
            "remove" => remove(document, &path).map(drop),
            "replace" => replace(document, &path, self.value.clone()),
            "move" => {
                let value = remove(document, &from()?)?;
                add(document, &path, value)
            }
            "copy" => {
                let value = get(document, &from()?)?.clone();
                add(document, &path, value)
            }
            "test" => match get(document, &path) {
                Ok(value) if *value == self.value => Ok(()),
                Err(_) if self.value.is_null() => Ok(()),
                _ => Err(format!("testing value /{} failed", path.join("/"))),
            },
            op => Err(format!("unexpected kind: {op:?} is not an operation")),
        }
    }
}

fn pointer(text: &str) -> Vec<String> {
    if text.is_empty() {
        return Vec::new();
    }
    text.split('/').skip(1).map(|part| part.replace("~1", "/").replace("~0", "~")).collect()
}

fn missing(path: &[String]) -> String {
    format!("doc is missing path: /{}", path.join("/"))
}

fn get<'a>(document: &'a Value, path: &[String]) -> Result<&'a Value, String> {
    path.iter()
        .try_fold(document, |value, part| match value {
            Value::Object(map) => map.get(part),
            Value::Array(items) => index(part, items.len()).and_then(|at| items.get(at)),
            _ => None,
        })
        .ok_or_else(|| missing(path))
}

fn get_mut<'a>(document: &'a mut Value, path: &[String]) -> Option<&'a mut Value> {
    path.iter().try_fold(document, |value, part| match value {
        Value::Object(map) => map.get_mut(part),
        Value::Array(items) => {
            let at = index(part, items.len())?;
            items.get_mut(at)
        }
        _ => None,
    })
}

/// A place in a list; negative numbers count from its end.
fn index(part: &str, length: usize) -> Option<usize> {
    match part.parse::<i64>().ok()? {
        at if at >= 0 => usize::try_from(at).ok(),
        at => length.checked_sub(usize::try_from(-at).ok()?),
    }
}

/// The engine of kustomize notes what it did in annotations while it works, so that map is there.
fn make_annotations(document: &mut Value) {
    let metadata = document.as_object_mut().and_then(|object| object.get_mut("metadata"));
    if let Some(Value::Object(metadata)) = metadata
        && metadata.get("annotations").is_none_or(Value::is_null)
    {
        metadata.insert("annotations".into(), Value::Object(Map::new()));
    }
}

/// The container that holds the last part of a path.
fn container<'a, 'p>(document: &'a mut Value, path: &'p [String]) -> Result<(&'a mut Value, &'p String), String> {
    let (last, parents) = path.split_last().ok_or("the whole document cannot be removed or moved")?;
    let holder = get_mut(document, parents).ok_or_else(|| missing(path))?;
    Ok((holder, last))
}

fn add(document: &mut Value, path: &[String], value: Value) -> Result<(), String> {
    if path.is_empty() {
        *document = value;
        return Ok(());
    }
    let (holder, last) = container(document, path)?;
    match holder {
        Value::Object(map) => drop(map.insert(last.clone(), value)),
        Value::Array(items) if last == "-" => items.push(value),
        Value::Array(items) => {
            // The last place of a longer list is where a negative index points.
            let at = index(last, items.len() + 1).filter(|at| *at <= items.len());
            items.insert(at.ok_or_else(|| format!("invalid index referenced: {last}"))?, value);
        }
        _ => return Err(missing(path)),
    }
    Ok(())
}

fn replace(document: &mut Value, path: &[String], value: Value) -> Result<(), String> {
    if path.is_empty() {
        *document = value;
        return Ok(());
    }
    let (holder, last) = container(document, path)?;
    match holder {
        Value::Object(map) => drop(map.insert(last.clone(), value)),
        Value::Array(items) => {
            let at = index(last, items.len()).and_then(|at| items.get_mut(at));
            *at.ok_or_else(|| format!("invalid index referenced: {last}"))? = value;
        }
        _ => return Err(missing(path)),
    }
    Ok(())
}

fn remove(document: &mut Value, path: &[String]) -> Result<Value, String> {
    let (holder, last) = container(document, path)?;
    match holder {
        Value::Object(map) => {
            map.shift_remove(last).ok_or_else(|| format!("unable to remove nonexistent key: {last}: {}", missing(path)))
        }
        Value::Array(items) => match index(last, items.len()).filter(|at| *at < items.len()) {
            Some(at) => Ok(items.remove(at)),
            None => Err(format!("invalid index referenced: {last}")),
        },
        _ => Err(missing(path)),
    }
}
