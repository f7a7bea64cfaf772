//! `dev`: runs a control plane and the daemon in one process, and the demo on them.

use std::collections::HashMap;
use std::io::{ErrorKind, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgMatches, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::error::CommandError;
use super::{Code, chain, print, print_error, settings};
use crate::agent::{Agent, AgentOptions, Exit, Mode, Signal};
use crate::base::clock::Clock;
use crate::base::error::plain;
use crate::base::secret::Redactor;
use crate::cluster::client::connect::read_kubeconfig;
use crate::config::setting::SETTINGS;
use crate::config::{Config, Layers};
use crate::dev::demo::{self, DemoObserver};
use crate::dev::{ControlPlane, ControlPlaneOptions, Generation, server};
use crate::plan::changeset::{ChangeKind, ResourceDiff};
use crate::telemetry;

/// How often the removal of the temporary directory is tried, and the time between two tries.
const MAX_REMOVALS: u32 = 40;
const REMOVAL_INTERVAL: Duration = Duration::from_millis(50);

pub fn command() -> Command {
    Command::new("dev")
        .about(
            "Runs the demo on this machine: builds and deploys its components with a local control plane",
        )
        .arg(
            Arg::new("to")
                .long("to")
                .value_name("DIR")
                .env("NUON_RUNNER_DEV_TO")
                .default_value("nuon-demo")
                .help("Directory for the artifacts (OCI image layouts)"),
        )
        .arg(
            Arg::new("kubeconfig")
                .long("kubeconfig")
                .value_name("FILE")
                .env("NUON_RUNNER_DEV_KUBECONFIG")
                .help("Kubeconfig of the cluster to deploy to; without one the demo ends after the builds"),
        )
        .arg(
            Arg::new("log-level")
                .long("log-level")
                .value_name("LEVEL")
                .env("LOG_LEVEL")
                .default_value("warn")
                .help("Minimum level of the agent's own log"),
        )
}

/// Runs the demo.
pub fn run(matches: &ArgMatches, environment: &HashMap<String, String>) -> Code {
    let text = |name: &str| matches.get_one::<String>(name).cloned();
    let runtime = match settings::runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            print_error(&format!("cannot start: {error}"), "");
            return Code::Error;
        }
    };
    let demo = Demo {
        to: text("to").unwrap_or_default().into(),
        kubeconfig: text("kubeconfig").map(PathBuf::from),
        log_level: text("log-level").unwrap_or_default(),
        use_color: use_color(environment),
    };
    let ended = runtime.block_on(demo.run());
    runtime.shutdown_background();
    match ended {
        Ok(()) => Code::Done,
        Err(DemoFailure::Interrupted) => {
            print_error("interrupted", "");
            Code::Interrupted
        }
        Err(DemoFailure::Refused(CommandError(code, message))) => {
            print_error(&message, "");
            code
        }
        Err(DemoFailure::Failed(message)) => {
            print_error(&message, "LOG_LEVEL=debug shows what the agent does");
            Code::Error
        }
    }
}

/// Reason why the demo ended early.
enum DemoFailure {
    Interrupted,
    /// Nothing was started.
    Refused(CommandError),
    Failed(String),
}

impl From<CommandError> for DemoFailure {
    fn from(error: CommandError) -> Self {
        Self::Refused(error)
    }
}

impl From<String> for DemoFailure {
    fn from(message: String) -> Self {
        Self::Failed(message)
    }
}

/// Returns true if output is colored: never with `NO_COLOR`, always with `CLICOLOR_FORCE`, else if
/// stderr is a terminal and `TERM` is not `dumb`.
fn use_color(environment: &HashMap<String, String>) -> bool {
    let is_set = |name: &str| environment.get(name).is_some_and(|value| !value.is_empty());
    if is_set("NO_COLOR") {
        return false;
    }
    if environment
        .get("CLICOLOR_FORCE")
        .is_some_and(|value| !value.is_empty() && value != "0")
    {
        return true;
    }
    std::io::stderr().is_terminal() && environment.get("TERM").is_none_or(|term| term != "dumb")
}

struct Demo {
    to: PathBuf,
    kubeconfig: Option<PathBuf>,
    log_level: String,
    use_color: bool,
}

