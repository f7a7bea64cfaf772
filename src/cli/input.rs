//! Files that commands read, and documents that they print.

use std::io::Read as _;

use clap::{Arg, ArgMatches};
use serde_json::Value;

use super::chain;
use crate::manifest::{self, Manifest};

/// The most bytes that are read.
const LARGEST: u64 = 256 << 20;

/// `-f FILE`.
pub fn file_argument() -> Arg {
    Arg::new("filename")
        .short('f')
        .long("filename")
        .value_name("FILE")
        .help("A stream of Kubernetes objects, YAML or JSON; - for standard input")
}

/// `-o FORMAT`.
pub fn output_argument() -> Arg {
    Arg::new("output")
        .short('o')
        .long("output")
        .value_name("FORMAT")
        .value_parser(["text", "json"])
        .default_value("text")
        .help("How the result is printed")
}

/// Whether `-o json` is given.
pub fn wants_json(matches: &ArgMatches) -> bool {
    matches
        .get_one::<String>("output")
        .is_some_and(|format| format == "json")
}

/// The bytes of a file, or of standard input.
pub fn read(file: &str) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| format!("cannot read {file}: {error}");
    let source: Box<dyn std::io::Read> = match file {
        "-" => Box::new(std::io::stdin().lock()),
        file => Box::new(std::fs::File::open(file).map_err(failed)?),
    };
    let mut bytes = Vec::new();
    source
        .take(LARGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > LARGEST {
        return Err(format!("{file} is larger than {LARGEST} bytes"));
    }
    Ok(bytes)
}

/// The objects of a file.
pub fn objects(file: &str) -> Result<Manifest, String> {
    manifest::read(&read(file)?).map_err(|error| format!("{file}: {}", chain(&error)))
}

/// A document as it is printed.
pub fn document(value: &Value) -> String {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}
