//! Confirmation at the terminal.

use std::io::{IsTerminal as _, Write as _};

use clap::ArgMatches;
use tokio::sync::oneshot;

use super::ClusterTarget;
use crate::cli::Code;
use crate::cli::error::CommandError;

/// Asks for confirmation, unless `--yes` is given. Fails if stdin is not a terminal.
pub async fn confirm(
    target: &ClusterTarget,
    matches: &ArgMatches,
    question: &str,
) -> Result<bool, CommandError> {
    if matches.get_flag("yes") {
        return Ok(true);
    }
    if !std::io::stdin().is_terminal() {
        return Err(CommandError(
            Code::Usage,
            "cannot ask for confirmation without a terminal; use --yes".into(),
        ));
    }
    let mut stderr = std::io::stderr();
    // Waits for an answer even if the question could not be written.
    let _ = write!(stderr, "{question} [y/N] ");
    let _ = stderr.flush();
    let (sender, answer) = oneshot::channel();
    // A read from a terminal cannot be cancelled: it ends with an answer or with the process.
    std::thread::spawn(move || {
        let mut answer = String::new();
        let read = std::io::stdin().read_line(&mut answer).map(|_| answer);
        // The receiver is gone if the command was interrupted.
        let _ = sender.send(read);
    });
    let Some(Ok(answer)) = target.stop.run(answer).await else {
        return Ok(false);
    };
    let answer = answer.map_err(|error| format!("cannot read the answer: {error}"))?;
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}
