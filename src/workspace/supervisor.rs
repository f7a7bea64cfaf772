//! The process between this program and each program that it runs.
//!
//! A child is not started directly but by this same executable, called with [`ARGUMENT`]. The
//! supervisor limits itself (and so all that it starts), starts the program, and stays: it is the
//! *subreaper* of everything that the program forks, so that nothing escapes by a second fork or a
//! session of its own. When the program ends, when the daemon asks for the stop, or when the daemon
//! is gone, it kills all that is left and ends.
//!
//! Order and report travel over a socket that is the supervisor's standard input. Its end is the
//! stop: whoever holds the other side, the kernel closes it when that process dies, however it dies.
//! (A parent-death signal would follow the *thread* that forked, and asynchronous runtimes end
//! threads.)
//!
//! The supervisor is single-purpose and has no runtime: blocking calls and two threads.

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use rustix::io::{Errno, FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, WaitOptions, getppid, kill_process, pidfd_open,
    set_child_subreaper, setrlimit, wait,
};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs};
use serde::{Deserialize, Serialize};

/// The first argument of this executable when it is to supervise.
pub const ARGUMENT: &str = "--supervise";

/// The second argument when the program and its parent are named by arguments: PARENT SECONDS PROGRAM ARGUMENT….
pub const BY_ARGUMENTS: &str = "--by-arguments";

/// The descriptor of the first memory file in the program; the others follow.
const FIRST_FILE: i32 = 100;

/// How often the descendants are counted.
const COUNT_INTERVAL: Duration = Duration::from_millis(200);

/// The longest that killed processes are waited for.
const REAP_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest order.
const MAX_ORDER: u32 = 64 << 20;

/// What a program and all that it starts may use. Each process has the first three for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of address space.
    pub memory: u64,
    /// Seconds of processor time.
    pub cpu_seconds: u64,
    /// Bytes of one file that it writes.
    pub file_bytes: u64,
    /// Processes at once, counted among its descendants.
    pub processes: usize,
}

/// What is to be run.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub program: OsString,
    pub args: Vec<OsString>,
    pub env: Vec<(OsString, OsString)>,
    pub directory: PathBuf,
    pub limits: Limits,
    pub is_offline: bool,
    /// Contents that the program finds under [`file_path`].
    pub files: Vec<Vec<u8>>,
}

/// How it ended.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// The program could not be started; the system's error number, if it gave one.
    NotStarted(Option<i32>),
    /// The program ended with this wait status.
    Ended(i32),
    /// It was killed because it had more descendants than allowed.
    TooManyProcesses,
}

/// Where a program finds the memory file number `index` of its order.
pub fn file_path(index: i32) -> String {
    format!("/proc/self/fd/{}", FIRST_FILE + index)
}

/// Supervises, if this process was called for that; its exit code then.
///
/// To be called before anything else in `main`: nothing of the program itself may have started.
pub fn run_if_called() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != ARGUMENT {
        return None;
    }
    let done = match arguments.next() {
        Some(mode) if mode == BY_ARGUMENTS => by_arguments(arguments),
        _ => by_socket(),
    };
    Some(done.unwrap_or(ExitCode::FAILURE))
}

/// Takes the order from standard input and writes the report there.
fn by_socket() -> io::Result<ExitCode> {
    let mut socket = UnixStream::from(fcntl_dupfd_cloexec(io::stdin(), FIRST_FILE / 2)?);
    let mut length = [0; 4];
    socket.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length).min(MAX_ORDER);
    let mut text = Vec::new();
    socket
        .try_clone()?
        .take(length.into())
        .read_to_end(&mut text)?;
    let order: Order = serde_json::from_slice(&text)?;
    drop(text);
    // A user namespace can be left for only as long as this process has one thread.
    if order.is_offline {
        leave_network();
    }
    let mut watched = socket.try_clone()?;
    // Nothing more is written there; the end of it is what is waited for.
    let events = stopped_after(move || drop(watched.read(&mut [0])));
    let report = supervise(order, events);
    serde_json::to_writer(&mut socket, &report)?;
    socket.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// For callers that start programs themselves and know only arguments: standard streams and environment are passed on,