impl Demo {
    /// Runs the demo until it ends or a signal interrupts it. The signals are listened for before
    /// anything starts, so that nothing is left of it.
    async fn run(self) -> Result<(), DemoFailure> {
        let listen = |kind| signal(kind).map_err(|error| format!("cannot start: {error}"));
        let mut interrupt = listen(SignalKind::interrupt())?;
        let mut terminate = listen(SignalKind::terminate())?;
        let interrupted = async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        };
        self.run_until(interrupted).await
    }

    async fn run_until(self, interrupted: impl Future<Output = ()>) -> Result<(), DemoFailure> {
        if let Some(file) = &self.kubeconfig {
            read_kubeconfig(std::slice::from_ref(file), None).map_err(CommandError::from)?;
        }
        let work = WorkDir::new()?;
        let to = self.create_layouts()?;
        let (runner, token) = server::credentials();
        let control = ControlPlane::start(ControlPlaneOptions::new(Generation::Second, &token))
            .await
            .map_err(|error| format!("cannot start the control plane: {error}"))?;
        let config = self.config(&control, &work, &runner, &token)?;
        let redactor = Redactor::default();
        let _learned = redactor.learn(&token);
        telemetry::start_log(config.log, redactor.clone());
        let (stop_agent, signals) = mpsc::unbounded_channel();
        let options = AgentOptions {
            config,
            mode: Mode::Run,
            clock: Clock::system(),
            redactor,
            signals,
            local_registries: true,
        };
        let agent = Agent::build(options)
            .await
            .map_err(|error| format!("the agent cannot start: {}", chain(&error)))?;
        let mut running = tokio::spawn(agent.run());
        let mut observer = TerminalOutput {
            use_color: self.use_color,
        };
        let demo = async {
            tokio::select! {
                ended = demo::run(&control, &work.0, &to, self.kubeconfig.as_deref(), &mut observer) => {
                    ended.map_err(|error| DemoFailure::Failed(error.to_string()))
                }
                () = interrupted => Err(DemoFailure::Interrupted),
            }
        };
        let ended = tokio::select! {
            ended = demo => ended,
            ended = &mut running => {
                return Err(DemoFailure::Failed(match ended {
                    Ok(Err(error)) => format!("the agent ended: {}", chain(&error)),
                    _ => "the agent ended unexpectedly".to_owned(),
                }));
            }
        };
        // The send fails only if the daemon has already ended.
        let _ = stop_agent.send(Signal::Terminate);
        match running.await {
            Ok(Ok(Exit::Orderly)) => ended,
            Ok(Err(error)) => Err(DemoFailure::Failed(chain(&error))),
            _ => ended.and(Err(DemoFailure::Failed(
                "the agent did not shut down cleanly".into(),
            ))),
        }
    }

    /// Creates the directory for the artifacts. Returns its absolute path.
    fn create_layouts(&self) -> Result<PathBuf, DemoFailure> {
        let made = std::fs::create_dir_all(&self.to).and_then(|()| self.to.canonicalize());
        made.map_err(|error| {
            format!("cannot create {}: {}", self.to.display(), plain(&error)).into()
        })
    }

    fn config(
        &self,
        control: &ControlPlane,
        work: &WorkDir,
        runner: &str,
        token: &str,
    ) -> Result<Config, CommandError> {
        let mut layers = Layers::defaults();
        let state_dir = work.0.join("state").display().to_string();
        let values = [
            ("api.url", control.url().to_string()),
            ("api.token", token.to_owned()),
            ("id", runner.to_owned()),
            ("state_dir", state_dir),
            ("admin.listen", "127.0.0.1:0".to_owned()),
            ("log.level", self.log_level.clone()),
        ];
        for (key, value) in values {
            if let Some(setting) = SETTINGS.iter().find(|setting| setting.key == key) {
                layers.set_flag(setting, value);
            }
        }
        Ok(Config::from_layers(&layers).map_err(|error| error.to_string())?)
    }
}

/// A temporary directory of the demo, removed on drop.
struct WorkDir(PathBuf);

impl WorkDir {
    fn new() -> Result<Self, CommandError> {
        let path =
            std::env::temp_dir().join(format!("nuon-runner-dev-{:016x}", rand::random::<u64>()));
        crate::workspace::dir::create_private(&path)
            .map_err(|error| format!("cannot create {}: {error}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        // A task that was interrupted may still write into it.
        for _ in 0..MAX_REMOVALS {
            match std::fs::remove_dir_all(&self.0) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    std::thread::sleep(REMOVAL_INTERVAL);
                }
                _ => return,
            }
        }
        print_error(&format!("{} could not be removed", self.0.display()), "");
    }
}

/// Progress on stderr, one line per transition; results on stdout.
struct TerminalOutput {
    use_color: bool,
}

impl TerminalOutput {
    fn paint(&self, ansi_code: u8, text: &str) -> String {
        if self.use_color {
            format!("\x1b[{ansi_code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    fn say(&self, text: &str) {
        // There is no other place to report a failure.
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }
}

impl DemoObserver for TerminalOutput {
    fn progress(&mut self, job: &str, status: &str) {
        let ansi_code = match status {
            "finished" => 32,
            "failed" | "timed-out" | "cancelled" => 31,
            _ => 36,
        };
        self.say(&format!("{job:<16} {}", self.paint(ansi_code, status)));
    }

    fn built(&mut self, component: &str, reference: &str, digest: &str) {
        print(&format!(
            "built {component}\n  artifact  {reference}\n  digest    {digest}\n"
        ));
    }

    fn changes(&mut self, operation: &str, component: &str, diffs: &[ResourceDiff]) {
        let done = if operation == "plan" {
            "planned"
        } else {
            "applied"
        };
        print(&format!("{done} {component}\n"));
        if diffs.is_empty() {
            print("  nothing changes\n");
        }
        for diff in diffs {
            let (sign, word) = match diff.change {
                ChangeKind::Added => ('+', "create"),
                ChangeKind::Removed => ('-', "delete"),
                ChangeKind::Modified => ('~', "change"),
                ChangeKind::Unchanged => ('=', "keep"),
                ChangeKind::Error => ('!', "error"),
            };
            let place = if diff.namespace.is_empty() {
                String::new()
            } else {
                format!("{}/", diff.namespace)
            };
            print(&format!(
                "  {sign} {word} {} {place}{}\n",
                diff.kind, diff.name
            ));
            for entry in diff
                .entries
                .iter()
                .filter(|entry| entry.path.is_some() && diff.change == ChangeKind::Modified)
            {
                let sign = if entry.change == ChangeKind::Removed {
                    '-'
                } else {
                    '+'
                };
                let path = entry.path.as_deref().unwrap_or_default();
                print(&format!(
                    "      {sign} {path}: {}\n",
                    entry.payload.as_deref().unwrap_or_default()
                ));
            }
        }
    }

    fn note(&mut self, text: &str) {
        self.say(text);
    }
}
