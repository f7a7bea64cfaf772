//! Reads the files of a build, within the load restrictor and the budget.

use std::collections::HashMap;

use crate::base::url_mask::mask_urls;
use crate::kustomize::load::files::{FileType, Files};
use crate::kustomize::load::host::Host;
use crate::kustomize::load::path;
use crate::kustomize::load::remote::RemoteRepository;
use crate::kustomize::{BuildError, BuildOptions};

/// A directory or file in one of the trees of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TreePath {
    /// 0 is the caller's tree; other numbers are fetched repositories.
    tree: usize,
    pub path: String,
}

impl TreePath {
    /// Returns a path in the caller's tree.
    pub fn in_caller_tree(path: &str) -> Self {
        Self {
            tree: 0,
            path: path.to_owned(),
        }
    }

    /// Resolves a name relative to this directory. Returns none if it leaves the tree.
    pub fn join(&self, name: &str) -> Option<Self> {
        path::join(&self.path, name).map(|path| Self {
            tree: self.tree,
            path,
        })
    }

    /// Returns true if it is `other` or below it.
    pub fn is_below(&self, other: &Self) -> bool {
        self.tree == other.tree && path::is_below(&self.path, &other.path)
    }

    /// Returns the last part of the path.
    pub fn name(&self) -> &str {
        path::file_name(&self.path)
    }
}

/// The trees of a build, and how much of the budget is used.
pub(crate) struct Loader<'a> {
    caller_tree: &'a dyn Files,
    fetched_trees: Vec<Box<dyn Files>>,
    /// The tree numbers of fetched repositories, whose `path` is empty here.
    tree_numbers: HashMap<RemoteRepository, usize>,
    pub host: &'a dyn Host,
    pub options: &'a BuildOptions,
    files_read: usize,
    bytes_read: u64,
}

impl<'a> Loader<'a> {
    pub fn new(caller_tree: &'a dyn Files, host: &'a dyn Host, options: &'a BuildOptions) -> Self {
        Self {
            caller_tree,
            fetched_trees: Vec::new(),
            tree_numbers: HashMap::new(),
            host,
            options,
            files_read: 0,
            bytes_read: 0,
        }
    }

    pub fn tree(&self, place: &TreePath) -> &dyn Files {
        match place
            .tree
            .checked_sub(1)
            .and_then(|at| self.fetched_trees.get(at))
        {
            Some(fetched) => &**fetched,
            None => self.caller_tree,
        }
    }

    /// Returns whether a path is a file or a directory; none if it does not exist.
    pub fn kind(&self, place: &TreePath) -> Option<FileType> {
        self.tree(place).kind(&place.path)
    }

    /// Returns a path for messages: as the caller's tree writes it, or with its repository if it was
    /// fetched.
    pub fn display_name(&self, place: &TreePath) -> String {
        match self
            .tree_numbers
            .iter()
            .find(|(_, tree)| **tree == place.tree)
        {
            Some((repository, _)) => {
                format!("{}//{}", mask_urls(&repository.url), place.path)
            }
            None => self.caller_tree.display_path(&place.path),
        }
    }

    /// Returns the path of a file that a kustomization names, for messages.
    pub fn file_name(&self, directory: &TreePath, name: &str) -> String {
        match directory.join(name) {
            Some(place) if !path::is_http_url(name) => self.display_name(&place),
            _ => mask_urls(name).into_owned(),
        }
    }

    /// Fetches a repository, unless it was fetched before, and returns its directory.
    pub fn fetch(
        &mut self,
        entry: &str,
        mut repository: RemoteRepository,
    ) -> Result<TreePath, BuildError> {
        let path = std::mem::take(&mut repository.path);
        let tree = match self.tree_numbers.get(&repository) {
            Some(tree) => *tree,
            None => {
                let remote = self
                    .host
                    .remote()
                    .ok_or_else(|| Self::fetching_not_allowed(entry))?;
                self.fetched_trees.push(remote.repository(&repository)?);
                self.tree_numbers
                    .insert(repository, self.fetched_trees.len());
                self.fetched_trees.len()
            }
        };
        let root = TreePath {
            tree,
            path: String::new(),
        };
        match root.join(&path) {
            Some(place) if self.kind(&place) == Some(FileType::Directory) => Ok(place),
            _ => Err(format!("the repository of {entry:?} has no directory {path:?}").into()),
        }
    }

