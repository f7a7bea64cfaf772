//! `normalize`: prints the objects of a YAML stream as they are packed into an artifact.

use clap::{ArgMatches, Command};

use super::{Code, chain, input, print_result};
use crate::manifest;

pub fn command() -> Command {
    Command::new("normalize")
        .about("Reads Kubernetes objects and prints them sorted, as they are packed")
        .arg(input::file_argument().required(true))
}

pub fn run(matches: &ArgMatches) -> Code {
    let file = matches
        .get_one::<String>("filename")
        .map(String::as_str)
        .unwrap_or_default();
    print_result(input::read(file).and_then(|bytes| normalized(&bytes)))
}

/// Returns the objects of a YAML stream, sorted and serialized.
pub(super) fn normalized(text: &[u8]) -> Result<String, String> {
    let mut objects = manifest::read(text).map_err(|error| chain(&error))?.objects;
    manifest::sort(&mut objects);
    manifest::write(&objects).map_err(|error| chain(&error))
}
