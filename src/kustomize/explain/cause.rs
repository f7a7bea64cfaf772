//! Attributes written values to the step of the build that wrote them.

use super::ValueOrigin;
use crate::kustomize::build::observer::FieldLocation;
use crate::kustomize::load::path;
use crate::yaml::{Node, Position, Style, Value};

/// A step, and where its values are written.
pub(crate) struct Cause<'a> {
    /// The location of the step's configuration.
    origin: ValueOrigin,
    values: ValueLocation<'a>,
}

/// The location of the values that a step writes into objects.
#[derive(Clone, Copy)]
enum ValueLocation<'a> {
    /// They have no other location than the step's configuration.
    AtOrigin,
    /// In the file of the origin. Nodes that the step writes carry their line number; other nodes
    /// carry none.
    File,
    /// In a block scalar that starts at this line in the file of the origin. Nodes that the step
    /// writes carry their line number within it; other nodes carry none.
    Inline(u32),
    /// In the `literals`, `files` and `envs` of a generator.
    Entries(FieldLocation<'a>),
}

impl<'a> Cause<'a> {
    /// Returns a final step, which no field configures.
    pub fn final_step(step: &str) -> Self {
        Self {
            origin: ValueOrigin {
                field: step.to_owned(),
                ..ValueOrigin::default()
            },
            values: ValueLocation::AtOrigin,
        }
    }

    /// Returns the step that a field configures.
    pub fn for_field(location: FieldLocation<'_>) -> Self {
        let origin = ValueOrigin {
            kustomization: location.file.path.clone(),
            field: location.field_ref.to_string(),
            file: location.file.path.clone(),
            line: location.node().map(|node| node.position.line),
        };
        Self {
            origin,
            values: ValueLocation::AtOrigin,
        }
    }

    /// Sets the file that contains the values.
    pub fn with_values_in_file(mut self, file: &str) -> Self {
        file.clone_into(&mut self.origin.file);
        self.origin.line = None;
        self.values = ValueLocation::File;
        self
    }

    /// Sets the location of a configuration outside of the kustomization file.
    pub fn configured_at(mut self, file: &str, line: Option<u32>) -> Self {
        file.clone_into(&mut self.origin.file);
        self.origin.line = line;
        self
    }

    /// Sets the node of the kustomization file that contains the values inline.
    pub fn with_inline_values(mut self, text: Option<&Node>) -> Self {
        let Some(node) = text else { return self };
        self.origin.line = Some(node.position.line);
        if let Value::Scalar(text, Style::Literal) = &node.value {
            let blank = text.len() - text.trim_start_matches('\n').len();
            self.values = ValueLocation::Inline(
                node.position.line + u32::try_from(blank).unwrap_or_default(),
            );
        }
        self
    }

    /// Sets the generator entry that contains the values.
    pub fn with_values_in_entries(mut self, location: FieldLocation<'a>) -> Self {
        self.values = ValueLocation::Entries(location);
        self
    }

    /// Returns true if a node with this position was written by the step, even if its value is
    /// unchanged.
    pub(crate) fn wrote(&self, position: Position) -> bool {
        matches!(self.values, ValueLocation::File | ValueLocation::Inline(_))
            && position != Position::default()
    }

    /// Returns the origin of a value that the step wrote at a path of an object.
    pub(crate) fn origin(&self, way: &[String], position: Position) -> ValueOrigin {
        let mut origin = self.origin.clone();
        let line = (position.line > 0).then_some(position.line);
        match (self.values, line) {
            (ValueLocation::File, Some(line)) => origin.line = Some(line),
            (ValueLocation::Inline(first), Some(line)) => origin.line = Some(first + line),
            (ValueLocation::Entries(entries), _) => {
                if let Some(entry) = entries.node()
                    && let [map, key] = way
                    && matches!(map.as_str(), "data" | "binaryData")
                    && let Some((file, line)) = source_of_key(entry, key)
                {
                    match file {
                        Some(file) => {
                            origin = ValueOrigin {
                                file: entries.file.resolve(file),
                                line: None,
                                ..origin
                            }
                        }
                        None => origin.line = Some(line),
                    }
                }
            }
            _ => {}
        }
        origin
    }
}

/// Returns the source of a key of generated data: the file that an entry names, if any, and the
/// line of the entry. A key that is neither a literal nor a file comes from the env file, if there
/// is exactly one.
fn source_of_key<'a>(generator: &'a Node, key: &str) -> Option<(Option<&'a str>, u32)> {
    let entries = |field: &str| {
        let items = generator
            .get(field)
            .and_then(Node::as_sequence)
            .unwrap_or_default()
            .iter();
        items.filter_map(|item| Some((item.as_str()?, item.position.line)))
    };
    let literal = entries("literals")
        .find(|(text, _)| text.split_once('=').is_some_and(|(name, _)| name == key));
    if let Some((_, line)) = literal {
        return Some((None, line));
    }
    let mut files = entries("files").map(|(text, line)| match text.split_once('=') {
        Some((name, file)) => (name, file, line),
        None => (path::file_name(text), text, line),
    });
    if let Some((_, file, line)) = files.find(|(name, ..)| *name == key) {
        return Some((Some(file), line));
    }
    let mut envs = entries("envs").chain(
        generator
            .get("env")
            .and_then(|env| Some((env.as_str()?, env.position.line))),
    );
    match (envs.next(), envs.next()) {
        (Some((file, line)), None) => Some((Some(file), line)),
        _ => None,
    }
}
