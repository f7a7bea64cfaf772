//! What the process does for its secrets at the start: nobody reads its memory, and nobody its files.

use std::io;

use rustix::fs::Mode;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit, umask};

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
