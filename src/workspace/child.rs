//! Child processes that never outlive their step.
//!
//! A child gets an argument vector (never a shell), only the environment variables that are given,
//! and limits. A [supervisor](super::supervisor) kills the child and its descendants when the child
//! ends, when the step is stopped, when the caller drops the future, or when this process dies.
//! Output is kept up to a limit.

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
use tracing::Instrument as _;

pub use super::supervisor::ResourceLimits;
use super::supervisor::{ARGUMENT, ChildReport, ChildRequest};
use crate::base::stop::Stop;

/// Default for the number of bytes kept of each output stream.
pub const OUTPUT_LIMIT: usize = 256 * 1024;

/// How long a supervisor may take to kill its processes before it is killed itself.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);

/// The executable that supervises children: this program, which checks for
/// `supervisor::ARGUMENT` before it does anything else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Supervisor(pub PathBuf);

impl Default for Supervisor {
    /// The running executable, even if its file has been replaced.
    fn default() -> Self {
        Self("/proc/self/exe".into())
    }
}

/// What to do when a child prints more than is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// Discard the rest.
    Discard,
    /// Stop the child and return [`ChildError::TooMuchOutput`].
    Stop,
}

/// A program to run as a child.
#[derive(Debug, Clone)]
pub struct ChildCommand {
    /// Program; looked up in `PATH` if it has no slash.
    pub program: OsString,
    /// Arguments, without the program's name.
    pub args: Vec<OsString>,
    /// Complete environment; nothing is inherited.
    pub env: Vec<(OsString, OsString)>,
    /// Working directory.
    pub directory: PathBuf,
    /// Bytes kept of each output stream.
    pub max_output: usize,
    /// What to do with output beyond that.
    pub overflow: Overflow,
    /// Resource limits.
    pub limits: ResourceLimits,
    /// Runs the program without a network, in its own network namespace, where the system allows
    /// that.
    pub is_offline: bool,
    /// Contents of in-memory files, which the program finds at
    /// [`file_path`](super::supervisor::file_path).
    pub files: Vec<Vec<u8>>,
    /// What the program reads from its standard input; may be empty.
    pub input: Vec<u8>,
    /// Executable that supervises the program.
    pub supervisor: Supervisor,
}

/// Exit status and output of a child.
#[derive(Debug)]
pub struct ChildOutput {
    /// Exit status; may be other than 0.
    pub status: ExitStatus,
    /// Kept part of the standard output.
    pub stdout: Vec<u8>,
    /// Kept part of the standard error.
    pub stderr: Vec<u8>,
}

impl ChildOutput {
    /// Returns the limit for which the kernel killed the child, if it did.
    pub fn limit(&self) -> Option<&'static str> {
        let signal = self.status.signal()?;
        [
            (Signal::XCPU, "processor time"),
            (Signal::XFSZ, "file size"),
        ]
        .into_iter()
        .find_map(|(known, limit)| (known.as_raw() == signal).then_some(limit))
    }
}

/// Why a child could not be run to its end.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// The program could not be started.
    #[error("cannot run {program:?}")]
    Start {
        /// The program.
        program: OsString,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The connection to the supervisor broke.
    #[error("lost the connection to the supervisor of {program:?}")]
    Lost {
        /// The program.
        program: OsString,
        /// The connection's error.
        #[source]
        source: io::Error,
    },
    /// The step was stopped; the child and its descendants have been killed.
    #[error("{0:?} was stopped")]
    Stopped(OsString),
    /// The child printed more than allowed.
    #[error("{program:?} printed more than {limit} bytes and was stopped")]
    TooMuchOutput {
        /// The program.
        program: OsString,
        /// The limit in bytes.
        limit: usize,
    },
    /// The child had more descendants than allowed.
    #[error("{program:?} started more than {limit} processes and was stopped")]
    TooManyProcesses {
        /// The program.
        program: OsString,
        /// Maximum number of processes.
        limit: usize,
    },
}

impl ChildCommand {
    /// Runs the child to its end. When this returns, the child and its descendants are gone.
    ///
    /// # Errors
    /// [`ChildError`] if the child could not be started, was stopped, or exceeded a limit on output
    /// or processes. An exit status other than 0 is not an error.
    ///
    /// # Cancel safety
    /// Dropping the future makes the supervisor kill the child and its descendants.
    // Long: the life of one process, in order.
    pub async fn run(&self, stop: &Stop) -> Result<ChildOutput, ChildError> {
        let start_error = |source| ChildError::Start {
            program: self.program.clone(),
            source,
        };
        let (mut process, mut socket) = self.spawn().map_err(start_error)?;
        let full = CancellationToken::new();
        let stdout = self.reader(process.stdout.take(), &full);
        let stderr = self.reader(process.stderr.take(), &full);
        let request = self.request().map_err(start_error)?;
        let exchange = async {
            socket.write_all(&request).await?;
            read_report(&mut socket).await
        };
        let report = tokio::select! {
            report = stop.run(exchange) => report,
            () = full.cancelled() => None,
        };
        if report.is_none() {
            // Closing the write half of the socket tells the supervisor to stop. If it does not
            // respond, it is killed.
            let _ = socket.shutdown().await;
            if tokio::time::timeout(STOP_TIMEOUT, read_report(&mut socket))
                .await
                .is_err()
            {
                let _ = process.start_kill();
            }
        }
        // Reaps the supervisor, which has finished.
        let _ = process.wait().await;
        let program = self.program.clone();
        match report {
            None if full.is_cancelled() => Err(ChildError::TooMuchOutput {
                program,
                limit: self.max_output,
            }),
            None => Err(ChildError::Stopped(program)),
            Some(Err(source)) => Err(ChildError::Lost { program, source }),
            Some(Ok(ChildReport::NotStarted(number))) => {
                let source = number
                    .map_or_else(|| io::ErrorKind::Other.into(), io::Error::from_raw_os_error);
                Err(ChildError::Start { program, source })
            }
            Some(Ok(ChildReport::TooManyProcesses)) => Err(ChildError::TooManyProcesses {
                program,
                limit: self.limits.processes,
            }),
            Some(Ok(ChildReport::Ended(status))) => {
                let (stdout, stderr) = (
                    stdout.await.unwrap_or_default(),
                    stderr.await.unwrap_or_default(),
                );
                Ok(ChildOutput {
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

    /// Serializes the request, preceded by its length.
    fn request(&self) -> io::Result<Vec<u8>> {
        let request = ChildRequest {
            program: self.program.clone(),
            args: self.args.clone(),
            env: self.env.clone(),
            directory: self.directory.clone(),
            limits: self.limits,
            is_offline: self.is_offline,
            files: self.files.clone(),
            input: self.input.clone(),
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
        let reading = read_bounded(stream, self.max_output, full);
        AbortOnDropHandle::new(tokio::spawn(reading.in_current_span()))
    }
}

async fn read_report(socket: &mut UnixStream) -> io::Result<ChildReport> {
    let mut text = Vec::new();
    socket.read_to_end(&mut text).await?;
    if text.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_slice(&text)?)
}

/// Reads the stream to its end and keeps the first `keep` bytes. Cancels `full` if there are more.
async fn read_bounded(
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
        // The rest is read and discarded, so that the child does not block on a full pipe.
        let taken = keep.saturating_sub(kept.len()).min(part.len());
        kept.extend_from_slice(part.get(..taken).unwrap_or_default());
        if let Some(full) = full.as_ref().filter(|_| taken < part.len()) {
            full.cancel();
        }
    }
    kept
}
