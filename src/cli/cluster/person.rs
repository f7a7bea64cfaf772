//! The person at the terminal: signals and questions.

use std::io::{IsTerminal as _, Write as _};

use clap::ArgMatches;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::{Stopped, Target};
use crate::base::stop::{Cause, Stop};
use crate::cli::Code;

/// The first INT or TERM stops the command in order, the second at once.
pub async fn listen(stop: Stop) {
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
        stop.stop(Cause::Cancelled);
    }
}

/// Asks whether to go on, if there is somebody to ask.
pub async fn confirm(
    target: &Target,
    matches: &ArgMatches,
    question: &str,
) -> Result<bool, Stopped> {
    if matches.get_flag("yes") {
        return Ok(true);
    }
    if !std::io::stdin().is_terminal() {
        return Err(Stopped(
            Code::Usage,
            "there is nobody to ask; give --yes".into(),
        ));
    }
    let mut stderr = std::io::stderr();
    // An answer is waited for whether or not the question could be written.
    let _ = write!(stderr, "{question} [y/N] ");
    let _ = stderr.flush();
    let (sender, answer) = oneshot::channel();
    // Nothing ends the reading of a terminal but an answer, or the end of the process.
    std::thread::spawn(move || {
        let mut answer = String::new();
        let read = std::io::stdin().read_line(&mut answer).map(|_| answer);
        // If nobody waits for it any more, it was not needed.
        let _ = sender.send(read);
    });
    let Some(Ok(answer)) = target.stop.run(answer).await else {
        return Ok(false);
    };
    let answer = answer.map_err(|error| format!("cannot read the answer: {error}"))?;
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}
