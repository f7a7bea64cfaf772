//! `normalize`: what of a YAML stream is packed into an artifact.

use std::io::Read as _;

use clap::{Arg, ArgMatches, Command};

use super::{Code, answer, chain};
use crate::manifest;

/// The most bytes that are read.
const LARGEST: u64 = 256 << 20;

/// Its arguments.
pub fn command() -> Command {
    Command::new("normalize").about("Reads Kubernetes objects and prints them sorted, as they are packed").arg(
        Arg::new("file")
            .short('f')
            .long("filename")
            .value_name("FILE")
            .required(true)
            .help("A YAML stream; - for standard input"),
    )
}

/// Runs it.
pub fn run(matches: &ArgMatches) -> Code {
    let file = matches.get_one::<String>("file").map(String::as_str).unwrap_or_default();
    answer(read(file).and_then(|bytes| normalized(&bytes)))
}

fn read(file: &str) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| format!("cannot read {file}: {error}");
    let source: Box<dyn std::io::Read> = match file {
        "-" => Box::new(std::io::stdin().lock()),
        file => Box::new(std::fs::File::open(file).map_err(failed)?),
    };
    let mut bytes = Vec::new();
    source.take(LARGEST + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > LARGEST {
        return Err(format!("{file} is larger than {LARGEST} bytes"));
    }
    Ok(bytes)
}

/// The objects of a text, sorted and serialised.
pub(super) fn normalized(text: &[u8]) -> Result<String, String> {
    let mut objects = manifest::read(text).map_err(|error| chain(&error))?.objects;
    manifest::sort(&mut objects);
    manifest::write(&objects).map_err(|error| chain(&error))
}
