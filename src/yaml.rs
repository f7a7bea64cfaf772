//! YAML as Kubernetes tools read and write it: the dialect of go-yaml, which is libyaml's.
//!
//! * [`parse`] turns text into a tree of [`Node`]s that keeps scalar styles, tags and positions;
//!   aliases are expanded within a budget.
//! * [`resolve`](mod@resolve) says what a plain scalar means (YAML 1.1 as go-yaml v2 has it).
//! * [`json`] turns a tree into JSON values by those rules.
//! * [`emit`](mod@emit) writes JSON values as go-yaml v2 does, byte for byte.
//!
//! The parser is ours: no crate accepts and rejects what go-yaml does (the saphyr family follows
//! YAML 1.2, libyaml-safer panics on a block scalar that ends with the file). It never recurses, so
//! depth is a limit and not a stack.

pub mod emit;
pub mod json;
pub mod node;
pub mod resolve;

mod compose;
mod parser;
mod scalar;
mod scanner;

pub use compose::{Limits, parse, parse_all, parse_from};
pub use emit::emit;
pub use node::{Node, Position, Style, Value};

/// Text that is not YAML, or too much of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} at {position}")]
pub struct YamlError {
    /// What is wrong.
    pub message: String,
    /// Where.
    pub position: Position,
}

impl YamlError {
    pub(crate) fn at(position: Position, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            position,
        }
    }
}
