//! Hardening at startup: protects the process's memory and files, raises the limit on open files,
//! and makes the allocator return memory after large jobs.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::fs::Mode;
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit, umask,
};

/// The environment variable with glibc's allocator settings, which glibc reads once, before `main`.
const TUNABLES_VARIABLE: &str = "GLIBC_TUNABLES";

/// Returns large allocations to the system when freed and trims the heap early. Threads share two
/// arenas instead of having one each (glibc manual, "Memory Allocation Tunables").
const TUNABLES_VALUE: &str = "glibc.malloc.arena_max=2:glibc.malloc.mmap_threshold=131072:glibc.malloc.\
                         trim_threshold=131072";

/// Enough open files for all concurrent jobs.
const MAX_OPEN_FILES: u64 = 16_384;

/// Disables core dumps, and stops other processes of the same user, including children, from
/// reading this process's memory and environment through `/proc`.
///
/// # Errors
/// Fails if a system call fails.
pub fn protect_memory() -> io::Result<()> {
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

/// Sets the umask so that new files and directories are accessible to their owner only.
pub fn restrict_umask() {
    umask(Mode::RWXG | Mode::RWXO);
}

/// Raises the limit on open files as far as the system allows, up to `MAX_OPEN_FILES`.
///
/// # Errors
/// Fails if the limit cannot be set.
pub fn raise_open_file_limit() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(MAX_OPEN_FILES).min(MAX_OPEN_FILES);
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

/// Re-executes this program, keeping its process ID, with allocator settings that return memory to
/// the system. Call it before anything else is started. Returns only if the settings are already
/// set, or on an error.
///
/// # Errors
/// Fails if the program cannot be executed again.
pub fn reexec_with_allocator_settings() -> io::Result<()> {
    if std::env::var_os(TUNABLES_VARIABLE).is_some() {
        return Ok(());
    }
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    let mut command = Command::new(std::env::current_exe()?);
    Err(command
        .arg0(name)
        .args(arguments)
        .env(TUNABLES_VARIABLE, TUNABLES_VALUE)
        .exec())
}
