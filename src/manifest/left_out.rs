//! Documents of a stream that are no objects, and why.

use serde_json::{Map, Value};

use crate::base::nearest::nearest;
use crate::yaml::Node;
use crate::yaml::node::{Position, Value as YamlValue};

/// Maximum number of documents that an error names.
const MAX_NAMED: usize = 5;

/// A document, or an item of a list, that is no object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Where it is in the stream: the member that is at fault, else the start of the document.
    pub position: Position,
    /// Its `kind`; empty if it has none.
    pub kind: String,
    /// Why it is no object.
    pub reason: Reason,
}

/// Why a document is no object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It configures kustomize, and is not for a cluster.
    Kustomization,
    /// A member that every object needs is missing or wrong; the text says which, and what to do.
    Malformed(String),
}

/// A stream holds documents that look like objects and are none.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct MalformedObjects(Vec<String>);

impl LeftOut {
    /// Returns `FILE:LINE:COLUMN: what it is, and why it is no object`.
    pub fn sentence(&self, file: &str) -> String {
        let Position { line, column } = self.position;
        format!("{file}:{line}:{column}: {self}")
    }
}

impl std::fmt::Display for LeftOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.kind.as_str() {
            "" => "document",
            kind => kind,
        };
        match &self.reason {
            Reason::Kustomization => write!(f, "the {kind} is not for a cluster but for kustomize"),
            Reason::Malformed(why) => write!(f, "the {kind} {why}"),
        }
    }
}

/// Fails if one of the documents looks like an object: it is no kustomization. `file` names the
/// stream.
///
/// # Errors
/// [`MalformedObjects`] with a sentence for each of the first documents: FILE:LINE:COLUMN, the
/// kind, what is wrong and what to do.
pub fn require_objects(file: &str, left_out: &[LeftOut]) -> Result<(), MalformedObjects> {
    let malformed = left_out
        .iter()
        .filter(|document| document.reason != Reason::Kustomization);
    let more = malformed.clone().count().saturating_sub(MAX_NAMED);
    let mut sentences: Vec<String> = malformed
        .take(MAX_NAMED)
        .map(|document| document.sentence(file))
        .collect();
    sentences.extend((more > 0).then(|| format!("and {more} more documents")));
    match sentences.is_empty() {
        true => Ok(()),
        false => Err(MalformedObjects(sentences)),
    }
}

/// Checks that a document is an object. `node` is its tree, for positions; a stream of JSON has
/// only `start`.
pub(super) fn fault(
    document: &Map<String, Value>,
    node: Option<&Node>,
    start: Position,
) -> Option<LeftOut> {
    let (path, reason) = match is_kustomization(document) {
        true => (Vec::new(), Reason::Kustomization),
        false => {
            let (path, why) = missing_member(document)?;
            (path, Reason::Malformed(why))
        }
    };
    let kind = document.get("kind").and_then(Value::as_str);
    Some(LeftOut {
        position: node.and_then(|node| position(node, &path)).unwrap_or(start),
        kind: kind.unwrap_or_default().to_owned(),
        reason,
    })
}

fn is_kustomization(document: &Map<String, Value>) -> bool {
    let text = |member: &str| {
        document
            .get(member)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    text("kind").eq_ignore_ascii_case("kustomization")
        && text("apiVersion").starts_with("kustomize.config.k8s.io/")
}

/// Returns the first member that makes the document no object: its path, or that of the nearest
/// one, and what is wrong.
fn missing_member(document: &Map<String, Value>) -> Option<(Vec<String>, String)> {
    for member in ["apiVersion", "kind"] {
        if let Some((at, why)) = faulty_text(document, member, member) {
            return Some((vec![at], why));
        }
    }
    if document["apiVersion"].as_str()?.matches('/').count() > 1 {
        let why = "has an apiVersion with more than one slash; it is VERSION or GROUP/VERSION";
        return Some((vec!["apiVersion".into()], why.into()));
    }
    let metadata = match document.get("metadata") {
        Some(Value::Object(metadata)) => metadata,
        Some(other) => {
            let why = format!("has {} as metadata, but it must be a map", name_of(other));
            return Some((vec!["metadata".into()], why));
        }
        None => {
            let (at, why) = missing(document, "metadata", "metadata");
            return Some((vec![at], why));
        }
    };
    let generates = metadata.get("generateName").is_some_and(Value::is_string);
    if !metadata.contains_key("name") && generates {
        let why = "has no metadata.name but a generateName, so each apply would create another one; give it a name";
        return Some((vec!["metadata".into(), "generateName".into()], why.into()));
    }
    let (at, why) = faulty_text(metadata, "name", "metadata.name")?;
    Some((vec!["metadata".into(), at], why))
}

/// Returns what is wrong with a member that must be a text, if anything is.
fn faulty_text(map: &Map<String, Value>, member: &str, path: &str) -> Option<(String, String)> {
    match map.get(member) {
        Some(Value::String(text)) if !text.is_empty() => None,
        Some(Value::String(_)) => Some((member.into(), format!("has an empty {path}"))),
        Some(Value::Null) => Some((member.into(), format!("has a {path} without a value"))),
        Some(other) => {
            let help = match other {
                Value::Bool(_) | Value::Number(_) => "; quote it if it is meant as a text",
                _ => "",
            };
            let kind = name_of(other);
            Some((
                member.into(),
                format!("has {kind} as {path}, but it must be a text{help}"),
            ))
        }
        None => Some(missing(map, member, path)),
    }
}

fn missing(map: &Map<String, Value>, member: &str, path: &str) -> (String, String) {
    const USUAL: [&str; 12] = [
        "apiVersion",
        "kind",
        "metadata",
        "spec",
        "data",
        "status",
        "name",
        "namespace",
        "labels",
        "annotations",
        "type",
        "generateName",
    ];
    let odd = map.keys().map(String::as_str);
    let odd = odd.filter(|key| !USUAL.contains(key));
    match nearest(member, odd) {
        Some(near) => {
            let why = format!("has no {path}; is {near:?} meant to be {member:?}?");
            (near.to_owned(), why)
        }
        None => (String::new(), format!("has no {path}")),
    }
}

fn name_of(value: &Value) -> String {
    match value {
        Value::Null => "nothing".into(),
        Value::Bool(truth) => format!("the boolean {truth}"),
        Value::Number(number) => format!("the number {number}"),
        Value::String(_) => "a text".into(),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "a map".into(),
    }
}

/// Returns where the key at a path is, or, if it does not exist, the last one above it.
fn position(node: &Node, path: &[String]) -> Option<Position> {
    let mut found = node.position;
    let mut node = node;
    for step in path {
        let YamlValue::Mapping(pairs) = &node.value else {
            break;
        };
        let mut pairs = pairs.iter().rev();
        let Some((key, value)) = pairs.find(|(key, _)| key.as_str() == Some(step)) else {
            break;
        };
        found = key.position;
        node = value;
    }
    Some(found)
}
