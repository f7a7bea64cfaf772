//! Child processes that die with their step.
//!
//! A child gets an argument vector (never a shell), an environment of nothing but what is named,
//! limits, and a [supervisor](super::supervisor) that leaves nothing of it behind when it ends, when
//! the step is stopped, when the caller drops the future, or when this process dies. What it prints
//! is kept up to a limit.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

pub use super::supervisor::Limits;
use super::supervisor::{ARGUMENT, Order, Report};
use crate::base::stop::Stop;

/// How much of each output stream is kept, if nothing else is said.
pub const OUTPUT_LIMIT: usize = 256 * 1024;

/// How long a supervisor may take to kill what it started.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);

/// The executable that supervises children: this program, which looks for
/// [`ARGUMENT`](super::supervisor::ARGUMENT) before anything else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Supervisor(pub PathBuf);

impl Default for Supervisor {
    /// The running executable, also after its file was replaced.
    fn default() -> Self {
        Self("/proc/self/exe".into())
    }
}

/// What happens when a child prints more than is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// The rest is thrown away.
    Discard,
    /// The child is stopped: [`ChildError::TooMuchOutput`].
    Stop,
}

/// What is to be run.
#[derive(Debug, Clone)]
pub struct Child {
    /// The program, looked up in `PATH` if it has no slash.
    pub program: OsString,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Its whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// Its working directory.
    pub directory: PathBuf,
    /// How many bytes of each output stream are kept.
    pub keep: usize,
    /// What happens to more.
    pub overflow: Overflow,
    /// What it may use.
    pub limits: Limits,
    /// Whether it gets no network: a namespace of its own, where the system allows that.
    pub is_offline: bool,
    /// Contents that it finds at [`file_path`](super::supervisor::file_path), in memory only.
    pub files: Vec<Vec<u8>>,
    /// What starts and ends it.
    pub supervisor: Supervisor,
}

/// What a child that ended has left.
#[derive(Debug)]
pub struct Ended {
    /// How it ended.
    pub status: ExitStatus,
    /// What was kept of its standard output.
    pub stdout: Vec<u8>,
    /// What was kept of its standard error.
    pub stderr: Vec<u8>,
}

impl Ended {
    /// The limit by which the kernel ended it, if it did.
    pub fn limit(&self) -> Option<&'static str> {
        let signal = self.status.signal()?;
        [
            (Signal::XCPU, "processor time"),
            (Signal::XFSZ, "the size of a file"),
        ]
        .into_iter()
        .find_map(|(known, limit)| (known.as_raw() == signal).then_some(limit))
    }
}

