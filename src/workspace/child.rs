//! Child processes that die with their step.
//!
//! A child gets an argument vector (never a shell), an environment of nothing but what is named,
//! and a process group of its own. When the step is stopped, the deadline strikes or the caller
//! drops the future, the whole group is killed, so that nothing it started lives on. What it
//! prints is kept up to a limit.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::base::stop::Stop;

/// How much of each output stream is kept, if nothing else is said.
pub const OUTPUT_LIMIT: usize = 256 * 1024;

/// How long the pipes of an ended child may stay open in the hands of its own children.
const PIPE_LINGER: Duration = Duration::from_secs(2);

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
        source: std::io::Error,
    },
    /// The connection to it broke.
    #[error("lost the child process {program:?}")]
    Lost {
        /// What.
        program: OsString,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The step was stopped; the child's group is killed.
    #[error("{0:?} was stopped")]
    Stopped(OsString),
}

impl Child {
    /// Runs the child to its end.
    ///
    /// # Errors
    /// [`ChildError`]; an exit status other than 0 is not one.
    ///
    /// # Cancel safety
    /// Dropping the future kills the child and its group.
    pub async fn run(&self, stop: &Stop) -> Result<Ended, ChildError> {
        let mut child = tokio::process::Command::new(&self.program)
            .args(&self.args)
            .env_clear()
            .envs(self.env.iter().cloned())
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| ChildError::Start { program: self.program.clone(), source })?;
        let group = Group::of(&child);
        let stdout = tokio::spawn(read_some(child.stdout.take(), self.keep));
        let stderr = tokio::spawn(read_some(child.stderr.take(), self.keep));
        let status = match stop.run(child.wait()).await {
            Some(status) => status.map_err(|source| ChildError::Lost { program: self.program.clone(), source })?,
            None => {
                drop(group);
                // Reaps the child; it cannot outlive the kill of its group.
                let _ = child.wait().await;
                return Err(ChildError::Stopped(self.program.clone()));
            }
        };
        drop(group);
        Ok(Ended { status, stdout: finish(stdout).await, stderr: finish(stderr).await })
    }
}

async fn read_some(stream: Option<impl AsyncRead + Unpin>, keep: usize) -> Vec<u8> {
    let mut kept = Vec::new();
    let Some(mut stream) = stream else { return kept };
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count) = stream.read(&mut buffer).await {
        let Some(part) = buffer.get(..count).filter(|part| !part.is_empty()) else { break };
        // The rest is read and thrown away, so that the child does not block on a full pipe.
        let room = keep.saturating_sub(kept.len()).min(part.len());
        kept.extend_from_slice(part.get(..room).unwrap_or_default());
    }
    kept
}

async fn finish(reader: tokio::task::JoinHandle<Vec<u8>>) -> Vec<u8> {
    let abort = reader.abort_handle();
    match tokio::time::timeout(PIPE_LINGER, reader).await {
        Ok(Ok(output)) => output,
        _ => {
            abort.abort();
            Vec::new()
        }
    }
}

/// Kills a process group when dropped.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &tokio::process::Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // A group that has ended already is what is wanted.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::stop::Cause;

    fn sh(script: &str) -> Child {
        Child {
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            env: vec![("PATH".into(), "/usr/bin:/bin".into())],
            directory: "/".into(),
            keep: OUTPUT_LIMIT,
        }
    }

    #[tokio::test]
    async fn a_child_sees_only_the_environment_it_is_given() {
        let ended = sh("env; exit 3").run(&Stop::default()).await.unwrap();
        assert_eq!(ended.status.code(), Some(3));
        let environment = String::from_utf8(ended.stdout).unwrap();
        assert!(
            environment.lines().all(|line| ["PATH", "PWD", "SHLVL", "_"].contains(&line.split('=').next().unwrap()))
        );
    }

    #[tokio::test]
    async fn a_stop_kills_the_child_and_all_that_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let pids = dir.path().join("pids");
        let script = format!("sleep 1000 & echo $! >> {0}; echo $$ >> {0}; wait", pids.display());
        let stop = Stop::default();
        let running = tokio::spawn({
            let (child, stop) = (sh(&script), stop.clone());
            async move { child.run(&stop).await }
        });
        while std::fs::read_to_string(&pids).unwrap_or_default().lines().count() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.stop(Cause::Cancelled);
        assert!(matches!(running.await.unwrap(), Err(ChildError::Stopped(_))));
        // A killed process needs a moment to die.
        let lives = |pid: &str| {
            let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            !state.is_empty() && !state.contains(") Z ")
        };
        let pids = std::fs::read_to_string(&pids).unwrap();
        for _ in 0..200 {
            if !pids.lines().any(lives) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("a process lives on: {pids}");
    }

    #[tokio::test]
    async fn a_grandchild_that_holds_the_pipe_does_not_hold_the_job() {
        let ended = sh("sleep 1000 & echo done").run(&Stop::default()).await.unwrap();
        assert_eq!(ended.stdout, b"done\n");
    }
}
