//! Kubernetes objects as free-form JSON: read, named, ordered, written. Pure.
//!
//! [`read`](read()) takes any YAML or JSON stream, [`sort`] puts objects into the
//! order of an artifact, [`write`](write()) gives the artifact's bytes. Together they are the
//! one pipeline through which every build goes (Flux's `ssa` package; specification of reading,
//! sections 1 to 4).

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
