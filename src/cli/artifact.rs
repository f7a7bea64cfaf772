//! Commands for artifacts in registries and image layouts. Each prints a digest or a document on
//! stdout, and everything else on stderr.

pub mod copy;
pub mod inspect;
pub mod pull;
pub mod push;
pub mod verify;

use std::collections::HashMap;

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::error::CommandError;
use super::session::{self, Session};
use super::{Code, exit, print, settings};
use crate::base::clock::Clock;
use crate::clients::http::Authorities;
use crate::clients::{Clients, Local, Registries};
use crate::registry::Repository;
use crate::registry::reference::Reference;
use crate::trust::PublicKey;

/// Prefixes of the settings that these commands take as flags.
const SETTING_PREFIXES: [&str; 4] = ["artifact.", "network.", "registry.", "tls."];

/// Help of an argument that is a reference.
const REFERENCE: &str = "oci://HOST/NAME[:TAG][@DIGEST], or oci-layout:PATH[:TAG]";

/// Adds what all these commands have; `example` is a line of their help.
fn with_common(command: Command, example: &str) -> Command {
    let help = format!("Example:\n  nuon-runner {example}\n\n{}", exit::TABLE);
    settings::with_flags(command, &SETTING_PREFIXES).after_help(help)
}

fn reference_argument(name: &'static str) -> Arg {
    Arg::new(name).required(true).help(REFERENCE)
}

/// `--key FILE`, under this name.
fn key_argument(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .value_name("FILE")
        .action(ArgAction::Append)
        .help(help)
}

/// Runs a command with access to registries.
fn run(
    matches: &ArgMatches,
    environment: &HashMap<String, String>,
    work: impl AsyncFnOnce(&Registries, &Session<'_>) -> Result<Code, CommandError>,
) -> Code {
    session::run(
        matches,
        environment,
        || Ok(()),
        async |session| {
            let config = &session.config.clients;
            let variable = |name: &str| environment.get(name).cloned();
            let authorities = Authorities::read(config.tls_ca_file.as_deref(), &variable)?;
            // A person may name registries on this machine.
            let local = Local {
                loopback: true,
                registries: false,
            };
            let clock = Clock::system();
            let clients = Clients::new(config, &authorities, local, &clock, &variable)?;
            let stopped = || CommandError(Code::Interrupted, "interrupted".into());
            let done = session.stop.run(work(&clients.registries, session)).await;
            done.ok_or_else(stopped)?
        },
    )
}

/// Opens the repository that an argument names.
async fn open(
    registries: &Registries,
    matches: &ArgMatches,
    argument: &str,
) -> Result<(Reference, Repository), CommandError> {
    let text = matches.get_one::<String>(argument).map(String::as_str);
    let reference = Reference::parse(text.unwrap_or_default())?;
    let repository = registries.open_reference(&reference.place).await?;
    Ok((reference, repository))
}

/// Reads the public keys in the files that an argument names.
fn keys(matches: &ArgMatches, argument: &str) -> Result<Vec<PublicKey>, CommandError> {
    let files = matches.get_many::<String>(argument).into_iter().flatten();
    let read = |file: &String| {
        PublicKey::from_pem(&key_text(file)?).map_err(|error| format!("{file}: {error}").into())
    };
    files.map(read).collect()
}

fn key_text(file: &str) -> Result<String, CommandError> {
    let bytes = super::input::read(file)?;
    String::from_utf8(bytes).map_err(|_| format!("{file} is not a key in PEM").into())
}

fn print_line(text: &str) {
    print(&format!("{text}\n"));
}
