//! Gives the kustomize engine access to a source tree through a jail.

use crate::kustomize::{FileType, Files, HostError};
use crate::workspace::jail;
use crate::workspace::jail::Jail;

/// Maximum size of a file, in bytes.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// A source tree; paths cannot leave it.
pub struct Tree(pub Jail);

impl Files for Tree {
    fn kind(&self, path: &str) -> Option<FileType> {
        match self.0.kind(path).ok()? {
            jail::FileKind::File => Some(FileType::File),
            jail::FileKind::Directory => Some(FileType::Directory),
        }
    }

    fn real_path(&self, path: &str) -> Option<String> {
        self.0.real_path(path).ok()
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, HostError> {
        self.0
            .read(path, MAX_FILE_BYTES)
            .map_err(|error| error.to_string().into())
    }

    fn list(&self, path: &str) -> Result<Vec<String>, HostError> {
        self.0.list(path).map_err(|error| error.to_string().into())
    }
}
