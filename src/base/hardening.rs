//! Hardening at startup: protects the process's memory, environment and files, raises the limit on
//! open files, and makes the allocator return memory after large jobs.

use std::collections::HashMap;
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

/// Set if the secrets that were environment variables are on standard input.
const SECRETS_VARIABLE: &str = "_NUON_SECRETS_ON_STDIN";

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
/// the system, and without these environment variables, whose values go through a pipe: what a
/// process has in its environment at its start can be read in `/proc`. Call it before anything else
/// is started. Returns if nothing is to be done, or in the new program, with the values that came
/// through the pipe.
///
/// # Errors
/// Fails if the program cannot be executed again, or the pipe cannot be used.
pub fn reexec(secret_variables: &[String]) -> io::Result<HashMap<String, String>> {
    let secrets: HashMap<&str, String> = secret_variables
        .iter()
        .filter_map(|name| Some((name.as_str(), std::env::var(name).ok()?)))
        .collect();
    if secrets.is_empty() && std::env::var_os(TUNABLES_VARIABLE).is_some() {
        return received_secrets();
    }
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    let mut command = Command::new(std::env::current_exe()?);
    command.arg0(name).args(arguments);
    if std::env::var_os(TUNABLES_VARIABLE).is_none() {
        command.env(TUNABLES_VARIABLE, TUNABLES_VALUE);
    }
    if !secrets.is_empty() {
        let (reader, mut writer) = io::pipe()?;
        serde_json::to_writer(&mut writer, &secrets)?;
        for name in secrets.keys() {
            command.env_remove(name);
        }
        command.env(SECRETS_VARIABLE, "1").stdin(reader);
    }
    Err(command.exec())
}

/// Reads the secrets that this program sent to itself.
fn received_secrets() -> io::Result<HashMap<String, String>> {
    match std::env::var_os(SECRETS_VARIABLE) {
        Some(_) => Ok(serde_json::from_reader(io::stdin().lock())?),
        None => Ok(HashMap::new()),
    }
}
