//! `journal`: looks at the journal, and sets it aside.

use std::collections::HashMap;

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::error::CommandError;
use super::{Code, chain, print, print_error, print_stderr, settings};
use crate::agent;
use crate::base::clock::Clock;
use crate::base::counted::counted;
use crate::config::Config;
use crate::journal::check::{self, JournalCheck};

/// The arguments, given what adds the settings to a command.
pub fn command(with_settings: impl Fn(Command) -> Command) -> Command {
    let check = Command::new("check")
        .about("Checks the journal, and counts the executions and reports that it holds");
    let set_aside = Command::new("set-aside").about(
        "Renames a journal that cannot be used, so that the next start makes a new one; what is open in it is left to the control plane",
    );
    let force = Arg::new("force")
        .long("force")
        .action(ArgAction::SetTrue)
        .help("Set a sound journal aside, too, with what is open in it and its key");
    let set_aside = set_aside.arg(force);
    Command::new("journal")
        .about("Looks at the journal of executions, or sets it aside")
        .subcommand_required(true)
        .subcommands([with_settings(check), with_settings(set_aside)])
}

pub fn run(matches: &ArgMatches, environment: &HashMap<String, String>) -> Code {
    let Some((command, matches)) = matches.subcommand() else {
        return Code::Usage;
    };
    let config = match settings::load(matches, environment) {
        Ok((config, _)) => config,
        Err(code) => return code,
    };
    let done = match command {
        "check" => check(&config),
        _ => set_aside(&config, matches.get_flag("force")),
    };
    done.unwrap_or_else(|CommandError(code, message)| {
        print_error(&message, "");
        code
    })
}

fn check(config: &Config) -> Result<Code, CommandError> {
    let runtime = settings::runtime().map_err(|error| format!("cannot start: {error}"))?;
    let checked = runtime.block_on(check::check(&config.journal));
    let JournalCheck {
        path,
        problems,
        open,
        queued,
    } = checked?;
    let path = path.display();
    print(&format!("{path}: {}\n", contents(open, queued)));
    for problem in &problems {
        print_error(&format!("{path}: {problem}"), "");
    }
    match problems.is_empty() {
        true => {
            print("the journal is sound\n");
            Ok(Code::Done)
        }
        false => Err("the journal is damaged; help: nuon-runner journal set-aside".into()),
    }
}

fn contents(open: usize, queued: usize) -> String {
    let (open, queued) = (counted(open, "open execution"), counted(queued, "report"));
    format!("{open}, {queued} to deliver")
}

fn set_aside(config: &Config, is_forced: bool) -> Result<Code, CommandError> {
    let _lock = agent::lock_state_dir(&config.journal.state_dir).map_err(|error| chain(&error))?;
    let runtime = settings::runtime().map_err(|error| format!("cannot start: {error}"))?;
    if let Ok(known) = runtime.block_on(check::check(&config.journal))
        && known.problems.is_empty()
        && !is_forced
    {
        let why = format!(
            "the journal is sound: {}; it also holds the key that signs inventories; nothing was done; \
             help: start the runner, or use --force",
            contents(known.open, known.queued)
        );
        return Err(CommandError(Code::Guarded, why));
    }
    let aside = check::set_aside(&config.journal, Clock::system().now());
    print(&format!("the journal is {} now\n", aside?.display()));
    print_stderr(
        "note: the key that signs inventories was in it: plans note that they are not signed, until the \
         next deploy of each component signs its own",
    );
    Ok(Code::Done)
}
