//! `diff`: compares two states of an object.

use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Value, json};

use super::error::CommandError;
use super::{Code, changes, input, print, print_error};
use crate::cluster::fields::comparison::{Comparison, ComparisonMode};
use crate::cluster::fields::diff::DiffFormat;
use crate::cluster::fields::legacy;
use crate::manifest::{self, Object};
use crate::plan::changeset::ChangeKind;

pub fn command() -> Command {
    let file = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name("FILE").help(help)
    };
    Command::new("diff")
        .about("Shows the differences between two states of an object")
        .arg(file(
            "live",
            "The live object; omit it if the object does not exist",
        ))
        .arg(file(
            "desired",
            "The desired object: the server's response to an apply",
        ))
        .arg(
            Arg::new("mode")
                .long("mode")
                .value_name("MODE")
                .value_parser(["plan-apply", "apply", "plan-delete", "delete"])
                .default_value("plan-apply")
                .help("The operation that is planned or done"),
        )
        .arg(
            Arg::new("error")
                .long("error")
                .value_name("TEXT")
                .help("The API server's error message, if it refuses"),
        )
        .arg(
            Arg::new("shipped")
                .long("shipped")
                .action(ArgAction::SetTrue)
                .help(
                    "Prints the legacy format of the Go runner: doubled brackets, nothing masked",
                ),
        )
        .arg(input::output_argument())
}

pub fn run(matches: &ArgMatches) -> Code {
    let comparison = match read(matches) {
        Ok(comparison) => comparison,
        Err(CommandError(code, message)) => {
            if input::wants_json(matches) {
                print(&input::document(&json!({"error": message})));
            }
            print_error(&message, "");
            return code;
        }
    };
    let form = if matches.get_flag("shipped") {
        DiffFormat::Legacy
    } else {
        DiffFormat::Native
    };
    let (_, lines) = comparison.diffs(form);
    print(&if input::wants_json(matches) {
        input::document(&comparison.document(form))
    } else {
        changes::text(&lines)
    });
    let differs = comparison
        .has_changes(form)
        .unwrap_or(lines.change != ChangeKind::Unchanged);
    if differs { Code::Changes } else { Code::Done }
}

fn read(matches: &ArgMatches) -> Result<Comparison, CommandError> {
    let text = |name: &str| matches.get_one::<String>(name).map(String::as_str);
    let mode = match text("mode") {
        Some("apply") => ComparisonMode::Apply,
        Some("plan-delete") => ComparisonMode::PlanDelete,
        Some("delete") => ComparisonMode::Delete,
        _ => ComparisonMode::PlanApply,
    };
    let (live, desired) = (
        text("live").map(object).transpose()?,
        text("desired").map(object).transpose()?,
    );
    if live.is_none() && desired.is_none() {
        let message = "nothing to compare: give --live, --desired, or both";
        return Err(CommandError(Code::Usage, message.to_owned()));
    }
    Ok(Comparison {
        mode,
        live,
        desired,
        error: text("error").map(str::to_owned),
    })
}

/// Reads a file that contains one object. JSON is parsed directly, because the manifest reader
/// turns floats into integers.
fn object(file: &str) -> Result<Object, CommandError> {
    let bytes = input::read(file)?;
    if let Ok(mut value @ Value::Object(_)) = serde_json::from_slice(&bytes) {
        legacy::decode_numbers(&mut value);
        if let Value::Object(map) = value {
            return Ok(Object(map));
        }
    }
    let mut objects = manifest::read(&bytes)
        .map_err(|error| error.sentence(file))?
        .objects;
    match (objects.pop(), objects.len()) {
        (Some(object), 0) => Ok(object),
        (None, _) => Err(format!("{file} holds no object with a name").into()),
        (Some(_), more) => Err(format!(
            "{file} holds {} objects, but must hold exactly one",
            more + 1
        )
        .into()),
    }
}
