//! Explains a build: for every field of every object, the steps that wrote it, in order.
//!
//! An explained build has a `trace`, which compares the objects after each step and records the
//! differences. The steps do not know about it, and a build without it has no overhead.

mod cause;
mod history;
mod secrets;
mod trace;

use serde_json::Value;
pub(crate) use trace::Trace;

/// The origin of everything in a build.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// The objects in build order, then those that were removed.
    pub objects: Vec<ExplainedObject>,
}

/// An object, and the history of its fields.
#[derive(Debug, Clone, PartialEq)]
pub struct ExplainedObject {
    /// Such as `apps/v1`.
    pub api_version: String,
    /// Such as `Deployment`.
    pub kind: String,
    /// The final name.
    pub name: String,
    /// The final namespace; empty if the object has none.
    pub namespace: String,
    /// Names before the final one, oldest first.
    pub previous_names: Vec<String>,
    /// The step that removed the object, if it was removed.
    pub removed: Option<ValueOrigin>,
    /// Every scalar and every empty list or map that the object has or had.
    pub fields: Vec<FieldHistory>,
}

/// The changes of a field.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldHistory {
    /// From the root of the object.
    pub path: Vec<PathPart>,
    /// Not empty; oldest first.
    pub changes: Vec<Change>,
}

/// A part of a field path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathPart {
    /// A key of a map.
    Key(String),
    /// The index of a list item, and its `name` if that is unique in the list.
    Item(usize, Option<String>),
}

/// A write to a field, or its removal.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The new value; `None` if the field was removed.
    pub value: Option<Value>,
    /// The step that wrote it.
    pub origin: ValueOrigin,
}

/// The step that wrote a value, and the location of the value in the source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ValueOrigin {
    /// The kustomization file that configures the step; empty for the final steps, which nothing
    /// configures.
    pub kustomization: String,
    /// The field in that file, such as `patches[1]`, or the name of a final step, such as `name
    /// hash`.
    pub field: String,
    /// The file that contains the value, or the configuration that produces it; empty if no file
    /// does.
    pub file: String,
    /// The line in the file, from 1; `None` if it is unknown.
    pub line: Option<u32>,
}

impl std::fmt::Display for ValueOrigin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.file)?;
        self.line.map_or(Ok(()), |line| write!(f, ":{line}"))
    }
}

/// Formats a path in kustomize's syntax (`spec.containers.[name=web].image`).
pub fn format_path(path: &[PathPart]) -> String {
    let parts = path.iter().map(|part| match part {
        PathPart::Key(key) => key.replace('.', "\\."),
        PathPart::Item(_, Some(name)) => format!("[name={name}]"),
        PathPart::Item(at, None) => at.to_string(),
    });
    parts.collect::<Vec<_>>().join(".")
}

/// Splits a path in kustomize's syntax into its parts. The dot before a bracket may be omitted.
pub fn parse_path(text: &str) -> Vec<String> {
    crate::kustomize::tree::fieldpath::split(&text.replace("[", ".[").replace("..[", ".["))
}

impl FieldHistory {
    /// Returns true if the field is at or below a path that [`parse_path`] returned. The path may
    /// select list items by `[name=…]`, by index, or with `*`.
    pub fn is_at_or_below(&self, path: &[String]) -> bool {
        path.len() <= self.path.len()
            && path
                .iter()
                .zip(&self.path)
                .all(|(wanted, part)| match part {
                    PathPart::Key(key) => wanted == key,
                    PathPart::Item(at, name) => {
                        let is_named = name
                            .as_ref()
                            .is_some_and(|name| *wanted == format!("[name={name}]"));
                        is_named
                            || wanted == "*"
                            || wanted.trim_matches(['[', ']']).parse() == Ok(*at)
                    }
                })
    }
}

impl ExplainedObject {
    /// Returns true if the object has or had the name.
    pub fn is_named(&self, name: &str) -> bool {
        self.name == name || self.previous_names.iter().any(|previous| previous == name)
    }
}
