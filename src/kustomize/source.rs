//! What a build reads: directories and files of trees, inside the load restrictor and the budget.

use std::collections::HashMap;

use super::files::{Files, Kind};
use super::host::Host;
use super::remote::Repository;
use super::{BuildError, Options, path};

/// A directory, or a file, in one of the trees of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// 0 is the caller's tree; the others were fetched.
    tree: usize,
    pub path: String,
}

impl Place {
    /// A place in the caller's tree.
    pub fn given(path: &str) -> Self {
        Self {
            tree: 0,
            path: path.to_owned(),
        }
    }

    /// The place that a name stands for from here; nothing if that leaves the tree.
    pub fn join(&self, name: &str) -> Option<Self> {
        path::join(&self.path, name).map(|path| Self {
            tree: self.tree,
            path,
        })
    }

    /// Whether it is `other` or below it.
    pub fn is_below(&self, other: &Self) -> bool {
        self.tree == other.tree && path::is_below(&self.path, &other.path)
    }

    /// What to call it.
    pub fn shown(&self) -> &str {
        if self.path.is_empty() {
            "."
        } else {
            &self.path
        }
    }

    /// The last part of its path.
    pub fn name(&self) -> &str {
        path::file_name(&self.path)
    }
}

/// Trees, and how much of them was read.
pub(super) struct Source<'a> {
    given: &'a dyn Files,
    fetched: Vec<Box<dyn Files>>,
    /// The numbers of fetched trees, by address and reference.
    known: HashMap<Repository, usize>,
    pub host: &'a dyn Host,
    pub options: &'a Options,
    files: usize,
    bytes: u64,
}

impl<'a> Source<'a> {
    pub fn new(given: &'a dyn Files, host: &'a dyn Host, options: &'a Options) -> Self {
        Self {
            given,
            fetched: Vec::new(),
            known: HashMap::new(),
            host,
            options,
            files: 0,
            bytes: 0,
        }
    }

    fn tree(&self, place: &Place) -> &dyn Files {
        match place
            .tree
            .checked_sub(1)
            .and_then(|at| self.fetched.get(at))
        {
            Some(fetched) => &**fetched,
            None => self.given,
        }
    }

    /// What is at a place.
    pub fn kind(&self, place: &Place) -> Option<Kind> {
        self.tree(place).kind(&place.path)
    }

    /// What to call a file.
    pub fn shown(&self, place: &Place) -> String {
        match self.known.iter().find(|(_, tree)| **tree == place.tree) {
            Some((repository, _)) => format!("{}//{}", repository.url, place.path),
            None => place.path.clone(),
        }
    }

    /// The directory of a repository on another machine.
    pub fn fetch(&mut self, entry: &str, mut repository: Repository) -> Result<Place, String> {
        let path = std::mem::take(&mut repository.path);
        let tree = match self.known.get(&repository) {
            Some(tree) => *tree,
            None => {
                let remote = self.host.remote().ok_or_else(|| refusal(entry))?;
                self.fetched.push(remote.repository(&repository)?);
                self.known.insert(repository, self.fetched.len());
                self.fetched.len()
            }
        };
        let root = Place {
            tree,
            path: String::new(),
        };
        let place = root
            .join(&path)
            .filter(|place| self.kind(place) == Some(Kind::Directory));
        place.ok_or_else(|| format!("the repository of {entry:?} has no directory {path:?}"))
    }

    /// The content of a file that a field names, relative to a directory.
    pub fn read(
        &mut self,
        directory: &Place,
        name: &str,
        field: &str,
    ) -> Result<Vec<u8>, BuildError> {
        let bad = |message: String| BuildError::new(field, message);
        if path::is_web_address(name) {
            let remote = self.host.remote().ok_or_else(|| bad(refusal(name)))?;
            let bytes = remote
                .file(name)
                .map_err(|why| bad(format!("cannot read {name}: {why}")))?;
            return self.counted(bytes).map_err(|error| in_field(error, field));
        }
        let place = self.allowed(directory, name, field)?;
        self.content(&place).map_err(|error| in_field(error, field))
    }

    /// Every file below a directory that a field names, by its path from there.
    pub fn read_all(
        &mut self,
        directory: &Place,
        name: &str,
        field: &str,
    ) -> Result<Vec<(String, Vec<u8>)>, BuildError> {
        let root = self.allowed(directory, name, field)?;
        let mut files = Vec::new();
        let mut open = vec![String::new()];
        while let Some(below) = open.pop() {
            let place = root.join(&below).unwrap_or_else(|| root.clone());
            match self.kind(&place) {
                Some(Kind::Directory) => {
                    let names = self.tree(&place).list(&place.path);
                    let names = names.map_err(|why| {
                        BuildError::new(field, format!("cannot list {}: {why}", place.path))
                    })?;
                    open.extend(names.iter().map(|name| match below.is_empty() {
                        true => name.clone(),
                        false => format!("{below}/{name}"),
                    }));
                    self.files += 1;
                }
                Some(Kind::File) => {
                    let content = self
                        .content(&place)
                        .map_err(|error| in_field(error, field))?;
                    files.push((below, content));
                }
                None => {}
            }
        }
        files.sort();
        Ok(files)
    }

    fn allowed(&self, directory: &Place, name: &str, field: &str) -> Result<Place, BuildError> {
        let bad = |message: String| BuildError::new(field, message);
        let place = directory
            .join(name)
            .ok_or_else(|| bad(format!("{name:?} is absolute or leaves the source")))?;
        if !self.options.unrestricted && !place.is_below(directory) {
            let shown = directory.shown();
            let message = format!(
                "security; file {name:?} is not in or below {shown:?}; the load restrictor none \
                 allows it"
            );
            return Err(bad(message));
        }
        Ok(place)
    }

    /// The content of a file, whatever the load restrictor says.
    pub fn content(&mut self, place: &Place) -> Result<Vec<u8>, BuildError> {
        let path = &place.path;
        let bytes = self.tree(place).read(path);
        self.counted(
            bytes.map_err(|why| BuildError::new("", format!("cannot read {path}: {why}")))?,
        )
    }

    fn counted(&mut self, bytes: Vec<u8>) -> Result<Vec<u8>, BuildError> {
        let budget = self.options.budget;
        self.files += 1;
        if self.files > budget.files {
            return Err(BuildError::new(
                "",
                format!("more than {} files are read", budget.files),
            ));
        }
        self.bytes += bytes.len() as u64;
        if self.bytes > budget.bytes {
            return Err(BuildError::new(
                "",
                format!("more than {} bytes are read", budget.bytes),
            ));
        }
        Ok(bytes)
    }
}

fn refusal(entry: &str) -> String {
    format!(
        "{entry:?} is on another machine, and fetching is not allowed in this build; copy it into \
         the source"
    )
}

/// Puts the field in front of an error that has none.
pub(super) fn in_field(mut error: BuildError, field: &str) -> BuildError {
    if error.field.is_empty() && error.files.is_empty() {
        error.field = field.to_owned();
    }
    error
}