/// the exit code comes back.
fn by_arguments(mut arguments: impl Iterator<Item = OsString>) -> io::Result<ExitCode> {
    let mut number = || {
        arguments
            .next()
            .and_then(|text| text.to_str()?.parse::<u64>().ok())
    };
    let (parent, seconds) = number()
        .zip(number())
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let program = arguments
        .next()
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let parent = i32::try_from(parent)
        .ok()
        .and_then(Pid::from_raw)
        .filter(|parent| getppid() == Some(*parent));
    let parent = parent.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    let lives = pidfd_open(parent, PidfdFlags::empty())?;
    let events = stopped_after(move || {
        let timeout = rustix::event::Timespec {
            tv_sec: seconds.try_into().unwrap_or(60),
            tv_nsec: 0,
        };
        let mut waited = [rustix::event::PollFd::new(
            &lives,
            rustix::event::PollFlags::IN,
        )];
        let _ = rustix::event::poll(&mut waited, Some(&timeout));
    });
    let limits = Limits {
        memory: 8 << 30,
        cpu_seconds: seconds,
        file_bytes: 64 << 20,
        processes: 64,
    };
    confine(&limits)?;
    let report = match Command::new(program).args(arguments).spawn() {
        Ok(child) => watch(child, limits.processes, events),
        Err(error) => {
            eprint(&error);
            Report::NotStarted(error.raw_os_error())
        }
    };
    Ok(match report {
        Report::Ended(status) => {
            let code = std::process::ExitStatus::from_raw(status).code();
            ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
        }
        _ => ExitCode::FAILURE,
    })
}

/// A word for the caller, who shows it as the program's.
fn eprint(error: &io::Error) {
    // There is nobody left to tell if this fails.
    let _ = writeln!(io::stderr(), "{error}");
}

enum Event {
    /// The program has ended.
    Ended(io::Result<std::process::ExitStatus>),
    /// Nothing is wanted of it any more.
    Stop,
}

/// Where events are sent, and where they arrive.
type Events = (Sender<Event>, Receiver<Event>);

/// Events, with the stop among them once `wait` returns.
fn stopped_after(wait: impl FnOnce() + Send + 'static) -> Events {
    let (events, happened) = mpsc::channel();
    let stop = events.clone();
    std::thread::spawn(move || {
        wait();
        stop.send(Event::Stop)
    });
    (events, happened)
}

fn supervise(order: Order, events: Events) -> Report {
    let started = (|| {
        let _files = open_files(&order.files)?;
        confine(&order.limits)?;
        Command::new(&order.program)
            .args(&order.args)
            .env_clear()
            .envs(order.env.iter().map(|(name, value)| (name, value)))
            .current_dir(&order.directory)
            .stdin(Stdio::null())
            .spawn()
    })();
    match started {
        Ok(child) => {
            // The program has the pipes; they end with it.
            close_outputs();
            watch(child, order.limits.processes, events)
        }
        Err(error) => Report::NotStarted(error.raw_os_error()),
    }
}

/// Waits until the program has ended, by itself or killed, then leaves no process behind.
fn watch(mut child: std::process::Child, most: usize, (events, happened): Events) -> Report {
    std::thread::spawn(move || events.send(Event::Ended(child.wait())));
    let mut is_crowded = false;
    let status = loop {
        match happened.recv_timeout(COUNT_INTERVAL) {
            Ok(Event::Ended(ended)) => break ended.map_or(1, |status| status.into_raw()),
            Ok(Event::Stop) => kill_descendants(),
            Err(RecvTimeoutError::Timeout) => {
                is_crowded |= descendants().len() > most;
                if is_crowded {
                    kill_descendants();
                }
            }
            Err(RecvTimeoutError::Disconnected) => break 1,
        }
    };
    sweep();
    if is_crowded {
        Report::TooManyProcesses
    } else {
        Report::Ended(status)
    }
}

