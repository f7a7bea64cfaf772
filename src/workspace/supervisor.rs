//! The supervisor: the process between this program and each program that it runs.
//!
//! A child is not started directly, but through this same executable, called with [`ARGUMENT`]. The
//! supervisor limits itself (and so everything that it starts), starts the program, and stays. It
//! is the *subreaper* of the program's descendants, so that none escapes by forking twice or by
//! starting a session of its own. When the program ends, when the daemon requests a stop, or when
//! the daemon is gone, the supervisor kills all remaining descendants and exits.
//!
//! The request and the report are sent over a socket, which is the supervisor's standard input. End
//! of file on it means stop: the kernel closes the other side when its process dies, however it
//! dies. (A parent-death signal would follow the *thread* that forked, and asynchronous runtimes
//! end threads.)
//!
//! The supervisor has this single purpose and no async runtime: blocking calls and two threads.

mod confine;

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use confine::{close_outputs, confine, leave_network, memory_file, open_files};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, getppid, kill_process, pidfd_open, wait,
};
use serde::{Deserialize, Serialize};

/// The first argument that makes this executable a supervisor.
pub const ARGUMENT: &str = "--supervise";

/// The second argument if the request is in the arguments: PARENT SECONDS PROGRAM ARGUMENT….
pub const ARGUMENTS_MODE: &str = "--by-arguments";

/// Descriptor of the program's first in-memory file; the others follow.
const FIRST_FILE: i32 = 100;

/// Interval at which the descendants are counted.
const COUNT_INTERVAL: Duration = Duration::from_millis(200);

/// How long to wait for killed processes to end.
const REAP_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum bytes of a request.
const MAX_REQUEST_BYTES: u32 = 64 << 20;

/// Resource limits of a program and its descendants. The first three apply to each process
/// separately.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceLimits {
    /// Maximum address space, in bytes.
    pub memory: u64,
    /// Maximum processor time, in seconds.
    pub cpu_seconds: u64,
    /// Maximum size of a file that it writes, in bytes.
    pub file_bytes: u64,
    /// Maximum number of descendants at a time.
    pub processes: usize,
}

/// A program to run and supervise.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ChildRequest {
    pub program: OsString,
    pub args: Vec<OsString>,
    pub env: Vec<(OsString, OsString)>,
    pub directory: PathBuf,
    pub limits: ResourceLimits,
    pub is_offline: bool,
    /// Contents of in-memory files, which the program finds at [`file_path`].
    pub files: Vec<Vec<u8>>,
    /// What the program reads from its standard input.
    pub input: Vec<u8>,
}

/// How the program ended.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ChildReport {
    /// The program could not be started; holds the system's error number, if there is one.
    NotStarted(Option<i32>),
    /// The program ended with this wait status.
    Ended(i32),
    /// The program was killed because it had more descendants than allowed.
    TooManyProcesses,
}

/// Returns the path at which a program finds its in-memory file number `index`.
pub fn file_path(index: i32) -> String {
    format!("/proc/self/fd/{}", FIRST_FILE + index)
}

/// Supervises a program if this process was called as a supervisor; returns the exit code then.
///
/// Must be called first in `main`, before anything else has started.
pub fn run_if_called() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != ARGUMENT {
        return None;
    }
    let done = match arguments.next() {
        Some(mode) if mode == ARGUMENTS_MODE => serve_arguments(arguments),
        _ => serve_socket(),
    };
    Some(done.unwrap_or(ExitCode::FAILURE))
}

/// Reads the request from the socket at standard input, and writes the report to it.
fn serve_socket() -> io::Result<ExitCode> {
    let mut socket = UnixStream::from(fcntl_dupfd_cloexec(io::stdin(), FIRST_FILE / 2)?);
    let mut length = [0; 4];
    socket.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length).min(MAX_REQUEST_BYTES);
    let mut text = Vec::new();
    socket
        .try_clone()?
        .take(length.into())
        .read_to_end(&mut text)?;
    let request: ChildRequest = serde_json::from_slice(&text)?;
    drop(text);
    // A process with several threads cannot enter a user namespace, so this comes before the first
    // thread.
    if request.is_offline {
        leave_network();
    }
    let mut stop_socket = socket.try_clone()?;
    // The other side writes nothing more, so the read returns at end of file.
    let events = events_with_stop(move || drop(stop_socket.read(&mut [0])));
    let report = supervise(request, events);
    serde_json::to_writer(&mut socket, &report)?;
    socket.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// Serves callers that start programs themselves and can only pass arguments. Passes on the
