//! The daemon's subcommands: load the settings, start the log, listen for signals, run the agent.

use std::collections::HashMap;
use std::io::ErrorKind;

use clap::ArgMatches;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{Code, chain, print_error, settings};
use crate::agent::{Agent, AgentError, AgentOptions, Exit, Mode, Signal};
use crate::base::clock::Clock;
use crate::base::hardening;
use crate::base::secret::Redactor;
use crate::config::Layers;
use crate::config::setting::SETTINGS;
use crate::control::token::TokenSource;
use crate::journal::JournalError;
use crate::telemetry::{self, LogConfig};

/// Runs the daemon until it ends.
// Long: the list of what starts, in order.
pub fn run(command: &str, matches: &ArgMatches, environment: &HashMap<String, String>) -> Code {
    // May re-execute this program, so it comes first. If it fails, the daemon works, but uses more
    // memory, and its token stays in its environment.
    let (secrets, reexec) = match hardening::reexec(&secret_variables()) {
        Ok(secrets) => (secrets, Ok(())),
        Err(error) => (HashMap::new(), Err(error)),
    };
    let mut environment = environment.clone();
    environment.extend(secrets);
    hardening::restrict_umask();
    let (config, layers) = match settings::load(matches, &environment) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let missing = config.control.missing_settings();
    if !missing.is_empty() {
        missing.iter().for_each(|what| print_error(what, ""));
        return Code::Usage;
    }
    let mode = match command {
        "build" => Mode::Build,
        "install" => Mode::Install,
        _ => Mode::Run,
    };
    let redactor = Redactor::default();
    let _learned = match &config.control.token {
        Some(TokenSource::Value(token)) => Some(redactor.learn(token.expose())),
        _ => None,
    };
    let log = config.log;
    telemetry::start_log(log, redactor.clone());
    log_startup(&reexec, &layers);
    let runtime = match settings::runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            print_fatal(log, &format!("cannot start: {error}"));
            return Code::Error;
        }
    };
    let ended = runtime.block_on(async {
        let (signals, _listening) = signals();
        let options = AgentOptions {
            config,
            mode,
            clock: Clock::system(),
            redactor: redactor.clone(),
            signals,
            local_registries: false,
        };
        let agent = Agent::build(options).await?;
        // Runs in its own task: each wakeup of the future passed to `block_on` costs a system call.
        tokio::spawn(agent.run())
            .await
            .unwrap_or(Err(AgentError::TaskEnded("the agent's task")))
    });
    // All tasks were stopped or aborted; blocking work that ignores this is not waited for.
    runtime.shutdown_background();
    match ended {
        Ok(Exit::Orderly) => Code::Done,
        Ok(Exit::Forced) => Code::Forced,
        Err(AgentError::Missing(what)) => {
            print_fatal(log, &what);
            Code::Usage
        }
        Err(error) => {
            print_fatal(log, &redactor.mask(&chain(&error)));
            match error {
                AgentError::Token(_)
                | AgentError::Http(_)
                | AgentError::Journal(JournalError::Address(_)) => Code::Usage,
                AgentError::StateDir { source, .. }
                | AgentError::Journal(JournalError::File { source, .. })
                    if is_wrong_path(&source) =>
                {
                    Code::Usage
                }
                _ => Code::Error,
            }
        }
    }
}

/// Returns true if a path cannot be used by this user, so that another try would fail, too.
fn is_wrong_path(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound
            | ErrorKind::PermissionDenied
            | ErrorKind::NotADirectory
            | ErrorKind::AlreadyExists
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::IsADirectory
    )
}

/// Prints why the agent ends: as a line of the log if a program reads that.
fn print_fatal(log: LogConfig, message: &str) {
    match log.is_json() {
        true => tracing::error!("{message}"),
        false => print_error(message, ""),
    }
}

/// Returns the environment variables that may hold a secret.
fn secret_variables() -> Vec<String> {
    let secret = SETTINGS.iter().filter(|setting| setting.secret);
    let names = secret.flat_map(|setting| {
        let aliases = setting.aliases.iter().map(|alias| (*alias).to_owned());
        aliases.chain([setting.variable()])
    });
    names.collect()
}

/// Raises the limit on open files, and logs what this system does not allow.
fn log_startup(reexec: &std::io::Result<()>, layers: &Layers) {
    if let Err(error) = reexec {
        tracing::warn!(%error, "cannot start anew: the token may be readable in /proc, and freed memory may not be returned to the system");
    }
    if let Err(error) = hardening::raise_open_file_limit() {
        tracing::warn!(%error, "cannot raise the limit on open files");
    }
    if !layers.ignored.is_empty() {
        tracing::debug!(
            names = layers.ignored.join(", "),
            "environment variables of the Go runner have no effect"
        );
    }
}

/// Listens for SIGTERM, SIGINT and SIGHUP until the second value is dropped, and forwards them to
/// the agent.
fn signals() -> (mpsc::UnboundedReceiver<Signal>, JoinSet<()>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let mut listening = JoinSet::new();
    let kinds = [
        (SignalKind::terminate(), Signal::Terminate),
        (SignalKind::interrupt(), Signal::Terminate),
        (SignalKind::hangup(), Signal::Reload),
    ];
    for (kind, meaning) in kinds {
        match signal(kind) {
            Ok(mut stream) => {
                let sender = sender.clone();
                listening.spawn(async move {
                    while stream.recv().await.is_some() && sender.send(meaning).is_ok() {}
                });
            }
            Err(error) => tracing::warn!(?meaning, %error, "cannot listen for a signal"),
        }
    }
    (receiver, listening)
}
