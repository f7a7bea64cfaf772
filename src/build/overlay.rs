//! Renders a kustomize overlay to objects.

use crate::kustomize::load::host::Host;
use crate::kustomize::{self, BuildError, BuildOptions, Files};
use crate::manifest::{self, Manifest, ReadError};

/// An overlay in a source tree, with the component's own patches.
#[derive(Debug, Clone)]
pub struct OverlaySource {
    /// Directory that the paths of overlay and patches start from; empty for the tree's root.
    pub base: String,
    /// Directory of the overlay.
    pub path: String,
    /// Patch files that are applied to what was built.
    pub patches: Vec<String>,
    /// Whether files outside of a kustomization's directory may be read.
    pub unrestricted: bool,
}

/// Why an overlay cannot be rendered.
#[derive(Debug, thiserror::Error)]
pub enum OverlayError {
    /// A path leads out of the source tree.
    #[error("the path {0} leaves the source")]
    LeavesSource(String),
    /// The overlay's directory does not exist.
    #[error("the source has no directory {path}{hint}")]
    NoDirectory {
        /// The directory.
        path: String,
        /// Where the directory may be instead; empty if nobody can tell.
        hint: String,
    },
    /// The build failed.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The build gave something that is no object.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl OverlaySource {
    /// Renders the overlay and applies the patches. The objects are in the order of the build.
    ///
    /// # Errors
    /// [`OverlayError`] names the file and field where the build knows them.
    pub fn render(&self, tree: &dyn Files, host: &dyn Host) -> Result<Manifest, OverlayError> {
        let root = join(&[&self.base, &self.path])?;
        if tree.kind(&root).is_none() {
            let hint = self.hint(tree);
            return Err(OverlayError::NoDirectory { path: root, hint });
        }
        let options = BuildOptions {
            unrestricted: self.unrestricted,
            ..BuildOptions::default()
        };
        let patches = self.patches.iter();
        let patches = patches.map(|patch| join(&[&self.base, patch]));
        let patches = patches.collect::<Result<Vec<_>, _>>()?;
        let built = kustomize::build(tree, &root, &options, host)?;
        Ok(manifest::collect(kustomize::patch(tree, built, &patches)?)?)
    }

    /// Paths are often meant to start from the repository's root.
    fn hint(&self, tree: &dyn Files) -> String {
        let Ok(path) = join(&[&self.path]) else {
            return String::new();
        };
        if self.base.is_empty() || tree.kind(&path).is_none() {
            return String::new();
        }
        format!(
            "; {path} exists below the repository's root, but paths are taken from \
             git_source.path ({})",
            self.base
        )
    }
}

fn join(parts: &[&str]) -> Result<String, OverlayError> {
    let path: Vec<&str> = parts
        .iter()
        .flat_map(|part| part.split('/'))
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    if path.contains(&"..") {
        return Err(OverlayError::LeavesSource(parts.join("/")));
    }
    Ok(path.join("/"))
}
