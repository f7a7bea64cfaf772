//! The path to a field, as text only where it is wanted.

use crate::cluster::fields::diff::pairs::Pair;
use crate::cluster::fields::diff::{Form, SERVERS_OWN};

/// One step, and those before it.
#[derive(Debug, Clone, Copy)]
pub struct Path<'a> {
    pub parent: Option<&'a Path<'a>>,
    pub step: Step<'a>,
}

/// Into a map or into a list.
#[derive(Debug, Clone, Copy)]
pub enum Step<'a> {
    Key(&'a str),
    Item(Pair),
}

impl Path<'_> {
    /// Whether the replaced program does not look there. It goes by the text of the path, so that keys with dots
    /// may look like what is meant.
    pub fn is_unseen(&self) -> bool {
        if matches!(self.step, Step::Key("status")) {
            return true;
        }
        let text = self.text(Form::Shipped);
        let is_at = |path: &str| {
            text.strip_prefix(path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let is_servers = |member| is_at(&format!("metadata.{member}"));
        is_at("status") || is_servers("namespace") || SERVERS_OWN.into_iter().any(is_servers)
    }

    /// As a JSON pointer into what was before.
    pub fn pointer(&self) -> String {
        let parent = self.parent.map(Self::pointer).unwrap_or_default();
        match self.step {
            Step::Key(key) => format!("{parent}/{}", key.replace('~', "~0").replace('/', "~1")),
            Step::Item(Pair::Both(at, _) | Pair::Removed(at) | Pair::Added(at)) => {
                format!("{parent}/{at}")
            }
        }
    }

    /// As people read it.
    pub fn text(&self, form: Form) -> String {
        let mut text = self
            .parent
            .map(|parent| parent.text(form))
            .unwrap_or_default();
        match (self.step, form) {
            (Step::Key(key), _) => {
                if self.parent.is_some() {
                    text.push('.');
                }
                match form {
                    Form::Ours if key.is_empty() || key.contains(['.', '[', '"']) => {
                        text.push_str(&format!("{key:?}"));
                    }
                    Form::Ours => text.push_str(key),
                    Form::Shipped => text.push_str(key.trim_matches('"')),
                }
            }
            (Step::Item(Pair::Both(_, at) | Pair::Removed(at) | Pair::Added(at)), Form::Ours) => {
                text.push_str(&format!("[{at}]"));
            }
            (Step::Item(pair), Form::Shipped) => text.push_str(&match pair {
                Pair::Both(i, j) if i == j => format!("[[{i}]]"),
                Pair::Both(i, j) => format!("[[{i}->{j}]]"),
                Pair::Removed(i) => format!("[[{i}->?]]"),
                Pair::Added(j) => format!("[[?->{j}]]"),
            }),
        }
        text
    }
}
