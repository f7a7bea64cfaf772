//! One process for a state directory.

use std::fs::{File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::AgentError;
use crate::workspace::dir;

/// The file that is locked, and that names its holder.
const NAME: &str = "lock";

/// Makes the directory (0700), locks it for the life of the returned file, and removes what dead
/// processes left in it.
///
/// # Errors
/// [`AgentError::Locked`] names the holder; [`AgentError::StateDir`].
pub fn take(state_dir: &Path) -> Result<File, AgentError> {
    let failed = |source| AgentError::StateDir {
        path: state_dir.to_owned(),
        source,
    };
    dir::make_private(state_dir).map_err(failed)?;
    if dir::narrow(state_dir).map_err(failed)? {
        tracing::warn!(path = %state_dir.display(), "other users may look into the state directory; set its mode to 0700");
    }
    let path = state_dir.join(NAME);
    let mut options = File::options();
    let mut file = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // A holder that cannot be read is still a holder.
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
    let swept = dir::sweep(state_dir).map_err(failed)?;
    if swept > 0 {
        tracing::info!(
            swept,
            "removed job directories that an earlier process left"
        );
    }
    Ok(file)
}
