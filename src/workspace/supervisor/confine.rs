//! Limits of a child process: resources, capabilities, network, open files.

use std::fs::File;
use std::io;
use std::io::{Seek as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};

use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use rustix::process::{Pid, Resource, Rlimit, set_child_subreaper, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs};

use super::{FIRST_FILE, ResourceLimits};

/// Opens in-memory files at the descriptors that [`file_path`] names. The program inherits them.
pub(super) fn open_files(contents: &[Vec<u8>]) -> io::Result<Vec<OwnedFd>> {
    let mut files = Vec::new();
    for (index, content) in contents.iter().enumerate() {
        let file = memory_file(content)?;
        let wanted = FIRST_FILE + i32::try_from(index).unwrap_or(i32::MAX);
        let file = fcntl_dupfd_cloexec(&file, wanted)?;
        if file.as_raw_fd() != wanted {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        fcntl_setfd(&file, FdFlags::empty())?;
        files.push(file);
    }
    Ok(files)
}

/// Returns a file in memory, at its start.
pub(super) fn memory_file(content: &[u8]) -> io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create(
        "file",
        rustix::fs::MemfdFlags::CLOEXEC,
    )?);
    file.write_all(content)?;
    file.rewind()?;
    Ok(file)
}

/// Enters a network namespace without connections; without the privilege for that, through a user
/// namespace. If neither is allowed, the network stays available.
#[expect(
    deprecated,
    reason = "its replacement is unsafe for flags that are not used here"
)]
pub(super) fn leave_network() {
    use rustix::thread::{UnshareFlags, unshare};
    let (user, group) = (
        rustix::process::getuid().as_raw(),
        rustix::process::getgid().as_raw(),
    );
    if unshare(UnshareFlags::NEWNET).is_err()
        && unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNET).is_ok()
    {
        // Without these mappings the program would see unknown user and group ids, which may
        // confuse it.
        let _ = std::fs::write("/proc/self/setgroups", "deny");
        let _ = std::fs::write("/proc/self/uid_map", format!("{user} {user} 1"));
        let _ = std::fs::write("/proc/self/gid_map", format!("{group} {group} 1"));
    }
}

/// Limits this process and everything that it starts. This cannot be undone.
pub(super) fn confine(limits: &ResourceLimits) -> io::Result<()> {
    let set_limit = |resource: Resource, value: u64| {
        let limit = Rlimit {
            current: Some(value),
            maximum: Some(value),
        };
        // A lower limit of the system stays in force.
        match rustix::process::getrlimit(resource).maximum {
            Some(hard) if hard < value => Ok(()),
            _ => setrlimit(resource, limit),
        }
    };
    set_limit(Resource::As, limits.memory)?;
    set_limit(Resource::Cpu, limits.cpu_seconds)?;
    set_limit(Resource::Fsize, limits.file_bytes)?;
    set_limit(Resource::Core, 0)?;
    set_child_subreaper(Pid::from_raw(1))?;
    set_no_new_privs(true)?;
    // Matters for root: the program gets no power over the daemon, which keeps its own
    // capabilities.
    let none = CapabilitySet::empty();
    set_capabilities(
        None,
        CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        },
    )?;
    Ok(())
}

/// Closes standard output and error, so that their readers see the end when the program and its
/// descendants have ended.
pub(super) fn close_outputs() {
    if let Ok(null) = std::fs::File::options().write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdout(&null);
        let _ = rustix::stdio::dup2_stderr(&null);
    }
}
