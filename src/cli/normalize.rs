//! `normalize`: what of a YAML stream is packed into an artifact.

use clap::{ArgMatches, Command};

use super::{Code, answer, chain, input};
use crate::manifest;

/// Its arguments.
pub fn command() -> Command {
    Command::new("normalize")
        .about("Reads Kubernetes objects and prints them sorted, as they are packed")
        .arg(input::file_argument().required(true))
}

/// Runs it.
pub fn run(matches: &ArgMatches) -> Code {
    let file = matches
        .get_one::<String>("filename")
        .map(String::as_str)
        .unwrap_or_default();
    answer(input::read(file).and_then(|bytes| normalized(&bytes)))
}

/// The objects of a text, sorted and serialised.
pub(super) fn normalized(text: &[u8]) -> Result<String, String> {
    let mut objects = manifest::read(text).map_err(|error| chain(&error))?.objects;
    manifest::sort(&mut objects);
    manifest::write(&objects).map_err(|error| chain(&error))
}
