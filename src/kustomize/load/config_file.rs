//! The text of a configuration file, and where its fields are.

use std::cell::OnceCell;

use crate::kustomize::BuildError;
use crate::kustomize::error::PathStep;
use crate::kustomize::load::path;
use crate::kustomize::load::step::FieldRef;
use crate::kustomize::schema::settings;
use crate::yaml::{Node, Position};

/// A kustomization file, or a file with a part of one, as it was read. It is parsed again, into a
/// tree with positions, when an error or a trace first asks where a field is.
pub(crate) struct ConfigFile {
    /// The path of the file, as errors show it.
    pub path: String,
    bytes: Vec<u8>,
    tree: OnceCell<Option<Node>>,
}

impl ConfigFile {
    pub fn new(path: String, bytes: Vec<u8>) -> Self {
        Self {
            path,
            bytes,
            tree: OnceCell::new(),
        }
    }

    /// Returns the content of the file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Names the file in an error, with the position of the field that is at fault.
    pub fn locate(&self, error: BuildError) -> BuildError {
        let error = error.resolve_files(|file| self.resolve(file));
        error.in_located_file(&self.path, |field| position(self.tree()?, &field.0))
    }

    /// Checks that no map of the file has a key twice, of which the last counts.
    ///
    /// # Errors
    /// Fails with the place of the second one.
    pub fn check_keys(&self) -> Result<(), BuildError> {
        let checked = self.tree().map_or(Ok(()), settings::check_keys);
        checked.map_err(|error| self.locate(error))
    }

    /// Returns the node of a field or entry.
    pub fn node(&self, field_ref: FieldRef) -> Option<&Node> {
        let value = &pair(self.tree()?, field_ref.field)?.1;
        match field_ref.entry {
            None => Some(value),
            Some(entry) => value.as_sequence()?.get(entry),
        }
    }

    /// Returns a path relative to the file's directory as errors show it.
    pub fn resolve(&self, path: &str) -> String {
        path::beside(&self.path, path)
    }

    fn tree(&self) -> Option<&Node> {
        self.tree
            .get_or_init(|| settings::tree(&self.bytes))
            .as_ref()
    }
}

/// Returns the last pair of a key. As in kustomize, field names are case-insensitive.
fn pair<'a>(map: &'a Node, name: &str) -> Option<&'a (Node, Node)> {
    map.as_mapping()?.iter().rev().find(|(key, _)| {
        key.as_str()
            .is_some_and(|key| key.eq_ignore_ascii_case(name))
    })
}

/// Returns where the key of a field, or an item, is. If the end of the path does not exist, returns
/// the position of what contains it.
fn position(node: &Node, path: &[PathStep]) -> Option<Position> {
    let (step, rest) = path.split_first()?;
    let (start, value) = match step {
        PathStep::Field(name) => {
            let (key, value) = pair(node, name)?;
            (key.position, value)
        }
        PathStep::Item(index) => {
            let item = node.as_sequence()?.get(*index)?;
            (item.position, item)
        }
    };
    position(value, rest).or(Some(start))
}
