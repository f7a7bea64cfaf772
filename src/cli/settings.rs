//! Settings from file, environment and flags, and the commands for them.

use std::collections::HashMap;
use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command};

use super::error::CommandError;
use super::{Code, print, print_error, print_result};
use crate::agent;
use crate::base::clock::Clock;
use crate::base::hardening;
use crate::config::setting::{SETTINGS, Setting};
use crate::config::{Config, Layers};
use crate::journal::Journal;
use crate::workspace::dir;

/// Reads all layers. Flags override the environment, which overrides the file.
fn layers(matches: &ArgMatches, environment: &HashMap<String, String>) -> Layers {
    let mut layers = Layers::defaults();
    if let Some(path) = matches.get_one::<String>("config") {
        layers.load_file(&PathBuf::from(path));
    }
    layers.load_environment(environment);
    for setting in &SETTINGS {
        if let Ok(Some(value)) = matches.try_get_one::<String>(setting.key) {
            layers.set_flag(setting, value.clone());
        }
    }
    layers
}

/// Reads all layers into a configuration. Prints everything that is wrong with them.
pub fn load(
    matches: &ArgMatches,
    environment: &HashMap<String, String>,
) -> Result<(Config, Layers), Code> {
    let layers = layers(matches, environment);
    match Config::from_layers(&layers) {
        Ok(config) => Ok((config, layers)),
        Err(_) => {
            for fault in Config::faults(&layers) {
                print_error(&fault.to_string(), "");
            }
            Err(Code::Usage)
        }
    }
}

/// Adds the flag of the configuration file, and those of the settings with these prefixes. Short help
/// does not show the latter.
pub fn with_flags(command: Command, prefixes: &[&str]) -> Command {
    let config = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .env("NUON_RUNNER_CONFIG")
        .hide_env_values(true)
        .help("Configuration file (TOML)");
    let is_meant = |setting: &&Setting| {
        let has = |prefix: &&str| setting.key.starts_with(*prefix);
        !setting.secret && prefixes.iter().any(has)
    };
    let flags = SETTINGS.iter().filter(is_meant).map(|setting| {
        Arg::new(setting.key)
            .long(setting.flag())
            .value_name("VALUE")
            .help(help(setting))
            .hide_short_help(true)
    });
    command.arg(config).args(flags)
}

/// Returns the help text of a setting: description, default and environment variables.
pub fn help(setting: &Setting) -> String {
    let default = Some(setting.default).filter(|default| !default.is_empty());
    let default = default
        .map(|default| format!(" [default: {default}]"))
        .unwrap_or_default();
    let names: Vec<String> = setting
        .aliases
        .iter()
        .map(|name| (*name).to_owned())
        .chain([setting.variable()])
        .collect();
    format!("{}{default} [env: {}]", setting.help, names.join(" or "))
}

/// Prints every setting with its origin, as TOML, and everything that keeps the agent from starting
/// with them.
pub fn check(matches: &ArgMatches, environment: &HashMap<String, String>) -> Code {
    let layers = layers(matches, environment);
    for (setting, value, origin) in layers.show() {
        let is_bare = value.parse::<i64>().is_ok() || value.parse::<bool>().is_ok();
        let value = match is_bare {
            true => value.into_owned(),
            false => format!("{value:?}"),
        };
        // The mask must not be taken for the secret.
        let comment = if setting.secret { "# " } else { "" };
        print(&format!(
            "{comment}{} = {value}  # from {origin}\n",
            setting.key
        ));
    }
    for name in &layers.ignored {
        print(&format!("# {name} is accepted and has no effect\n"));
    }
    let mut faults: Vec<String> = Config::faults(&layers)
        .iter()
        .map(ToString::to_string)
        .collect();
    // What is wrong stands aside, so that the rest is checked too.
    if let Ok(config) = Config::from_layers(&layers.without_faults()) {
        match runtime() {
            Ok(runtime) => faults.extend(runtime.block_on(agent::check(&config))),
            Err(error) => faults.push(format!("cannot start: {error}")),
        }
    }
    for fault in &faults {
        print_error(fault, "");
    }
    match faults.is_empty() {
        true => {
            print("# the configuration is usable\n");
            Code::Done
        }
        false => Code::Usage,
    }
}

/// Migrates the journal's schema.
pub fn migrate(matches: &ArgMatches, environment: &HashMap<String, String>) -> Code {
    let (config, _) = match load(matches, environment) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    hardening::restrict_umask();
    let work = async || -> Result<String, CommandError> {
        let state_dir = &config.journal.state_dir;
        dir::create_private(state_dir).map_err(|error| {
            format!(
                "cannot use the state directory {}: {error}",
                state_dir.display()
            )
        })?;
        Journal::open(&config.journal, Clock::system())
            .await?
            .close()
            .await;
        Ok("the journal is up to date\n".to_owned())
    };
    let runtime = runtime().map_err(|error| error.to_string().into());
    print_result(runtime.and_then(|runtime| runtime.block_on(work())))
}

/// Creates the single-threaded runtime of a command.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}
