//! The command line: arguments, subcommands and exit codes.

mod apply;
mod arguments;
mod artifact;
mod changes;
mod cluster;
mod daemon;
mod delete;
mod dev;
mod diff;
mod error;
mod exit;
mod explain;
mod history;
mod input;
mod journal;
mod normalize;
mod overlay;
mod plan;
mod render;
mod session;
mod settings;
mod status;

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use error::CommandError;
pub use exit::Code;

use crate::base::error::chain;
use crate::base::hardening;

/// Runs the program on the process's own arguments and environment.
pub fn main() -> ExitCode {
    if let Err(error) = hardening::protect_memory() {
        print_stderr(&format!(
            "warning: this process's memory cannot be protected: {error}"
        ));
    }
    // All TLS connections use this provider. The call fails only if a provider is already
    // installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let matches = match arguments::command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => return arguments::usage(&error).into(),
    };
    // Variables whose name or value is not UTF-8 are skipped.
    let environment: HashMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let Some((command, matches)) = matches.subcommand() else {
        return Code::Usage.into();
    };
    let code = match command {
        "run" | "build" | "install" => daemon::run(command, matches, &environment),
        "mng" => {
            print_error(
                "the management process is not supported yet",
                "use run, build or install",
            );
            Code::Error
        }
        "journal" => journal::run(matches, &environment),
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
        "push" => artifact::push::run(matches, &environment),
        "pull" => artifact::pull::run(matches, &environment),
        "copy" => artifact::copy::run(matches, &environment),
        "inspect" => artifact::inspect::run(matches, &environment),
        "verify" => artifact::verify::run(matches, &environment),
        "version" => version(),
        other => {
            print_error(&format!("{other} is not supported yet"), "see --help");
            Code::Error
        }
    };
    if code == Code::Done && OUTPUT_FAILED.load(Ordering::Relaxed) {
        Code::Error.into()
    } else {
        code.into()
    }
}

fn version() -> Code {
    print(&format!("nuon-runner {}\n", crate::agent::VERSION));
    Code::Done
}

/// Prints the result of a command, or its error.
fn print_result(made: Result<String, CommandError>) -> Code {
    match made {
        Ok(text) => {
            print(&text);
            Code::Done
        }
        Err(CommandError(code, message)) => {
            print_error(&message, "");
            code
        }
    }
}

/// Set if a result could not be written to stdout; exit code 0 becomes 1 then.
static OUTPUT_FAILED: AtomicBool = AtomicBool::new(false);

/// Prints a result. Ignores a broken pipe, because the reader wants no more; reports other errors,
/// such as a full disk.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush())
        && error.kind() != std::io::ErrorKind::BrokenPipe
    {
        OUTPUT_FAILED.store(true, Ordering::Relaxed);
        print_error(&format!("the result could not be written: {error}"), "");
    }
}

/// Prints text for people, with control characters escaped.
fn print_escaped(text: &str) {
    print(&escape_control(text));
}

/// Prints a line to stderr, with control characters escaped.
fn print_stderr(line: &str) {
    // There is no other place to report a failure.
    let _ = writeln!(std::io::stderr().lock(), "{}", escape_control(line));
}

/// Escapes control characters except newline and tab: text from a cluster or a manifest may contain
/// terminal control sequences.
fn escape_control(text: &str) -> Cow<'_, str> {
    let is_unsafe = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let escaped = text.chars().map(|c| {
        if is_unsafe(c) {
            c.escape_default().to_string()
        } else {
            c.to_string()
        }
    });
    Cow::Owned(escaped.collect())
}

/// Prints an error to stderr, and what to do about it if `help` is not empty.
fn print_error(message: &str, help: &str) {
    let mut stderr = std::io::stderr().lock();
    // There is no other place to report a failure.
    let _ = writeln!(stderr, "error: {}", escape_control(message));
    if !help.is_empty() {
        let _ = writeln!(stderr, "help: {help}");
    }
}
