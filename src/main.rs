//! The `nuon-runner` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    nuon_runner::workspace::supervisor::run_if_called().unwrap_or_else(nuon_runner::cli::main)
}
