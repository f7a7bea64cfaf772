//! Arguments, sub-commands, exit codes. Knows how nothing works.

mod apply;
mod arguments;
mod changes;
mod cluster;
mod daemon;
mod delete;
mod dev;
mod diff;
mod exit;
mod explain;
mod history;
mod input;
mod normalize;
mod overlay;
mod plan;
mod render;
mod settings;
mod status;

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

pub use exit::Code;

use crate::base::error::chain;
use crate::base::protect;

/// Runs the program on the process's own arguments and environment.
pub fn main() -> ExitCode {
    if let Err(error) = protect::memory() {
        say(&format!(
            "warning: this process's memory cannot be protected: {error}"
        ));
    }
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
    let Some((command, matches)) = matches.subcommand() else {
        return Code::Usage.into();
    };
    let code = match command {
        "run" | "build" | "install" => daemon::run(command, matches, &environment),
        "mng" => {
            complain(
                "the management process is not supported yet",
                "run, build and install are",
            );
            Code::Error
        }
        "check-config" => settings::check(matches, &environment),
        "migrate" => settings::migrate(matches, &environment),
        "dev" => dev::run(matches, &environment),
        "render" => render::run(matches, &environment),
        "explain" => explain::run(matches, &environment),
        "normalize" => normalize::run(matches),
        "status" => status::run(matches, &environment),
        "plan" => plan::run(matches, &environment),
        "apply" => apply::run(matches, &environment),
        "delete" => delete::run(matches, &environment),
        "history" => history::run(matches, &environment),
        "rollback" => history::rollback(matches, &environment),
        "diff" => diff::run(matches),
        "version" => version(),
        other => {
            complain(&format!("{other} is not supported yet"), "see --help");
            Code::Error
        }
    };
    if code == Code::Done && IS_CUT_SHORT.load(Ordering::Relaxed) {
        Code::Error.into()
    } else {
        code.into()
    }
}

fn version() -> Code {
    print(&format!("nuon-runner {}\n", crate::agent::VERSION));
    Code::Done
}

/// Prints what a command made, or says why it made nothing.
fn answer(made: Result<String, String>) -> Code {
    match made {
        Ok(text) => {
            print(&text);
            Code::Done
        }
        Err(message) => {
            complain(&message, "");
            Code::Error
        }
    }
}

/// Whether a result could not be written.
static IS_CUT_SHORT: AtomicBool = AtomicBool::new(false);

/// Prints a result. A reader that has gone away wants no more; that a disk is full has to be told.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush())
        && error.kind() != std::io::ErrorKind::BrokenPipe
    {
        IS_CUT_SHORT.store(true, Ordering::Relaxed);
        complain(&format!("the result could not be written: {error}"), "");
    }
}

/// Prints a text for people.
fn tell(text: &str) {
    print(&tame(text));
}

/// Says a line on stderr.
fn say(line: &str) {
    // There is nobody left to tell if this fails.
    let _ = writeln!(std::io::stderr().lock(), "{}", tame(line));
}

/// A text without what a terminal would obey: what comes from a cluster or a manifest may hold it.
fn tame(text: &str) -> Cow<'_, str> {
    let is_wild = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if !text.contains(is_wild) {
        return Cow::Borrowed(text);
    }
    let tamed = text.chars().map(|c| {
        if is_wild(c) {
            c.escape_default().to_string()
        } else {
            c.to_string()
        }
    });
    Cow::Owned(tamed.collect())
}

/// Says on stderr what is wrong and what to do.
fn complain(what: &str, help: &str) {
    let mut stderr = std::io::stderr().lock();
    // There is nobody left to tell if this fails.
    let _ = writeln!(stderr, "error: {}", tame(what));
    if !help.is_empty() {
        let _ = writeln!(stderr, "help: {help}");
    }
}
