//! Path to a field, rendered to text only where needed.

use crate::cluster::fields::diff::pairs::Pair;
use crate::cluster::fields::diff::{DiffFormat, SERVER_FIELDS};
use crate::manifest::pointer;

/// The last step of a path, linked to the steps before it.
#[derive(Debug, Clone, Copy)]
pub struct Path<'a> {
    pub parent: Option<&'a Path<'a>>,
    pub step: DiffStep<'a>,
}

/// A step into a map or into a list.
#[derive(Debug, Clone, Copy)]
pub enum DiffStep<'a> {
    Key(&'a str),
    Item(Pair),
}

impl Path<'_> {
    /// Returns true if the Go runner does not compare this field. It matches the text of the path,
    /// so a key with dots can match too.
    pub fn is_excluded_in_legacy(&self) -> bool {
        if matches!(self.step, DiffStep::Key("status")) {
            return true;
        }
        let text = self.text(DiffFormat::Legacy);
        let is_at = |path: &str| {
            text.strip_prefix(path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let is_at_metadata = |member| is_at(&format!("metadata.{member}"));
        is_at("status")
            || is_at_metadata("namespace")
            || SERVER_FIELDS.into_iter().any(is_at_metadata)
    }

    /// Returns the path as a JSON pointer into the object before the change; an added item has its
    /// index after it.
    pub fn pointer(&self) -> String {
        let parent = self.parent.map(Self::pointer).unwrap_or_default();
        match self.step {
            DiffStep::Key(key) => parent + &pointer::join(&[key]),
            DiffStep::Item(Pair::Both(at, _) | Pair::Removed(at) | Pair::Added(at)) => {
                format!("{parent}/{at}")
            }
        }
    }

    /// Returns the path as text for people.
    pub fn text(&self, form: DiffFormat) -> String {
        let mut text = self
            .parent
            .map(|parent| parent.text(form))
            .unwrap_or_default();
        match (self.step, form) {
            (DiffStep::Key(key), _) => {
                if self.parent.is_some() {
                    text.push('.');
                }
                match form {
                    DiffFormat::Native if key.is_empty() || key.contains(['.', '[', '"']) => {
                        text.push_str(&format!("{key:?}"));
                    }
                    DiffFormat::Native => text.push_str(key),
                    DiffFormat::Legacy => text.push_str(key.trim_matches('"')),
                }
            }
            (
                DiffStep::Item(Pair::Both(_, at) | Pair::Removed(at) | Pair::Added(at)),
                DiffFormat::Native,
            ) => {
                text.push_str(&format!("[{at}]"));
            }
            (DiffStep::Item(pair), DiffFormat::Legacy) => text.push_str(&match pair {
                Pair::Both(i, j) if i == j => format!("[[{i}]]"),
                Pair::Both(i, j) => format!("[[{i}->{j}]]"),
                Pair::Removed(i) => format!("[[{i}->?]]"),
                Pair::Added(j) => format!("[[?->{j}]]"),
            }),
        }
        text
    }
}
