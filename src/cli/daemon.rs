//! The daemon's sub-commands: settings, log, signals, then the agent.

use std::collections::HashMap;

use clap::ArgMatches;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::{Code, chain, complain, settings};
use crate::agent::{Agent, AgentError, Exit, Mode, Signal};
use crate::base::clock::Clock;
use crate::base::protect;
use crate::base::secret::Redactor;
use crate::config::Token;
use crate::telemetry;

/// Runs the daemon to its end.
pub fn run(command: &str, matches: &ArgMatches, environment: &HashMap<String, String>) -> Code {
    // Without it, all works and takes more memory.
    let allocator = protect::give_memory_back();
    protect::files();
    let (config, layers) = match settings::load(matches, environment) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    if let Some(what) = settings::missing(&config) {
        complain(&what, "");
        return Code::Usage;
    }
    let mode = match command {
        "build" => Mode::Build,
        "install" => Mode::Install,
        _ => Mode::Run,
    };
    let redactor = Redactor::default();
    let _learned = match &config.api_token {
        Some(Token::Value(token)) => Some(redactor.learn(token.expose())),
        _ => None,
    };
    telemetry::start_log(config.log_format, config.log_level, redactor.clone());
    if let Err(error) = allocator {
        tracing::debug!(%error, "memory may be kept after large jobs");
    }
    if let Err(error) = protect::open_files() {
        tracing::warn!(%error, "the limit on open files stays as it is");
    }
    if !layers.ignored.is_empty() {
        tracing::debug!(
            names = layers.ignored.join(", "),
            "variables of the replaced program that have no effect"
        );
    }
    let runtime = match settings::runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("cannot start: {error}"), "");
            return Code::Error;
        }
    };
    let ended = runtime.block_on(async {
        let agent = Agent {
            config,
            mode,
            clock: Clock::system(),
            redactor: redactor.clone(),
            signals: signals(),
            local_registries: false,
            listening: None,
        };
        // A task of its own: to wake the one that blocks the thread costs a system call each time.
        tokio::spawn(agent.run())
            .await
            .unwrap_or(Err(AgentError::Fault("the agent's task")))
    });
    // What still runs has been told to end and is not waited for.
    runtime.shutdown_background();
    match ended {
        Ok(Exit::Orderly) => Code::Done,
        Ok(Exit::Forced) => Code::Forced,
        Err(AgentError::Missing(what)) => {
            complain(&what, "");
            Code::Usage
        }
        Err(error) => {
            complain(&redactor.mask(&chain(&error)), "");
            Code::Error
        }
    }
}

/// The system's signals, as the agent takes them.
fn signals() -> mpsc::UnboundedReceiver<Signal> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let kinds = [
        (SignalKind::terminate(), Signal::Terminate),
        (SignalKind::interrupt(), Signal::Terminate),
        (SignalKind::hangup(), Signal::Reload),
    ];
    for (kind, meaning) in kinds {
        match signal(kind) {
            Ok(mut stream) => {
                let sender = sender.clone();
                // Lives as long as the process.
                tokio::spawn(async move {
                    while stream.recv().await.is_some() && sender.send(meaning).is_ok() {}
                });
            }
            Err(error) => tracing::warn!(?meaning, %error, "a signal cannot be listened for"),
        }
    }
    receiver
}