/// standard streams and the environment, and returns the program's exit code.
fn serve_arguments(mut arguments: impl Iterator<Item = OsString>) -> io::Result<ExitCode> {
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
    let parent_fd = pidfd_open(parent, PidfdFlags::empty())?;
    let events = events_with_stop(move || {
        let timeout = rustix::event::Timespec {
            tv_sec: seconds.try_into().unwrap_or(60),
            tv_nsec: 0,
        };
        let mut waited = [rustix::event::PollFd::new(
            &parent_fd,
            rustix::event::PollFlags::IN,
        )];
        let _ = rustix::event::poll(&mut waited, Some(&timeout));
    });
    let limits = ResourceLimits {
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
            ChildReport::NotStarted(error.raw_os_error())
        }
    };
    Ok(match report {
        ChildReport::Ended(status) => {
            let code = std::process::ExitStatus::from_raw(status).code();
            ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
        }
        _ => ExitCode::FAILURE,
    })
}

/// Prints an error to stderr, which the caller shows as the program's.
fn eprint(error: &io::Error) {
    // There is no other place to report a failure.
    let _ = writeln!(io::stderr(), "{error}");
}

enum Event {
    /// The program has ended.
    Ended(io::Result<std::process::ExitStatus>),
    /// The program must be stopped.
    Stop,
}

/// The two ends of the channel of events.
type Events = (Sender<Event>, Receiver<Event>);

/// Creates the channel of events. Sends [`Event::Stop`] when `wait` returns.
fn events_with_stop(wait: impl FnOnce() + Send + 'static) -> Events {
    let (sender, receiver) = mpsc::channel();
    let stop = sender.clone();
    std::thread::spawn(move || {
        wait();
        stop.send(Event::Stop)
    });
    (sender, receiver)
}

fn supervise(request: ChildRequest, events: Events) -> ChildReport {
    let started = (|| {
        let _files = open_files(&request.files)?;
        confine(&request.limits)?;
        Command::new(&request.program)
            .args(&request.args)
            .env_clear()
            .envs(request.env.iter().map(|(name, value)| (name, value)))
            .current_dir(&request.directory)
            .stdin(input(&request.input)?)
            .spawn()
    })();
    match started {
        Ok(child) => {
            // Only the program keeps the pipes open, so they close when it ends.
            close_outputs();
            watch(child, request.limits.processes, events)
        }
        Err(error) => ChildReport::NotStarted(error.raw_os_error()),
    }
}

fn input(content: &[u8]) -> io::Result<Stdio> {
    match content {
        [] => Ok(Stdio::null()),
        content => memory_file(content).map(Stdio::from),
    }
}

/// Waits until the program has ended, by itself or because it was killed, then kills all remaining
/// descendants.
fn watch(
    mut child: std::process::Child,
    max_processes: usize,
    (sender, receiver): Events,
) -> ChildReport {
    std::thread::spawn(move || sender.send(Event::Ended(child.wait())));
    let mut has_too_many = false;
    let status = loop {
        match receiver.recv_timeout(COUNT_INTERVAL) {
            Ok(Event::Ended(ended)) => break ended.map_or(1, |status| status.into_raw()),
            Ok(Event::Stop) => kill_descendants(),
            Err(RecvTimeoutError::Timeout) => {
                has_too_many |= descendants().len() > max_processes;
                if has_too_many {
                    kill_descendants();
                }
            }
            Err(RecvTimeoutError::Disconnected) => break 1,
        }
    };
    reap_descendants();
    if has_too_many {
        ChildReport::TooManyProcesses
    } else {
        ChildReport::Ended(status)
    }
}

fn kill_descendants() {
    for pid in descendants() {
        // Fails only if the process has already ended.
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Kills and reaps until no child is left, at most for [`REAP_TIMEOUT`]. Orphaned descendants
/// become children of this process.
fn reap_descendants() {
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

/// Returns all descendants of this process.
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

/// Returns the parent's id: the fourth field of `/proc/PID/stat`. The second field is in
/// parentheses and may contain anything.
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
