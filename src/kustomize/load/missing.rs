//! Errors about files and directories that a kustomization names and that cannot be read.

use crate::base::nearest::nearest;
use crate::kustomize::BuildError;
use crate::kustomize::load::files::{Absence, FileType};
use crate::kustomize::load::loader::{Loader, TreePath};
use crate::kustomize::schema::kustomization::FILE_NAMES;

/// Maximum number of files that an error names.
const MAX_NAMED_FILES: usize = 3;

impl Loader<'_> {
    /// Returns the error about a file or repository that may not be fetched.
    pub(super) fn fetching_not_allowed(entry: &str) -> BuildError {
        BuildError::new(format!(
            "{entry:?} is remote, and this build may not fetch remote files"
        ))
        .with_help("copy it into the source, or allow it: --allow-remote, or build.allow_remote")
    }

    /// Returns the error about a name that leads to no file or directory.
    pub fn missing(&self, directory: &TreePath, name: &str) -> BuildError {
        let Some(place) = directory.join(name) else {
            return match name.starts_with('/') {
                true => BuildError::new(format!("{name:?} is absolute"))
                    .with_help("name it relative to the kustomization"),
                false => BuildError::new(format!("{name:?} leads out of the source")),
            };
        };
        let why = self.tree(&place).why_missing(&place.path);
        let error = BuildError::new(format!("{name:?} {why}"));
        if name.contains(" - ") || name.contains('\n') {
            return error
                .with_help("several lines read as one entry; indent each \"- \" as the first one");
        }
        if name.contains(['*', '?', '[']) {
            return error.with_help("patterns are not expanded; name each file");
        }
        if matches!(why, Absence::Link(_)) {
            return error.with_help("copy what the link means into the source");
        }
        error.suggest(self.near_name(&place).as_deref())
    }

    /// Returns the name in the same directory that is nearest to that of a path.
    fn near_name(&self, place: &TreePath) -> Option<String> {
        let parent = place.join("..")?;
        let names = self.tree(&parent).list(&parent.path).ok()?;
        let near = nearest(place.name(), names.iter().map(String::as_str));
        near.map(str::to_owned)
    }

    /// Returns the error about a file that the load restrictor keeps from being read.
    pub(super) fn restricted(
        &self,
        directory: &TreePath,
        place: &TreePath,
        name: &str,
    ) -> BuildError {
        let (shown, real) = (self.display_name(directory), self.real(place));
        let message = match place.is_below(directory) && real != *place {
            true => format!(
                "{name:?} is a link to {}, which is not in or below {shown}",
                self.display_name(&real)
            ),
            false => format!("the file {name:?} is not in or below {shown}"),
        };
        BuildError::new(message).with_help(
            "name a directory with a kustomization as a base, copy the file, or set the load restrictor to none",
        )
    }

    /// Returns the error about a directory without a kustomization file.
    pub fn without_kustomization(&self, directory: &TreePath) -> BuildError {
        let shown = self.display_name(directory);
        if self.kind(directory) == Some(FileType::File) {
            return BuildError::new(format!("{shown} is a file"))
                .with_help("name the directory with the kustomization");
        }
        let [first, second, third] = FILE_NAMES;
        let why = |name: &str| {
            let place = directory.join(name)?;
            if self.kind(&place).is_some() {
                return Some(self.restricted(directory, &place, name));
            }
            let why = self.tree(&place).why_missing(&place.path);
            (!matches!(why, Absence::Nothing(_)))
                .then(|| BuildError::new(format!("{} {why}", self.display_name(&place))))
        };
        if let Some(error) = FILE_NAMES.into_iter().find_map(why) {
            return error;
        }
        let error = BuildError::new(format!("{shown} has no {first}, {second} or {third}"));
        let names = self.tree(directory).list(&directory.path);
        let mut names = names.unwrap_or_default();
        names.retain(|name| {
            [".yaml", ".yml", ".json"]
                .iter()
                .any(|end| name.ends_with(end))
        });
        let more = if names.len() > MAX_NAMED_FILES {
            ", …"
        } else {
            ""
        };
        names.truncate(MAX_NAMED_FILES);
        match names.is_empty() {
            true => error,
            false => error.with_help(format!(
                "add one that names its files as resources ({}{more})",
                names.join(", ")
            )),
        }
    }
}
