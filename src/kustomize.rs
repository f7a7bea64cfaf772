//! The kustomize engine: builds objects from a tree of files. It is pure: it does not access the
//! disk, clock, environment, network or log. It reads files through [`Files`], which the caller
//! provides and may limit.
//!
//! `accumulate` runs a build: resources, `configurations` and `crds`, the generators in `generate`,
//! components, the transformers in `transform`, validators, and variables. Name hashes and
//! references are updated at the very end. A generator or transformer is a struct, created from a
//! field of a kustomization or from a plugin config. Everything that a build needs besides files
//! comes from its [`Host`]. `explain` traces a build and reports the origin of each value.
//!
//! ```
//! use std::collections::BTreeMap;
//!
//! use nuon_runner::kustomize::{self, BuildOptions, NoHost};
//!
//! let files: BTreeMap<String, Vec<u8>> = [
//!     ("kustomization.yaml", "namePrefix: prod-\nresources: [config.yaml]\n"),
//!     ("config.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\n"),
//! ]
//! .map(|(name, text)| (name.to_owned(), text.into()))
//! .into();
//! let objects = kustomize::build(&files, "", &BuildOptions::default(), &NoHost)?;
//! let text = kustomize::print(&objects)?;
//! assert_eq!(text, "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: prod-web\n");
//!
//! // An error names the file, the line and the field.
//! let files: BTreeMap<String, Vec<u8>> =
//!     [("kustomization.yaml".to_owned(), b"resources:\n- no.yaml\n".to_vec())].into();
//! let error = kustomize::build(&files, "", &BuildOptions::default(), &NoHost).unwrap_err();
//! assert!(error.to_string().starts_with("kustomization.yaml:2:3: resources[0]: "));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The output must equal that of kustomize v5, bugs included (`tests/conformance`,
//! `tests/it/kustomize/differential.rs`). Comments mark bugs that are reproduced on purpose.
//!
//! Ids are copied strings, because kustomize compares ids by value, and objects change while their
//! ids are kept. The effective namespace, which references compare often, is computed once per
//! object. Patches find their objects through an index that neighboring patches share.

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

pub use error::{BuildError, HostError};
pub use explain::Explanation;
pub use load::files::{FileType, Files};
pub use load::host::{Helm, Host, NoHost, Remote};
pub use print::print;
use serde_json::{Map, Value};

/// Options of a build.
#[derive(Debug, Clone, Default)]
pub struct BuildOptions {
    /// Allows files outside the directory of the kustomization that names them. Files outside of
    /// [`Files`] are never read.
    pub unrestricted: bool,
    /// Limits of the build.
    pub budget: Budget,
}

/// Limits of one build.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Maximum number of files that are read.
    pub files: usize,
    /// Maximum number of bytes that are read, in all files together.
    pub bytes: u64,
    /// Maximum nesting depth of kustomizations.
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
/// Fails if the tree is not a valid kustomization, a limit is exceeded, or the host cancels the
/// build or refuses a request.
pub fn build(
    files: &dyn Files,
    root: &str,
    options: &BuildOptions,
    host: &dyn Host,
) -> Result<Vec<Map<String, Value>>, BuildError> {
    build::accumulate::build(files, root, options, host)
}

/// Builds the kustomization in the directory `root`, and returns the origin of each value instead
/// of the objects.
///
/// # Errors
/// Fails as [`build()`] does.
pub fn explain(
    files: &dyn Files,
    root: &str,
    options: &BuildOptions,
    host: &dyn Host,
) -> Result<Explanation, BuildError> {
    let mut trace = explain::Trace::default();
    let left = build::accumulate::observe(files, root, options, host, &mut trace)?;
    Ok(trace.finish(&left))
}

/// Applies patch files to objects, as a last step after a build. Paths are relative to the root of
/// [`Files`].
///
/// # Errors
/// Fails if a patch cannot be read or parsed, or does not apply.
pub fn patch(
    files: &dyn Files,
    objects: Vec<Map<String, Value>>,
    patches: &[String],
) -> Result<Vec<Map<String, Value>>, BuildError> {
    build::accumulate::patch(files, objects, patches)
}
