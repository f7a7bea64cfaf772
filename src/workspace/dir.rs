//! The private directory (mode 0700) of an execution, below the state directory. Removed with the
//! job.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Subdirectory of the state directory that holds all job directories.
const WORK_DIR: &str = "work";

/// A directory that is removed when this value is dropped or [`JobDir::remove`]d.
#[derive(Debug)]
pub struct JobDir {
    path: PathBuf,
}

impl JobDir {
    /// Creates an empty directory named after the execution. Removes first what an earlier process
    /// left under the same name.
    ///
    /// # Errors
    /// Fails if the old directory cannot be removed or the new one cannot be created.
    pub fn create(state_dir: &Path, name: &str) -> io::Result<Self> {
        let path = state_dir.join(WORK_DIR).join(name);
        remove_tree(&path)?;
        create_private(&path)?;
        Ok(Self { path })
    }

    /// Returns the path of the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the directory and its content, regardless of file modes.
    ///
    /// # Errors
    /// Fails if something cannot be removed.
    pub fn remove(self) -> io::Result<()> {
        remove_tree(&self.path)
    }
}

impl Drop for JobDir {
    fn drop(&mut self) {
        if let Err(error) = remove_tree(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "a job's directory could not be removed");
        }
    }
}

/// Creates a directory and its missing parents with mode 0700.
///
/// # Errors
/// Fails if a directory cannot be created.
pub fn create_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Sets the mode of a directory's files to 0600 if others have access. Returns true if others have
/// access to the directory itself.
///
/// # Errors
/// Fails if the directory cannot be read or a mode cannot be changed.
pub fn restrict_permissions(directory: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_file() && metadata.permissions().mode() & 0o077 != 0 {
            fs::set_permissions(entry.path(), Permissions::from_mode(0o600))?;
        }
    }
    Ok(fs::metadata(directory)?.permissions().mode() & 0o077 != 0)
}

/// Removes the job directories that earlier processes left. Returns their number.
///
/// # Errors
/// Fails if a directory cannot be removed.
pub fn remove_leftovers(state_dir: &Path) -> io::Result<usize> {
    let folder = state_dir.join(WORK_DIR);
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut swept = 0;
    for entry in entries {
        remove_tree(&entry?.path())?;
        swept += 1;
    }
    Ok(swept)
}

/// Removes a tree; a missing one is no error. Retries for about a second while the tree is not
/// empty, because a descendant of a killed process may still write into it.
fn remove_tree(path: &Path) -> io::Result<()> {
    let mut tries = 50;
    loop {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty && tries > 0 => {
                tries -= 1;
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && tries > 0 => {
                tries = 0;
                make_traversable(path)?;
            }
            done => return done,
        }
    }
}

/// Gives the owner full access to all directories of a tree, so that they can be emptied.
fn make_traversable(path: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.is_dir() {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(path)? {
        make_traversable(&entry?.path())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_without_permissions_is_still_removed() {
        let state = tempfile::tempdir().unwrap();
        let dir = JobDir::create(state.path(), "run1").unwrap();
        assert_eq!(
            fs::metadata(dir.path()).unwrap().permissions().mode() & 0o777,
            0o700
        );
        let deep = dir.path().join("a/b");
        fs::create_dir_all(&deep).unwrap();
        fs::set_permissions(&deep, Permissions::from_mode(0o000)).unwrap();
        fs::set_permissions(dir.path().join("a"), Permissions::from_mode(0o000)).unwrap();
        let path = dir.path().to_owned();
        dir.remove().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn files_are_narrowed_and_a_wide_directory_is_told() {
        let state = tempfile::tempdir().unwrap();
        let file = state.path().join("journal.db");
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        fs::set_permissions(state.path(), Permissions::from_mode(0o755)).unwrap();
        assert!(restrict_permissions(state.path()).unwrap());
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
        fs::set_permissions(state.path(), Permissions::from_mode(0o700)).unwrap();
        assert!(!restrict_permissions(state.path()).unwrap());
    }

    #[test]
    fn a_directory_that_a_dying_child_still_fills_is_removed() {
        let state = tempfile::tempdir().unwrap();
        let dir = JobDir::create(state.path(), "run1").unwrap();
        let path = dir.path().to_owned();
        let child = std::thread::spawn({
            let path = path.clone();
            move || (0..2000).for_each(|at| drop(fs::write(path.join(at.to_string()), "")))
        });
        let removed = dir.remove();
        child.join().unwrap();
        removed.unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn what_a_dead_process_left_is_swept() {
        let state = tempfile::tempdir().unwrap();
        std::mem::forget(JobDir::create(state.path(), "run1").unwrap());
        assert_eq!(remove_leftovers(state.path()).unwrap(), 1);
        assert_eq!(remove_leftovers(state.path()).unwrap(), 0);
    }
}
