//! Kubernetes objects as free-form JSON: read, identity, order, write. Pure.
//!
//! [`read`](read()) accepts any YAML or JSON stream, [`sort`] puts objects into an artifact's
//! order, and [`write`](write()) returns the artifact's bytes. Every build goes through these
//! three. They follow Flux's `ssa` package; see `docs/artifact-format.md`.

pub mod managed_fields;
pub mod object;
pub mod order;
pub mod pointer;
pub mod read;
pub mod write;

pub use object::{Object, ObjectId};
pub use order::sort;
pub use read::{Manifest, ReadError, collect, read};
pub use write::write;
