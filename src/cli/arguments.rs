//! Subcommands and flags. The flags for settings are generated from the table of settings.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command};

use super::{
    Code, apply, artifact, delete, dev, diff, exit, explain, history, journal, normalize, plan,
    print, print_error, render, settings, status,
};
use crate::config::setting::SETTINGS;

/// Returns the whole command line.
pub fn command() -> Command {
    Command::new("nuon-runner")
        .version(crate::agent::VERSION)
        .about("Builds and deploys Kubernetes components inside a customer's cloud account")
        .after_help(exit::TABLE)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands([
            with_settings(Command::new("run").about("Runs the agent for all job groups")),
            with_settings(
                Command::new("build")
                    .alias("org")
                    .about("Runs the agent for builds and syncs (alias: org)"),
            ),
            with_settings(Command::new("install").about("Runs the agent for deploys and syncs")),
            with_settings(
                Command::new("mng")
                    .alias("management")
                    .about("Manages the machine (alias: management); not supported yet"),
            ),
            with_settings(Command::new("migrate").about("Migrates the journal's schema and exits")),
            journal::command(with_settings),
            with_settings(Command::new("check-config").about(
                "Prints every setting with its origin, and every error in the configuration",
            )),
            dev::command(),
            render::command(),
            explain::command(),
            normalize::command(),
            plan::command(),
            apply::command(),
            delete::command(),
            status::command(),
            history::command(),
            history::rollback_command(),
            diff::command(),
            artifact::push::command(),
            artifact::pull::command(),
            artifact::copy::command(),
            artifact::inspect::command(),
            artifact::verify::command(),
            Command::new("version").about("Prints the version"),
        ])
}

fn with_settings(command: Command) -> Command {
    let config = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .env("NUON_RUNNER_CONFIG")
        .hide_env_values(true)
        .help("Configuration file (TOML)");
    let flags = SETTINGS
        .iter()
        .filter(|setting| !setting.secret)
        .map(|setting| {
            let flag = Arg::new(setting.key)
                .long(setting.flag())
                .value_name("VALUE")
                .action(ArgAction::Set);
            flag.help(settings::help(setting))
        });
    command.arg(config).args(flags).after_help(exit::TABLE)
}

/// Prints help to stdout, or a usage error in one line to stderr. Returns the exit code.
pub fn usage(error: &clap::Error) -> Code {
    if !error.use_stderr() {
        print(&error.render().to_string());
        return Code::Done;
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // There is no other place to report a failure.
        let _ = error.print();
    } else {
        print_error(&one_line_error(error), "");
    }
    Code::Usage
}

/// Formats a usage error as one line: what is wrong, where, and the nearest valid value. The text
/// of clap has several lines, of which the first says what is wrong.
fn one_line_error(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let what = text
        .lines()
        .next()
        .unwrap_or_default()
        .trim_start_matches("error: ")
        .trim_end_matches(':')
        .to_owned();
    let missing = text
        .lines()
        .skip(1)
        .map_while(|line| line.strip_prefix("  "))
        .map(str::trim);
    let missing: Vec<&str> = missing
        .filter(|line| line.starts_with(['<', '-']))
        .collect();
    let nearest = [
        ContextKind::SuggestedArg,
        ContextKind::SuggestedSubcommand,
        ContextKind::SuggestedValue,
    ];
    let nearest = nearest.into_iter().find_map(|kind| match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        ContextValue::Strings(texts) => texts.first().cloned(),
        _ => None,
    });
    let valid = match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(values)) if !values.is_empty() => {
            format!("; it can be {}", values.join(", "))
        }
        _ => String::new(),
    };
    match nearest {
        None if !valid.is_empty() => format!("{what}{valid}"),
        Some(nearest) => format!("{what}; did you mean {nearest}?"),
        None if missing.is_empty() => format!("{what}; see --help"),
        None => format!("{what}: {}; see --help", missing.join(", ")),
    }
}
