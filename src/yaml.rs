//! YAML as Kubernetes tools read and write it: the dialect of go-yaml, which is derived from
//! libyaml.
//!
//! - [`parse`] turns text into a tree of [`Node`]s that keeps scalar styles, tags and positions.
//!   Aliases are expanded within a budget.
//! - [`encoding`] decodes files.
//! - [`resolve`](mod@resolve) determines the type of a plain scalar (YAML 1.1 as in go-yaml v2).
//! - [`json`] turns a tree into JSON values by those rules.
//! - [`emit`](mod@emit) writes JSON values as go-yaml v2 does, byte for byte.
//!
//! The parser is our own because no crate accepts and rejects the same input as go-yaml (the saphyr
//! family follows YAML 1.2; libyaml-safer panics on a block scalar at the end of the file). It
//! never recurses, so depth is bounded by a limit and not by the stack.

pub mod emit;
pub mod encoding;
pub mod json;
pub mod node;
pub mod resolve;

mod compose;
mod diagnose;
mod parser;
mod scalar;
mod scanner;

pub use compose::{Limits, parse, parse_all, parse_from};
pub use emit::emit;
pub use node::{Node, Position, Style, Value};

/// The text is not valid YAML, or exceeds a limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} at {position}{}", self.help_text())]
pub struct YamlError {
    /// The problem, without its position.
    pub message: String,
    /// Where the error was found.
    pub position: Position,
    /// What to do; empty if nobody can tell.
    pub help: &'static str,
}

impl YamlError {
    pub(crate) fn at(position: Position, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            position,
            help: "",
        }
    }

    /// Returns the help as the end of a sentence; empty if there is none.
    pub(crate) fn help_text(&self) -> String {
        match self.help {
            "" => String::new(),
            help => format!("; help: {help}"),
        }
    }

    pub(crate) fn with_help(self, help: &'static str) -> Self {
        Self { help, ..self }
    }
}
