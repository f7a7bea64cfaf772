//! `normalize`: prints the objects of a YAML stream as they are packed into an artifact.

use clap::{ArgMatches, Command};

use super::error::CommandError;
use super::{Code, chain, input, print_result, print_stderr};
use crate::manifest::{self, Manifest};

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
    print_result(normalized(file))
}

fn normalized(file: &str) -> Result<String, CommandError> {
    let manifest = manifest::read(&input::read(file)?).map_err(|error| error.sentence(file))?;
    for document in &manifest.left_out {
        print_stderr(&format!(
            "warning: {}; it is left out",
            document.sentence(file)
        ));
    }
    packed(manifest)
}

/// Returns objects sorted and serialized, as they are packed into an artifact.
pub(super) fn packed(mut manifest: Manifest) -> Result<String, CommandError> {
    manifest::sort(&mut manifest.objects);
    Ok(manifest::write(&manifest.objects).map_err(|error| chain(&error))?)
}