fn kill_descendants() {
    for pid in descendants() {
        // What has ended already is what is wanted.
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Kills and reaps until there is no child left: what loses its parent becomes ours.
fn sweep() {
    let start = Instant::now();
    while start.elapsed() < REAP_TIMEOUT {
        match wait(WaitOptions::NOHANG) {
            Err(Errno::CHILD) => return,
            Ok(Some(_)) | Err(_) => {}
            Ok(None) => {
                kill_descendants();
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }
}

/// All processes below this one.
fn descendants() -> Vec<Pid> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let parents: Vec<(i32, i32)> = pids
        .filter_map(|pid| Some((pid, parent_of(pid)?)))
        .collect();
    let mut found = Vec::new();
    let mut open = vec![i32::try_from(std::process::id()).unwrap_or_default()];
    while let Some(parent) = open.pop() {
        for (pid, _) in parents.iter().filter(|(_, of)| *of == parent) {
            open.push(*pid);
            found.extend(Pid::from_raw(*pid));
        }
    }
    found
}

/// The fourth field of `/proc/PID/stat`; the second is in parentheses and may hold anything.
fn parent_of(pid: i32) -> Option<i32> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    stat.rsplit(')')
        .next()?
        .split_ascii_whitespace()
        .nth(1)?
        .parse()
        .ok()
}

/// Memory files at the descriptors that [`file_path`] names, open in the program, too.
fn open_files(contents: &[Vec<u8>]) -> io::Result<Vec<OwnedFd>> {
    let mut files = Vec::new();
    for (index, content) in contents.iter().enumerate() {
        let mut file = std::fs::File::from(rustix::fs::memfd_create(
            "file",
            rustix::fs::MemfdFlags::CLOEXEC,
        )?);
        file.write_all(content)?;
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

/// Enters a network namespace without connections; as somebody who may not, by way of a user namespace. Where neither
/// is allowed, the network stays.
#[expect(
    deprecated,
    reason = "its replacement is unsafe for flags that are not used here"
)]
fn leave_network() {
    use rustix::thread::{UnshareFlags, unshare};
    let (user, group) = (
        rustix::process::getuid().as_raw(),
        rustix::process::getgid().as_raw(),
    );
    if unshare(UnshareFlags::NEWNET).is_err()
        && unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNET).is_ok()
    {
        // Without them the ids are unknown inside, which the program may not like.
        let _ = std::fs::write("/proc/self/setgroups", "deny");
        let _ = std::fs::write("/proc/self/uid_map", format!("{user} {user} 1"));
        let _ = std::fs::write("/proc/self/gid_map", format!("{group} {group} 1"));
    }
}

/// Limits this process and all that it starts; none of it can be undone.
fn confine(limits: &Limits) -> io::Result<()> {
    let at_most = |resource: Resource, most: u64| {
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        // A limit of the system below ours stays.
        match rustix::process::getrlimit(resource).maximum {
            Some(hard) if hard < most => Ok(()),
            _ => setrlimit(resource, limit),
        }
    };
    at_most(Resource::As, limits.memory)?;
    at_most(Resource::Cpu, limits.cpu_seconds)?;
    at_most(Resource::Fsize, limits.file_bytes)?;
    at_most(Resource::Core, 0)?;
    set_child_subreaper(Pid::from_raw(1))?;
    set_no_new_privs(true)?;
    // For root: no power over the daemon, which keeps its own.
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

/// Gives standard output and error up, so that their readers see the end when the program and its descendants end.
fn close_outputs() {
    if let Ok(null) = std::fs::File::options().write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdout(&null);
        let _ = rustix::stdio::dup2_stderr(&null);
    }
}
