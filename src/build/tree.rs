//! A jailed source tree as the files of the kustomize engine.

use crate::kustomize::{Files, Kind};
use crate::workspace::jail;
use crate::workspace::jail::Jail;

/// The largest file that is read.
const LARGEST_FILE: u64 = 64 << 20;

/// A source tree that cannot be left.
pub struct Tree(pub Jail);

impl Files for Tree {
    fn kind(&self, path: &str) -> Option<Kind> {
        match self.0.kind(path).ok()? {
            jail::Kind::File => Some(Kind::File),
            jail::Kind::Directory => Some(Kind::Directory),
        }
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        self.0
            .read(path, LARGEST_FILE)
            .map_err(|error| error.to_string())
    }

    fn list(&self, path: &str) -> Result<Vec<String>, String> {
        self.0.list(path).map_err(|error| error.to_string())
    }
}
