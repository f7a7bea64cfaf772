//! What a step of a build is, as the origin of what it writes.

use super::Origin;
use crate::kustomize::build::observer::Asking;
use crate::kustomize::load::path;
use crate::yaml::{Node, Position, Style, Value};

/// A step.
pub(crate) struct Cause<'a> {
    /// The place where it is asked for.
    origin: Origin,
    text: Text<'a>,
}

/// Where the values are written that a step puts into objects.
#[derive(Clone, Copy)]
enum Text<'a> {
    /// Nowhere else than where the step is asked for.
    There,
    /// In the origin's file; nodes know their lines, and those of others know none.
    File,
    /// In a text inside of the file that begins in this line; the same of nodes.
    Inside(u32),
    /// In the entries of a generator.
    Entries(Asking<'a>),
}

impl<'a> Cause<'a> {
    /// What kustomize does by itself.
    pub fn at_the_end(what: &str) -> Self {
        Self {
            origin: Origin {
                field: what.to_owned(),
                ..Origin::default()
            },
            text: Text::There,
        }
    }

    /// What a field of a kustomization asks for.
    pub fn field(asking: Asking<'_>) -> Self {
        let origin = Origin {
            kustomization: asking.file.to_owned(),
            field: asking.asked.to_string(),
            file: asking.file.to_owned(),
            line: asking.node().map(|node| node.position.line),
        };
        Self {
            origin,
            text: Text::There,
        }
    }

    /// The same with values that are written in a file.
    pub fn in_file(mut self, file: &str) -> Self {
        file.clone_into(&mut self.origin.file);
        self.origin.line = None;
        self.text = Text::File;
        self
    }

    /// The same with what asks for it at a line of another file.
    pub fn at(mut self, file: &str, line: Option<u32>) -> Self {
        file.clone_into(&mut self.origin.file);
        self.origin.line = line;
        self
    }

    /// The same with values that are written in a text of the kustomization itself.
    pub fn inside(mut self, text: Option<&Node>) -> Self {
        let Some(node) = text else { return self };
        self.origin.line = Some(node.position.line);
        if let Value::Scalar(text, Style::Literal) = &node.value {
            let blank = text.len() - text.trim_start_matches('\n').len();
            self.text = Text::Inside(node.position.line + u32::try_from(blank).unwrap_or_default());
        }
        self
    }

    /// The same with values that are written in the entries of a generator.
    pub fn of_entries(mut self, asking: Asking<'a>) -> Self {
        self.text = Text::Entries(asking);
        self
    }

    /// Whether a node of a place comes from the step, whatever was there before.
    pub(crate) fn wrote(&self, position: Position) -> bool {
        matches!(self.text, Text::File | Text::Inside(_)) && position != Position::default()
    }

    /// Where a value was written that is new at a place of an object.
    pub(crate) fn origin(&self, way: &[String], position: Position) -> Origin {
        let mut origin = self.origin.clone();
        let line = (position.line > 0).then_some(position.line);
        match (self.text, line) {
            (Text::File, Some(line)) => origin.line = Some(line),
            (Text::Inside(first), Some(line)) => origin.line = Some(first + line),
            (Text::Entries(entries), _) => {
                if let Some(entry) = entries.node()
                    && let [map, key] = way
                    && matches!(map.as_str(), "data" | "binaryData")
                    && let Some((file, line)) = entry_of(entry, key)
                {
                    match file {
                        Some(file) => {
                            origin = Origin {
                                file: entries.below(file),
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

/// The entry of a generator that a key comes from: the file that it names, or its line.
fn entry_of<'a>(generator: &'a Node, key: &str) -> Option<(Option<&'a str>, u32)> {
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
