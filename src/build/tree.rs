//! Gives the kustomize engine access to a source tree through a jail.

use std::path::{Component, Path, PathBuf};

use tempfile::TempDir;

use crate::kustomize::load::files::Absence;
use crate::kustomize::{FileType, Files, HostError};
use crate::workspace::jail;
use crate::workspace::jail::{Jail, JailError, JailReason};

/// Maximum size of a file, in bytes.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// A source tree; paths cannot leave it.
pub struct Tree {
    jail: Jail,
    display: DisplayPaths,
    /// Removed on drop.
    _fetched: Option<TempDir>,
}

/// How messages write the paths of a tree.
#[derive(Debug, Clone, Default)]
pub enum DisplayPaths {
    /// Relative to the root of the tree.
    #[default]
    InTree,
    /// Absolute.
    Absolute {
        /// The root of the tree.
        root: PathBuf,
    },
    /// As a person writes them in a directory, with `..` where they lead out of it.
    Relative {
        /// The root of the tree.
        root: PathBuf,
        /// The directory, absolute.
        directory: PathBuf,
    },
}

impl DisplayPaths {
    /// Returns a path of the tree for messages.
    pub fn of(&self, path: &str) -> String {
        let shown = match self {
            Self::InTree => path.into(),
            Self::Absolute { root } => root.join(path),
            Self::Relative { root, directory } => relative(&root.join(path), directory),
        };
        match shown.as_os_str().is_empty() {
            true => ".".to_owned(),
            false => shown.display().to_string(),
        }
    }
}

/// Returns an absolute path relative to a directory; unchanged if they share nothing but `/`.
fn relative(path: &Path, directory: &Path) -> PathBuf {
    let shared = path.components().zip(directory.components());
    let shared = shared.take_while(|(one, other)| one == other).count();
    if shared <= 1 && directory != Path::new("/") {
        return path.to_owned();
    }
    let up = directory.components().skip(shared);
    let up = up.map(|_| Component::ParentDir);
    up.chain(path.components().skip(shared)).collect()
}

impl Tree {
    /// A tree whose paths are written relative to its root.
    pub fn new(jail: Jail) -> Self {
        Self::with_display(jail, DisplayPaths::default())
    }

    /// A tree whose paths are written as `display` says.
    pub fn with_display(jail: Jail, display: DisplayPaths) -> Self {
        Self {
            jail,
            display,
            _fetched: None,
        }
    }

    /// A tree that was fetched into a directory, which is removed with it.
    ///
    /// # Errors
    /// Fails if the directory cannot be opened.
    pub fn fetched(directory: TempDir) -> Result<Self, JailError> {
        let tree = Self::new(Jail::open(directory.path())?);
        Ok(Self {
            _fetched: Some(directory),
            ..tree
        })
    }
}

impl Files for Tree {
    fn kind(&self, path: &str) -> Option<FileType> {
        match self.jail.kind(path).ok()? {
            jail::FileKind::File => Some(FileType::File),
            jail::FileKind::Directory => Some(FileType::Directory),
        }
    }

    fn why_missing(&self, path: &str) -> Absence {
        match self.jail.kind(path) {
            Ok(_) => Absence::Nothing("exists".into()),
            Err(JailError { reason, .. }) => match reason {
                JailReason::LinkOut(_) | JailReason::LinkToNothing(_) => {
                    Absence::Link(reason.to_string())
                }
                JailReason::Denied => Absence::Denied(reason.to_string()),
                _ => Absence::Nothing(reason.to_string()),
            },
        }
    }

    fn display_path(&self, path: &str) -> String {
        self.display.of(path)
    }

    fn real_path(&self, path: &str) -> Option<String> {
        self.jail.real_path(path).ok()
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, HostError> {
        self.jail.read(path, MAX_FILE_BYTES).map_err(reason)
    }

    fn list(&self, path: &str) -> Result<Vec<String>, HostError> {
        self.jail.list(path).map_err(reason)
    }
}

fn reason(error: JailError) -> HostError {
    error.reason.to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_relative_to_the_working_directory_where_they_share_something() {
        let shown = |directory: &str| {
            let (root, directory) = ("/home/me/shop".into(), directory.into());
            DisplayPaths::Relative { root, directory }.of("prod/a.yaml")
        };
        assert_eq!(shown("/home/me/shop"), "prod/a.yaml");
        assert_eq!(shown("/home/me/shop/prod"), "a.yaml");
        assert_eq!(shown("/home/me/other"), "../shop/prod/a.yaml");
        assert_eq!(shown("/"), "home/me/shop/prod/a.yaml");
        assert_eq!(shown("/srv"), "/home/me/shop/prod/a.yaml");
        assert_eq!(DisplayPaths::default().of(""), ".");
    }
}
