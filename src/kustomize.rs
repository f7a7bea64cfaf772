//! kustomize: a tree of files in, objects out. Pure: no disk, clock, environment, network or log;
//! files are read through [`Files`], which the caller hands in and may bound.
//!
//! The work is in `accumulate`: resources, `configurations` and `crds`, the generators of
//! `generate`, components, the transformers of `transform`, validators, variables; names are hashed
//! and references follow at the very end. A generator or transformer is a struct that a field of a
//! kustomization makes, or a plugin's config. What a build may ask for beside files is its [`Host`]'s to
//! give; `explain` watches a build and says where each value comes from. The bar is sameness with
//! kustomize v5 (`tests/conformance`, `tests/it/differential.rs`), faults included; a comment says where
//! a fault is meant.
//!
//! Of the time that 4,000 objects in 100 kustomizations take (`benches/kustomize` makes the tree) the
//! transformers have a fifth, which is each field of each object looked at once per transformer;
//! references had a fifth, half of it for asking which namespaces are near, which is now asked once an
//! object; parsing and printing have a tenth each, and so do the ids by which objects are found when
//! kustomizations join, which are texts that are copied: kustomize compares ids by value, and objects
//! change while their ids are kept. A patch finds its object by an index that its neighbours share.

pub mod explain;
pub mod load;
pub mod print;

mod build;
mod error;
mod generate;
mod go;
mod resource;
mod schema;
mod transform;
mod tree;

use std::collections::HashMap;

pub use error::BuildError;
pub use explain::Explanation;
pub use load::files::{Files, Kind};
pub use load::host::{Alone, Helm, Host, Remote};
pub use print::print;
use serde_json::{Map, Value};

/// How an overlay is built.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whether files may be read from outside of the directory of the kustomization that names them.
    /// Nothing is ever read from outside of [`Files`].
    pub unrestricted: bool,
    /// What a line without a value in a file of variables takes its value from.
    pub environment: HashMap<String, String>,
    /// Bounds on the work.
    pub budget: Budget,
}

/// Bounds on one build.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Files that are read.
    pub files: usize,
    /// Bytes that are read.
    pub bytes: u64,
    /// Kustomizations inside kustomizations.
    pub depth: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            files: 20_000,
            bytes: 256 << 20,
            depth: 100,
        }
    }
}

/// Builds the kustomization in the directory `root`.
///
/// # Errors
/// [`BuildError`].
pub fn build(
    files: &dyn Files,
    root: &str,
    options: &Options,
    host: &dyn Host,
) -> Result<Vec<Map<String, Value>>, BuildError> {
    build::accumulate::build(files, root, options, host)
}

/// Builds the kustomization in the directory `root`, and says where each of its values comes from.
///
/// # Errors
/// [`BuildError`], the same as from [`build()`].
pub fn explain(
    files: &dyn Files,
    root: &str,
    options: &Options,
    host: &dyn Host,
) -> Result<Explanation, BuildError> {
    let mut trace = explain::Trace::default();
    let left = build::accumulate::observe(files, root, options, host, &mut trace)?;
    Ok(trace.finish(&left))
}

/// Applies patch files to a list of objects, as a last step after a build. Paths are relative to the
/// root of [`Files`].
///
/// # Errors
/// [`BuildError`].
pub fn patch(
    files: &dyn Files,
    objects: Vec<Map<String, Value>>,
    patches: &[String],
) -> Result<Vec<Map<String, Value>>, BuildError> {
    build::accumulate::patch(files, objects, patches)
}
