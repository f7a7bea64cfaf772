//! Input files and JSON output of the commands.

use std::io::Read as _;
use std::path::Path;

use clap::{Arg, ArgMatches};
use serde_json::Value;

use super::chain;
use super::error::CommandError;
use crate::base::error::plain;
use crate::base::nearest::nearest;
use crate::manifest::{self, Manifest};

/// Maximum size of an input file, in bytes.
const MAX_INPUT_BYTES: u64 = 256 << 20;

/// `-f FILE`.
pub fn file_argument() -> Arg {
    Arg::new("filename")
        .short('f')
        .long("filename")
        .value_name("FILE")
        .help("File of Kubernetes objects, YAML or JSON; - for standard input")
}

/// `-o FORMAT`.
pub fn output_argument() -> Arg {
    Arg::new("output")
        .short('o')
        .long("output")
        .value_name("FORMAT")
        .value_parser(["text", "json"])
        .default_value("text")
        .help("Output format")
}

/// Returns true for `-o json`.
pub fn wants_json(matches: &ArgMatches) -> bool {
    matches
        .get_one::<String>("output")
        .is_some_and(|format| format == "json")
}

/// Reads a file, or standard input for `-`.
pub fn read(file: &str) -> Result<Vec<u8>, CommandError> {
    let failed = |error: std::io::Error| cannot_open(Path::new(file), &error);
    let source: Box<dyn std::io::Read> = match file {
        "-" => Box::new(std::io::stdin().lock()),
        file => Box::new(std::fs::File::open(file).map_err(failed)?),
    };
    let mut bytes = Vec::new();
    source
        .take(MAX_INPUT_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > MAX_INPUT_BYTES {
        return Err(format!("{file} is larger than {MAX_INPUT_BYTES} bytes").into());
    }
    Ok(bytes)
}

/// Returns the error about a path, with the nearest name in its directory if it does not exist.
pub(super) fn cannot_open(path: &Path, error: &std::io::Error) -> String {
    let shown = path.display();
    if error.kind() == std::io::ErrorKind::IsADirectory {
        return format!("{shown} is a directory; help: -k {shown} builds the overlay in it");
    }
    if error.kind() != std::io::ErrorKind::NotFound {
        return format!("cannot read {shown}: {}", plain(error));
    }
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let entries = std::fs::read_dir(parent.unwrap_or(Path::new(".")));
    let names: Vec<String> = entries
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match nearest(&name, names.iter().map(String::as_str)) {
        Some(near) => format!("{shown} does not exist; help: did you mean {near}?"),
        None if path.components().count() > 1 && path.to_string_lossy().contains(':') => {
            format!("{shown} does not exist; help: oci://{shown} is an artifact in a registry")
        }
        None => format!("{shown} does not exist"),
    }
}

/// Reads the objects of a file. Fails if it holds what looks like an object and is none.
pub fn objects(file: &str) -> Result<Manifest, CommandError> {
    let manifest = manifest::read(&read(file)?);
    let manifest = manifest.map_err(|error| error.sentence(file))?;
    manifest
        .require_objects(file)
        .map_err(|error| chain(&error))?;
    if manifest.objects.is_empty() {
        let help = match file {
            "-" => "look at the command before the pipe",
            _ => "delete removes the objects of a component",
        };
        return Err(format!("{file} contains no objects; help: {help}").into());
    }
    Ok(manifest)
}

/// Formats a JSON document for output.
pub fn document(value: &Value) -> String {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}
