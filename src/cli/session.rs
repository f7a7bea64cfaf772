//! What commands that reach other machines have in common: settings, a runtime, the log, signals,
//! and the end.

use std::collections::HashMap;

use clap::ArgMatches;
use tokio::signal::unix::{SignalKind, signal};
use tracing::level_filters::LevelFilter;

use super::error::CommandError;
use super::{Code, print_error, settings};
use crate::base::secret::Redactor;
use crate::base::stop::{Stop, StopCause};
use crate::config::Config;
use crate::telemetry::{LogConfig, LogFormat, start_log};

/// What a command works with.
pub struct Session<'a> {
    pub matches: &'a ArgMatches,
    pub environment: &'a HashMap<String, String>,
    pub config: Config,
    /// Masks secrets in output.
    pub redactor: Redactor,
    /// Stops the work at a signal.
    pub stop: Stop,
}

/// Reads the settings and runs a command. Prints its error. `check` looks at the arguments first.
pub fn run(
    matches: &ArgMatches,
    environment: &HashMap<String, String>,
    check: impl FnOnce() -> Result<(), CommandError>,
    work: impl AsyncFnOnce(&Session<'_>) -> Result<Code, CommandError>,
) -> Code {
    let (config, _) = match settings::load(matches, environment) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let runtime = match settings::runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            print_error(&error.to_string(), "");
            return Code::Error;
        }
    };
    if let Err(CommandError(code, message)) = check() {
        print_error(&message, "");
        return code;
    }
    let session = Session {
        matches,
        environment,
        config,
        redactor: Redactor::default(),
        stop: Stop::default(),
    };
    let log = LogConfig {
        format: LogFormat::Text,
        level: LevelFilter::WARN,
        // What they say is part of the command's own errors.
        libraries: LevelFilter::OFF,
    };
    start_log(log, session.redactor.clone());
    let ended = runtime.block_on(async {
        tokio::spawn(stop_on_signals(session.stop.clone()));
        work(&session).await
    });
    let is_stopped = session.stop.is_stopped();
    match ended {
        Ok(_) if is_stopped => Code::Interrupted,
        Ok(code) => code,
        Err(CommandError(code, message)) => {
            print_error(&session.redactor.mask(&message), "");
            if is_stopped { Code::Interrupted } else { code }
        }
    }
}

/// Stops the command gracefully at the first INT or TERM; exits at once at the second.
async fn stop_on_signals(stop: Stop) {
    let signals = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    );
    let (Ok(mut interrupt), Ok(mut terminate)) = signals else {
        return;
    };
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if stop.is_stopped() {
            std::process::exit(Code::Interrupted.number().into());
        }
        stop.stop(StopCause::Cancelled);
    }
}