/// A child that did not end by itself.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// It could not be started.
    #[error("cannot run {program:?}")]
    Start {
        /// What.
        program: OsString,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The connection to its supervisor broke.
    #[error("lost the child process {program:?}")]
    Lost {
        /// What.
        program: OsString,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The step was stopped; the child and all that it started are killed.
    #[error("{0:?} was stopped")]
    Stopped(OsString),
    /// It printed more than is taken.
    #[error("{program:?} printed more than {limit} bytes and was stopped")]
    TooMuchOutput {
        /// What.
        program: OsString,
        /// The limit in bytes.
        limit: usize,
    },
    /// It started more processes than it may.
    #[error("{program:?} started more than {limit} processes and was stopped")]
    TooManyProcesses {
        /// What.
        program: OsString,
        /// The limit.
        limit: usize,
    },
}

impl Child {
    /// Runs the child to its end. When this returns, the child and its descendants are gone.
    ///
    /// # Errors
    /// [`ChildError`]; an exit status other than 0 is not one.
    ///
    /// # Cancel safety
    /// Dropping the future makes the supervisor kill the child and its descendants.
    pub async fn run(&self, stop: &Stop) -> Result<Ended, ChildError> {
        let start = |source| ChildError::Start {
            program: self.program.clone(),
            source,
        };
        let (mut process, mut socket) = self.spawn().map_err(start)?;
        let full = CancellationToken::new();
        let stdout = self.reader(process.stdout.take(), &full);
        let stderr = self.reader(process.stderr.take(), &full);
        let order = self.order().map_err(start)?;
        let exchange = async {
            socket.write_all(&order).await?;
            read_report(&mut socket).await
        };
        let report = tokio::select! {
            report = stop.run(exchange) => report,
            () = full.cancelled() => None,
        };
        if report.is_none() {
            // The end of the order is the stop; one that is deaf to it is killed itself.
            let _ = socket.shutdown().await;
            if tokio::time::timeout(STOP_TIMEOUT, read_report(&mut socket))
                .await
                .is_err()
            {
                let _ = process.start_kill();
            }
        }
        // Reaps the supervisor, which has nothing left to do.
        let _ = process.wait().await;
        let program = self.program.clone();
        match report {
            None if full.is_cancelled() => Err(ChildError::TooMuchOutput {
                program,
                limit: self.keep,
            }),
            None => Err(ChildError::Stopped(program)),
            Some(Err(source)) => Err(ChildError::Lost { program, source }),
            Some(Ok(Report::NotStarted(number))) => {
                let source = number
                    .map_or_else(|| io::ErrorKind::Other.into(), io::Error::from_raw_os_error);
                Err(ChildError::Start { program, source })
            }
            Some(Ok(Report::TooManyProcesses)) => Err(ChildError::TooManyProcesses {
                program,
                limit: self.limits.processes,
            }),
            Some(Ok(Report::Ended(status))) => {
                let (stdout, stderr) = (
                    stdout.await.unwrap_or_default(),
                    stderr.await.unwrap_or_default(),
                );
                Ok(Ended {
                    status: ExitStatus::from_raw(status),
                    stdout,
                    stderr,
                })
            }
        }
    }

    fn spawn(&self) -> io::Result<(tokio::process::Child, UnixStream)> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let process = tokio::process::Command::new(&self.supervisor.0)
            .arg(ARGUMENT)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        Ok((process, UnixStream::from_std(ours)?))
    }

    /// The order, with its length before it.
    fn order(&self) -> io::Result<Vec<u8>> {
        let request = Order {
            program: self.program.clone(),
            args: self.args.clone(),
            env: self.env.clone(),
            directory: self.directory.clone(),
            limits: self.limits,
            is_offline: self.is_offline,
            files: self.files.clone(),
        };
        let text = serde_json::to_vec(&request)?;
        let length = u32::try_from(text.len()).map_err(io::Error::other)?;
        Ok([length.to_le_bytes().as_slice(), &text].concat())
    }

    fn reader(
        &self,
        stream: Option<impl AsyncRead + Unpin + Send + 'static>,
        full: &CancellationToken,
    ) -> AbortOnDropHandle<Vec<u8>> {
        let full = (self.overflow == Overflow::Stop).then(|| full.clone());
        AbortOnDropHandle::new(tokio::spawn(read_some(stream, self.keep, full)))
    }
}

async fn read_report(socket: &mut UnixStream) -> io::Result<Report> {
    let mut text = Vec::new();
    socket.read_to_end(&mut text).await?;
    if text.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_slice(&text)?)
}

/// Reads to the end and keeps the beginning; cancels `full` when there is more.
async fn read_some(
    stream: Option<impl AsyncRead + Unpin>,
    keep: usize,
    full: Option<CancellationToken>,
) -> Vec<u8> {
    let mut kept = Vec::new();
    let Some(mut stream) = stream else {
        return kept;
    };
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count) = stream.read(&mut buffer).await {
        let Some(part) = buffer.get(..count).filter(|part| !part.is_empty()) else {
            break;
        };
        // The rest is read and thrown away, so that the child does not block on a full pipe.
        let room = keep.saturating_sub(kept.len()).min(part.len());
        kept.extend_from_slice(part.get(..room).unwrap_or_default());
        if let Some(full) = full.as_ref().filter(|_| room < part.len()) {
            full.cancel();
        }
    }
    kept
}
