//! What the process does for its secrets at the start: nobody reads its memory, and nobody its files.

use std::io;

use rustix::fs::Mode;
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit, umask};

/// Open files that are enough for all jobs at once.
const MAX_FILES: u64 = 16_384;

/// Forbids core dumps, and reading this process's memory and environment in `/proc` to other processes of the same user,
/// its children among them.
///
/// # Errors
/// Those of the system.
pub fn memory() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// Makes new files and directories of this process its owner's alone.
pub fn files() {
    umask(Mode::RWXG | Mode::RWXO);
}

/// Raises the limit on open files as far as the system allows, up to [`MAX_FILES`].
///
/// # Errors
/// Those of the system.
pub fn open_files() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(MAX_FILES).min(MAX_FILES);
    if limit.current.is_some_and(|current| current < wanted) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum })?;
    }
    Ok(())
}
