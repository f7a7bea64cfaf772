//! Locks the state directory, so that only one process uses it.

use std::fs::{File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::AgentError;
use crate::workspace::dir;

/// The locked file; it contains the process id of its holder.
const LOCK_FILE: &str = "lock";

/// Creates the directory (mode 0700), locks it for the lifetime of the returned file, and removes
/// what previous processes left in it.
///
/// # Errors
/// [`AgentError::Locked`], which names the holder, if another process holds the lock;
/// [`AgentError::StateDir`] if the directory cannot be used.
pub fn take(state_dir: &Path) -> Result<File, AgentError> {
    let failed = |source| AgentError::StateDir {
        path: state_dir.to_owned(),
        source,
    };
    dir::create_private(state_dir).map_err(failed)?;
    if dir::restrict_permissions(state_dir).map_err(failed)? {
        tracing::warn!(path = %state_dir.display(), "other users can access the state directory; set its mode to 0700");
    }
    let path = state_dir.join(LOCK_FILE);
    let mut options = File::options();
    let mut file = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|source| AgentError::StateDir {
            path: path.clone(),
            source,
        })?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // The directory is locked even if the process id cannot be read.
            let _ = (&mut file).take(64).read_to_string(&mut holder);
            let holder = if holder.is_empty() {
                "another process".into()
            } else {
                format!("process {}", holder.trim())
            };
            return Err(AgentError::Locked {
                path: state_dir.to_owned(),
                holder,
            });
        }
        Err(TryLockError::Error(source)) => return Err(failed(source)),
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .map_err(failed)?;
    file.write_all(std::process::id().to_string().as_bytes())
        .map_err(failed)?;
    let swept = dir::remove_leftovers(state_dir).map_err(failed)?;
    if swept > 0 {
        tracing::info!(
            swept,
            "removed job directories that a previous process left"
        );
    }
    Ok(file)
}