    /// Reads a file, by URL or by its path relative to a directory.
    pub fn read(&mut self, directory: &TreePath, name: &str) -> Result<Vec<u8>, BuildError> {
        if path::is_http_url(name) {
            let remote = self.host.remote();
            let remote = remote.ok_or_else(|| Self::fetching_not_allowed(name))?;
            let bytes = remote
                .file(name)
                .map_err(|why| format!("cannot read {name}: {why}"))?;
            return self.charge(bytes);
        }
        let place = self.resolve(directory, name)?;
        match self.kind(&place) {
            None => Err(self.missing(directory, name)),
            Some(_) => self.read_unrestricted(&place),
        }
    }

    /// Reads all files below a directory, by their paths relative to it.
    pub fn read_all(
        &mut self,
        directory: &TreePath,
        name: &str,
    ) -> Result<Vec<(String, Vec<u8>)>, BuildError> {
        let root = self.resolve(directory, name)?;
        let mut files = Vec::new();
        let mut pending = vec![String::new()];
        while let Some(below) = pending.pop() {
            let place = root.join(&below).unwrap_or_else(|| root.clone());
            match self.kind(&place) {
                Some(FileType::Directory) => {
                    let names = self.tree(&place).list(&place.path);
                    let names =
                        names.map_err(|why| format!("{} {why}", self.display_name(&place)))?;
                    pending.extend(names.iter().map(|name| match below.is_empty() {
                        true => name.clone(),
                        false => format!("{below}/{name}"),
                    }));
                    self.files_read += 1;
                }
                Some(FileType::File) => {
                    let content = self.read_unrestricted(&place)?;
                    files.push((below, content));
                }
                None => {}
            }
        }
        files.sort();
        Ok(files)
    }

    fn resolve(&self, directory: &TreePath, name: &str) -> Result<TreePath, BuildError> {
        match directory.join(name) {
            None => Err(self.missing(directory, name)),
            Some(place) if !self.may_read(directory, &place) => {
                Err(self.restricted(directory, &place, name))
            }
            Some(place) => Ok(place),
        }
    }

    /// Returns true if the load restrictor allows a kustomization to read a file: it, and what it
    /// links to, is in or below the directory, and what that links to.
    pub fn may_read(&self, directory: &TreePath, place: &TreePath) -> bool {
        self.options.unrestricted
            || (place.is_below(directory) && self.real(place).is_below(&self.real(directory)))
    }

    /// Returns the path after all links are followed; the same path if it does not exist.
    pub(super) fn real(&self, place: &TreePath) -> TreePath {
        let path = self.tree(place).real_path(&place.path);
        TreePath {
            tree: place.tree,
            path: path.unwrap_or_else(|| place.path.clone()),
        }
    }

    /// Reads a file without the load restrictor.
    pub fn read_unrestricted(&mut self, place: &TreePath) -> Result<Vec<u8>, BuildError> {
        let bytes = self.tree(place).read(&place.path);
        let bytes = bytes.map_err(|why| format!("{} {why}", self.display_name(place)))?;
        self.charge(bytes)
    }

    fn charge(&mut self, bytes: Vec<u8>) -> Result<Vec<u8>, BuildError> {
        let budget = self.options.budget;
        self.files_read += 1;
        if self.files_read > budget.files {
            return Err(BuildError::from(format!(
                "the build reads more than {} files, which is the limit",
                budget.files
            )));
        }
        self.bytes_read += bytes.len() as u64;
        if self.bytes_read > budget.bytes {
            return Err(BuildError::from(format!(
                "the build reads more than {} bytes, which is the limit",
                budget.bytes
            )));
        }
        Ok(bytes)
    }
}
