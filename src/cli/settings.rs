//! Settings from file, environment and flags, and the commands for them.

use std::collections::HashMap;
use std::path::PathBuf;

use clap::ArgMatches;

use super::{Code, chain, print, print_error};
use crate::base::clock::Clock;
use crate::base::hardening;
use crate::config::setting::{SETTINGS, Setting};
use crate::config::{Config, ConfigError, Layers};
use crate::journal::Journal;
use crate::workspace::dir;

/// Reads all layers. Flags override the environment, which overrides the file.
pub fn layers(
    matches: &ArgMatches,
    environment: &HashMap<String, String>,
) -> Result<Layers, ConfigError> {
    let mut layers = Layers::defaults();
    if let Some(path) = matches.get_one::<String>("config") {
        layers.load_file(&PathBuf::from(path))?;
    }
    layers.load_environment(environment)?;
    for setting in &SETTINGS {
        if let Ok(Some(value)) = matches.try_get_one::<String>(setting.key) {
            layers.set_flag(setting, value.clone());
        }
    }
    Ok(layers)
}

/// Reads all layers into a configuration. Prints the error if a setting is invalid.
pub fn load(
    matches: &ArgMatches,
    environment: &HashMap<String, String>,
) -> Result<(Config, Layers), Code> {
    let loaded =
        layers(matches, environment).and_then(|layers| Ok((Config::from_layers(&layers)?, layers)));
    loaded.map_err(|error| {
        print_error(&error.to_string(), "");
        Code::Usage
    })
}

/// Returns the help text of a setting: description, default and environment variable.
pub fn help(setting: &Setting) -> String {
    let default = Some(setting.default).filter(|default| !default.is_empty());
    let default = default
        .map(|default| format!(" [default: {default}]"))
        .unwrap_or_default();
    format!("{}{default} [env: {}]", setting.help, setting.variable())
}

/// Prints every setting with its origin.
pub fn check(matches: &ArgMatches, environment: &HashMap<String, String>) -> Code {
    let (config, layers) = match load(matches, environment) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    for (setting, value, origin) in layers.show() {
        print(&format!("{} = {value:?}  # from {origin}\n", setting.key));
    }
    for name in &layers.ignored {
        print(&format!("# {name} is accepted and has no effect\n"));
    }
    match config.control.missing_setting() {
        None => Code::Done,
        Some(what) => {
            print_error(&what, "");
            Code::Usage
        }
    }
}

/// Migrates the journal's schema.
pub fn migrate(matches: &ArgMatches, environment: &HashMap<String, String>) -> Code {
    let (config, _) = match load(matches, environment) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    hardening::restrict_umask();
    let work = async {
        let state_dir = &config.journal.state_dir;
        dir::create_private(state_dir).map_err(|error| {
            format!(
                "cannot use the state directory {}: {error}",
                state_dir.display()
            )
        })?;
        let journal = Journal::open(&config.journal, Clock::system()).await;
        journal.map_err(|error| chain(&error))?.close().await;
        Ok(())
    };
    match runtime()
        .map_err(|error| error.to_string())
        .and_then(|runtime| runtime.block_on(work))
    {
        Ok(()) => {
            print("the journal is up to date\n");
            Code::Done
        }
        Err(error) => {
            print_error(&error, "");
            Code::Error
        }
    }
}

/// Creates the single-threaded runtime of a command.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}
