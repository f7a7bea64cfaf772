//! The text of a configuration file, and where its fields are.

use std::cell::OnceCell;

use crate::kustomize::BuildError;
use crate::kustomize::error::PathStep;
use crate::kustomize::load::path;
use crate::kustomize::load::step::FieldRef;
use crate::kustomize::schema::settings;
use crate::yaml::{Node, Position};

/// A kustomization file, or a file with a part of one, as it was read. It is parsed into a tree with
/// positions once, when that is first asked for.
pub(crate) struct ConfigFile {
    /// The path of the file, as errors show it.
    pub path: String,
    bytes: Vec<u8>,
    parsed: OnceCell<Result<Option<Node>, BuildError>>,
}

impl ConfigFile {
    pub fn new(path: String, bytes: Vec<u8>) -> Self {
        Self {
            path,
            bytes,
            parsed: OnceCell::new(),
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

    /// Returns the tree of the file.
    ///
    /// # Errors
    /// Fails if the file is empty or is not valid YAML.
    pub fn parsed(&self) -> Result<&Node, BuildError> {
        let parsed = self.parsed.get_or_init(|| settings::parse(&self.bytes));
        match parsed {
            Ok(tree) => tree.as_ref().ok_or_else(|| "it is empty".into()),
            Err(error) => Err(error.clone()),
        }
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
        self.parsed().ok()
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
