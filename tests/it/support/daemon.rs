//! The real binary as a child process, and the control plane it talks to.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nuon_runner::dev::store::StoredJob;
use nuon_runner::dev::{ControlPlane, ControlPlaneOptions, Generation};
use tokio::process::{Child, Command};

pub const RUNNER_ID: &str = "run00000000000000000000000";
pub const TOKEN: &str = "marked-token-0123456789abcdef";

/// Timeout of everything that must happen, even on a busy machine.
pub const WAIT_TIMEOUT: Duration = Duration::from_secs(60);

/// Creates a control plane that checks every request against the contract.
pub async fn control_plane(generation: Generation) -> ControlPlane {
    control_plane_with(ControlPlaneOptions::new(generation, TOKEN)).await
}

pub async fn control_plane_with(mut options: ControlPlaneOptions) -> ControlPlane {
    options.checker = Some(crate::support::contract::checker());
    ControlPlane::start(options).await.unwrap()
}

/// Configuration of a daemon.
pub struct Setup {
    pub command: &'static str,
    pub state_dir: PathBuf,
    pub env: HashMap<String, String>,
    /// Program and arguments that run the daemon, such as strace.
    pub wrapper: Vec<String>,
}

impl Setup {
    pub fn new(state_dir: &Path, control: &ControlPlane) -> Self {
        let mut env = HashMap::from(
            [
                ("RUNNER_API_URL", control.url().as_str()),
                ("RUNNER_API_TOKEN", TOKEN),
                ("RUNNER_ID", RUNNER_ID),
                ("NUON_RUNNER_ADMIN_LISTEN", "127.0.0.1:0"),
                ("LOG_LEVEL", "debug"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        for name in ["PATH", "SSL_CERT_FILE"] {
            env.extend(
                std::env::var(name)
                    .ok()
                    .map(|value| (name.to_owned(), value)),
            );
        }
        Self {
            command: "run",
            state_dir: state_dir.to_owned(),
            env,
            wrapper: Vec::new(),
        }
    }

    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    pub fn start(&self) -> Daemon {
        let mut argv = self.wrapper.clone();
        let ours = std::env::var("NUON_BINARY")
            .unwrap_or_else(|_| env!("CARGO_BIN_EXE_nuon-runner").into());
        argv.extend([ours, self.command.into()]);
        let log = tempfile::NamedTempFile::new().unwrap();
        let child = Command::new(&argv[0])
            .args(&argv[1..])
            .env_clear()
            .envs(&self.env)
            .env("NUON_RUNNER_STATE_DIR", &self.state_dir)
            .stdin(Stdio::null())
            .stdout(log.reopen().unwrap())
            .stderr(log.reopen().unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Daemon { child, log }
    }
}

pub struct Daemon {
    child: Child,
    log: tempfile::NamedTempFile,
}

impl Daemon {
    pub fn pid(&self) -> i32 {
        self.child.id().unwrap().try_into().unwrap()
    }

    pub fn signal(&self, signal: &str) {
        let status = std::process::Command::new("kill")
            .args([signal, &self.pid().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// Waits for the process to end. Returns the exit code, or the negative number of the signal.
    pub async fn wait_for_exit(&mut self) -> i32 {
        use std::os::unix::process::ExitStatusExt as _;
        let status = tokio::time::timeout(WAIT_TIMEOUT, self.child.wait()).await;
        let status = status
            .unwrap_or_else(|_| panic!("the daemon does not end; its log:\n{}", self.log()))
            .unwrap();
        status.code().unwrap_or_else(|| -status.signal().unwrap())
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Sends SIGTERM. Returns the exit code.
    pub async fn terminate(&mut self) -> i32 {
        self.signal("-TERM");
        self.wait_for_exit().await
    }

    /// Sends SIGTERM. Fails unless the daemon ends in order and has kept to the contract.
    pub async fn shut_down(&mut self, control: &ControlPlane) {
        assert_eq!(self.terminate().await, 0, "{}", self.log());
        assert_contract(control);
    }

    /// Waits until a job has ended. Fails unless it is finished.
    pub async fn expect_finished(&self, control: &ControlPlane, job: &str) -> StoredJob {
        let job = control.wait(job, WAIT_TIMEOUT).await.unwrap();
        assert_eq!(
            job.status,
            "finished",
            "{}\n{}",
            job.description,
            self.log()
        );
        job
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap()
    }

    /// Returns the URL of the admin server, once it is logged.
    pub async fn admin(&self) -> String {
        eventually("the admin server is listening", || {
            let log = self.log();
            let line = log
                .lines()
                .find(|line| line.contains("the admin server is listening"))?;
            let record: serde_json::Value = serde_json::from_str(line).ok()?;
            record["address"]
                .as_str()
                .map(|address| format!("http://{address}"))
        })
        .await
    }
}

/// Returns status and body of a path on the admin server.
pub async fn get(admin: &str, path: &str) -> (u16, String) {
    // The client needs a TLS provider, even over plain HTTP.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let answer = reqwest::get(format!("{admin}{path}")).await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// Waits until `look` returns `Some`.
pub async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    eventually_async(what, async || look()).await
}

/// Like [`eventually`], for asynchronous checks.
pub async fn eventually_async<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let end = std::time::Instant::now() + WAIT_TIMEOUT;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(
            std::time::Instant::now() < end,
            "timed out waiting until {what}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Fails if a request violated the contract.
pub fn assert_contract(control: &ControlPlane) {
    let violations = control.store().violations.clone();
    assert!(
        violations.is_empty(),
        "requests that violate the contract:\n{}",
        violations.join("\n")
    );
}
