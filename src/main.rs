//! The `nuon-runner` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    nuon_runner::cli::main()
}
