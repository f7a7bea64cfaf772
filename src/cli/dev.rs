//! `dev`: a control plane and the daemon in one process, and the demo.

use std::collections::HashMap;
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command};
use tokio::sync::mpsc;

use super::{Code, chain, complain, print, settings};
use crate::agent::{Agent, Exit, Mode, Signal};
use crate::base::clock::Clock;
use crate::base::secret::Redactor;
use crate::config::setting::SETTINGS;
use crate::config::{Config, Layers};
use crate::dev::demo::{self, Audience};
use crate::dev::{ControlPlane, Generation, Options, server};
use crate::plan::changeset::{Change, ResourceDiff};
use crate::telemetry;

/// Its arguments.
pub fn command() -> Command {
    Command::new("dev")
        .about(
            "Tries the runner on this machine: builds and deploys the demo with a control plane \
             of its own",
        )
        .arg(
            Arg::new("to")
                .long("to")
                .value_name("DIR")
                .env("NUON_RUNNER_DEV_TO")
                .default_value("nuon-demo")
                .help("Folder for the artifacts, as OCI image layouts"),
        )
        .arg(
            Arg::new("kubeconfig")
                .long("kubeconfig")
                .value_name("FILE")
                .env("NUON_RUNNER_DEV_KUBECONFIG")
                .help("Cluster to deploy to; without one the demo ends after the builds"),
        )
        .arg(
            Arg::new("log-level")
                .long("log-level")
                .value_name("LEVEL")
                .env("LOG_LEVEL")
                .default_value("warn")
                .help("Least level of the daemon's own log"),
        )
}

/// Runs the demo.
pub fn run(matches: &ArgMatches, environment: &HashMap<String, String>) -> Code {
    let text = |name: &str| matches.get_one::<String>(name).cloned();
    let runtime = match settings::runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("cannot start: {error}"), "");
            return Code::Error;
        }
    };
    let demo = Demo {
        to: text("to").unwrap_or_default().into(),
        kubeconfig: text("kubeconfig").map(PathBuf::from),
        log_level: text("log-level").unwrap_or_default(),
        colours: colours(environment),
    };
    let ended = runtime.block_on(demo.run());
    runtime.shutdown_background();
    match ended {
        Ok(()) => Code::Done,
        Err(Fault::Interrupted) => {
            complain("interrupted", "");
            Code::Interrupted
        }
        Err(Fault::Told(message)) => {
            complain(&message, "LOG_LEVEL=debug shows what the daemon does");
            Code::Error
        }
    }
}

/// Why the demo did not come to its end.
enum Fault {
    Interrupted,
    Told(String),
}

impl From<String> for Fault {
    fn from(message: String) -> Self {
        Self::Told(message)
    }
}

/// Colours on a terminal, unless `NO_COLOR`, `TERM=dumb` or `CLICOLOR_FORCE` say otherwise.
fn colours(environment: &HashMap<String, String>) -> bool {
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
    colours: bool,
}

impl Demo {
    async fn run(self) -> Result<(), Fault> {
        let work = WorkDir::new()?;
        std::fs::create_dir_all(&self.to)
            .map_err(|error| format!("cannot make {}: {error}", self.to.display()))?;
        let to = self
            .to
            .canonicalize()
            .map_err(|error| format!("cannot open {}: {error}", self.to.display()))?;
        let (runner, token) = server::credentials();
        let control = ControlPlane::start(Options::new(Generation::Second, &token))
            .await
            .map_err(|error| format!("cannot start the control plane: {error}"))?;
        let config = self.config(&control, &work, &runner, &token)?;
        let redactor = Redactor::default();
        let _learned = redactor.learn(&token);
        telemetry::start_log(config.log_format, config.log_level, redactor.clone());
        let (signal, signals) = mpsc::unbounded_channel();
        let agent = Agent {
            config,
            mode: Mode::Run,
            clock: Clock::system(),
            redactor,
            signals,
            local_registries: true,
            listening: None,
        };
        let mut running = tokio::spawn(agent.run());
        let mut audience = People {
            colours: self.colours,
        };
        let demo = async {
            tokio::select! {
                ended = demo::run(&control, &work.0, &to, self.kubeconfig.as_deref(), &mut audience) => {
                    ended.map_err(|error| Fault::Told(error.to_string()))
                }
                _ = tokio::signal::ctrl_c() => Err(Fault::Interrupted),
            }
        };
        let ended = tokio::select! {
            ended = demo => ended,
            ended = &mut running => {
                return Err(Fault::Told(match ended {
                    Ok(Err(error)) => format!("the daemon ended: {}", chain(&error)),
                    _ => "the daemon ended by itself".to_owned(),
                }));
            }
        };
        // A daemon that is gone needs no signal.
        let _ = signal.send(Signal::Terminate);
        match running.await {
            Ok(Ok(Exit::Orderly)) => ended,
            Ok(Err(error)) => Err(Fault::Told(chain(&error))),
            _ => ended.and(Err(Fault::Told(
                "the daemon did not end in good order".into(),
            ))),
        }
    }

    fn config(
        &self,
        control: &ControlPlane,
        work: &WorkDir,
        runner: &str,
        token: &str,
    ) -> Result<Config, String> {
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
                layers.flag(setting, value);
            }
        }
        Config::from_layers(&layers).map_err(|error| error.to_string())
    }
}

/// A directory of the demo's own, removed at its end.
struct WorkDir(PathBuf);

impl WorkDir {
    fn new() -> Result<Self, String> {
        let path =
            std::env::temp_dir().join(format!("nuon-runner-dev-{:016x}", rand::random::<u64>()));
        crate::workspace::dir::make_private(&path)
            .map_err(|error| format!("cannot make {}: {error}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        // What cannot be removed lies in the system's folder for what is temporary.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Progress on stderr, one line per transition; results on stdout.
struct People {
    colours: bool,
}

impl People {
    fn paint(&self, colour: u8, text: &str) -> String {
        if self.colours {
            format!("\x1b[{colour}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    fn say(&self, text: &str) {
        // There is nobody left to tell if this fails.
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }
}

impl Audience for People {
    fn progress(&mut self, job: &str, status: &str) {
        let colour = match status {
            "finished" => 32,
            "failed" | "timed-out" | "cancelled" => 31,
            _ => 36,
        };
        self.say(&format!("{job:<16} {}", self.paint(colour, status)));
    }

    fn built(&mut self, component: &str, reference: &str, digest: &str) {
        print(&format!(
            "built {component}\n  artifact  {reference}\n  digest    {digest}\n"
        ));
    }

    fn changes(&mut self, what: &str, component: &str, diffs: &[ResourceDiff]) {
        let done = if what == "plan" { "planned" } else { "applied" };
        print(&format!("{done} {component}\n"));
        if diffs.is_empty() {
            print("  nothing changes\n");
        }
        for diff in diffs {
            let (sign, word) = match diff.change {
                Change::Added => ('+', "create"),
                Change::Removed => ('-', "delete"),
                Change::Modified => ('~', "change"),
                Change::Unchanged => ('=', "keep"),
                Change::Error => ('!', "error"),
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
                .filter(|entry| entry.path.is_some() && diff.change == Change::Modified)
            {
                let sign = if entry.change == Change::Removed {
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
