//! What the process does at the start for its secrets and for the machine: nobody reads its memory, nobody its files, and
//! memory that a large job has taken goes back.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::fs::Mode;
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit, umask,
};

/// The variable with the settings of glibc's allocator, which reads it once, before `main`.
const TUNABLES: &str = "GLIBC_TUNABLES";

/// Large pieces are given back when they are freed, the end of the heap as soon as it is free, and threads share two heaps
/// instead of keeping one each (glibc, "Memory Allocation Tunables").
const GIVE_BACK: &str = "glibc.malloc.arena_max=2:glibc.malloc.mmap_threshold=131072:glibc.malloc.\
                         trim_threshold=131072";

/// Open files that are enough for all jobs at once.
const MAX_FILES: u64 = 16_384;

/// Forbids core dumps, and reading this process's memory and environment in `/proc` to other processes of the same user,
/// its children among them.
///
/// # Errors
/// Those of the system.
pub fn memory() -> io::Result<()> {
    setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    )?;
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
        setrlimit(
            Resource::Nofile,
            Rlimit {
                current: Some(wanted),
                maximum: limit.maximum,
            },
        )?;
    }
    Ok(())
}

/// Starts this program anew, as the same process, with an allocator that gives memory back, unless it was started so. To be
/// called before anything is begun: it returns only if that is not needed, or cannot be had.
///
/// # Errors
/// Those of the system.
pub fn give_memory_back() -> io::Result<()> {
    if std::env::var_os(TUNABLES).is_some() {
        return Ok(());
    }
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    let mut again = Command::new(std::env::current_exe()?);
    Err(again
        .arg0(name)
        .args(arguments)
        .env(TUNABLES, GIVE_BACK)
        .exec())
}
