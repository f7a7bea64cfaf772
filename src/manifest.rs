//! Kubernetes objects as free-form JSON: read, identity, order, write. Pure.
//!
//! [`read`](read()) accepts any YAML or JSON stream, [`sort`] puts objects into an artifact's
//! order, and [`write`](write()) returns the artifact's bytes. Every build goes through these
//! three. They follow Flux's `ssa` package; see `docs/artifact-format.md`.
//!
//! ```
//! use nuon_runner::manifest;
//!
//! let stream = b"apiVersion: v1\nkind: Service\nmetadata: {name: web}\n---\n\
//!                apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n";
//! let mut objects = manifest::read(stream)?.objects;
//! manifest::sort(&mut objects);
//! let ids: Vec<String> = objects.iter().map(|object| object.id().to_string()).collect();
//! assert_eq!(ids, ["Namespace/shop", "Service/web"]);
//! let text = manifest::write(&objects)?;
//! assert!(text.starts_with("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n---\n"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod left_out;
pub mod managed_fields;
pub mod object;
pub mod order;
pub mod pointer;
pub mod read;
pub mod write;

pub use left_out::{LeftOut, MalformedObjects};
pub use object::{Object, ObjectId};
pub use order::sort;
pub use read::{Manifest, ObjectSet, ReadError, collect, read};
pub use write::write;
