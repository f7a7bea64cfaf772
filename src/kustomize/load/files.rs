//! The interface through which a build reads files.

use crate::kustomize::error::HostError;

/// The type of a file system entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileType {
    /// A regular file.
    File,
    /// A directory.
    Directory,
}

/// Why an entry has no type. Each holds the rest of a sentence about the entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Absence {
    /// There is nothing.
    Nothing(String),
    /// It, or a directory of it, is a link that is not followed.
    Link(String),
    /// Permissions do not allow to look at it.
    Denied(String),
}

impl std::fmt::Display for Absence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Nothing(words) | Self::Link(words) | Self::Denied(words)) = self;
        f.write_str(words)
    }
}

/// A tree of files. Paths are relative to its root, separated by `/`, without `.` and `..`. The
/// root is the empty path.
pub trait Files {
    /// Returns the type of an entry; `None` if it does not exist.
    fn kind(&self, path: &str) -> Option<FileType>;

    /// Returns why an entry has no type.
    fn why_missing(&self, _path: &str) -> Absence {
        Absence::Nothing("does not exist".into())
    }

    /// Returns a path for messages. The root is `.`.
    fn display_path(&self, path: &str) -> String {
        if path.is_empty() { "." } else { path }.to_owned()
    }

    /// Returns the path of an entry after all links are followed; `None` if it does not exist. A
    /// tree without links need not implement it.
    fn real_path(&self, path: &str) -> Option<String> {
        Some(path.to_owned())
    }

    /// Reads a file.
    ///
    /// # Errors
    /// Fails if the file cannot be read. The message is the rest of a sentence about the file.
    fn read(&self, path: &str) -> Result<Vec<u8>, HostError>;

    /// Returns the names in a directory, sorted.
    ///
    /// # Errors
    /// Fails if the directory cannot be listed. The message is the rest of a sentence about it.
    fn list(&self, path: &str) -> Result<Vec<String>, HostError>;
}

/// A tree in memory: file contents by path.
impl Files for std::collections::BTreeMap<String, Vec<u8>> {
    fn kind(&self, path: &str) -> Option<FileType> {
        if self.contains_key(path) {
            return Some(FileType::File);
        }
        let inside = if path.is_empty() {
            String::new()
        } else {
            format!("{path}/")
        };
        self.keys()
            .any(|key| key.starts_with(&inside))
            .then_some(FileType::Directory)
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, HostError> {
        self.get(path)
            .cloned()
            .ok_or_else(|| "does not exist".into())
    }

    fn list(&self, path: &str) -> Result<Vec<String>, HostError> {
        let inside = if path.is_empty() {
            String::new()
        } else {
            format!("{path}/")
        };
        let below = self.keys().filter_map(|key| key.strip_prefix(&inside));
        let names = below
            .filter_map(|rest| rest.split('/').next())
            .map(str::to_owned);
        Ok(names
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect())
    }
}
