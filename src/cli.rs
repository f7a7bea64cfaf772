//! Arguments, sub-commands, exit codes. Knows how nothing works.

mod arguments;
mod daemon;
mod dev;
mod exit;
mod render;
mod settings;

use std::collections::HashMap;
use std::io::Write as _;
use std::process::ExitCode;

pub use exit::Code;

/// Runs the program on the process's own arguments and environment.
pub fn main() -> ExitCode {
    // One provider for every TLS connection; a second call would be the error.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let matches = match arguments::command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => return arguments::usage(&error).into(),
    };
    // Variables that are no Unicode cannot be ours.
    let environment: HashMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let Some((command, matches)) = matches.subcommand() else { return Code::Usage.into() };
    let code = match command {
        "run" | "build" | "install" => daemon::run(command, matches, &environment),
        "mng" => {
            complain("the management process is not supported yet", "run, build and install are");
            Code::Error
        }
        "check-config" => settings::check(matches, &environment),
        "migrate" => settings::migrate(matches, &environment),
        "dev" => dev::run(matches, &environment),
        "render" => render::run(matches),
        "version" => version(),
        other => {
            complain(&format!("{other} is not supported yet"), "see --help");
            Code::Error
        }
    };
    code.into()
}

fn version() -> Code {
    print(&format!("nuon-runner {}\n", crate::agent::VERSION));
    Code::Done
}

/// Prints a result.
fn print(text: &str) {
    // A reader that has gone away wants no more.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

/// Says on stderr what is wrong and what to do.
fn complain(what: &str, help: &str) {
    let mut stderr = std::io::stderr().lock();
    // There is nobody left to tell if this fails.
    let _ = writeln!(stderr, "error: {what}");
    if !help.is_empty() {
        let _ = writeln!(stderr, "help: {help}");
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
