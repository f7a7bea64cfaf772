//! The directory of one execution: private (0700), under the state directory, gone when the job is.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// The folder of the state directory that holds all of them.
const FOLDER: &str = "work";

/// A directory that is removed when this value is dropped or [`JobDir::remove`]d.
#[derive(Debug)]
pub struct JobDir {
    path: PathBuf,
}

impl JobDir {
    /// Makes an empty directory named after the execution. What an earlier process left under the
    /// same name is removed first.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn create(state_dir: &Path, name: &str) -> io::Result<Self> {
        let path = state_dir.join(FOLDER).join(name);
        remove_tree(&path)?;
        make_private(&path)?;
        Ok(Self { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it and all it holds, whatever the modes of what it holds.
    ///
    /// # Errors
    /// Those of the file system.
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

/// Makes a directory and its parents readable by its owner alone.
///
/// # Errors
/// Those of the file system.
pub fn make_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Makes the files of a directory its owner's alone; returns true if the directory itself is open to others.
///
/// # Errors
/// Those of the file system.
pub fn narrow(directory: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_file() && metadata.permissions().mode() & 0o077 != 0 {
            fs::set_permissions(entry.path(), Permissions::from_mode(0o600))?;
        }
    }
    Ok(fs::metadata(directory)?.permissions().mode() & 0o077 != 0)
}

/// Removes the directories that earlier processes left; returns how many.
///
/// # Errors
/// Those of the file system.
pub fn sweep(state_dir: &Path) -> io::Result<usize> {
    let folder = state_dir.join(FOLDER);
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

/// Removes a tree; one that is not there is removed already. A child of a process that was killed
/// may still write into it for a moment, so one that fills again is emptied again.
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

/// Gives the owner full access to every directory of a tree, so that it can be emptied.
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
        assert!(narrow(state.path()).unwrap());
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
        fs::set_permissions(state.path(), Permissions::from_mode(0o700)).unwrap();
        assert!(!narrow(state.path()).unwrap());
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
        assert_eq!(sweep(state.path()).unwrap(), 1);
        assert_eq!(sweep(state.path()).unwrap(), 0);
    }
}
