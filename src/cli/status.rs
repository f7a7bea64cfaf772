//! `status`: whether objects are ready.

use clap::{ArgMatches, Command};
use serde_json::{Value, json};

use super::{Code, complain, input, print};
use crate::cluster::readiness::{self, Readiness, ReadinessError};
use crate::manifest::Object;

/// Its arguments.
pub fn command() -> Command {
    Command::new("status")
        .about("Tells whether objects, as the API server gives them, are ready")
        .arg(input::file_argument().required(true))
        .arg(input::output_argument())
}

/// Runs it.
pub fn run(matches: &ArgMatches) -> Code {
    let file = matches.get_one::<String>("filename").map(String::as_str).unwrap_or_default();
    let objects = match input::objects(file) {
        Ok(manifest) if manifest.objects.is_empty() => Err(format!("{file} holds no object with a name")),
        Ok(manifest) => Ok(manifest.objects),
        Err(message) => Err(message),
    };
    let objects = match objects {
        Ok(objects) => objects,
        Err(message) => {
            complain(&message, "");
            return Code::Error;
        }
    };
    let now = jiff::Timestamp::now();
    let judged: Vec<_> = objects.iter().map(|object| (object, readiness::judge(object, now))).collect();
    print(&if input::wants_json(matches) { document(&judged) } else { lines(&judged) });
    code(&judged)
}

type Judged<'a> = (&'a Object, Result<Readiness, ReadinessError>);

fn code(judged: &[Judged<'_>]) -> Code {
    if judged.iter().any(|(_, answer)| answer.is_err()) {
        return Code::Error;
    }
    let is_current = |(_, answer): &Judged<'_>| answer.as_ref().is_ok_and(Readiness::is_current);
    if judged.iter().all(is_current) { Code::Done } else { Code::NotReady }
}

/// One answer alone, or a list of them.
fn document(judged: &[Judged<'_>]) -> String {
    let answers = judged.iter().map(|(_, answer)| match answer {
        Ok(readiness) => readiness.document(),
        Err(error) => json!({"error": error.to_string()}),
    });
    let mut answers: Vec<Value> = answers.collect();
    let alone = if answers.len() == 1 { answers.pop() } else { None };
    input::document(&alone.unwrap_or(Value::Array(answers)))
}

fn lines(judged: &[Judged<'_>]) -> String {
    let line = |(object, answer): &Judged<'_>| match answer {
        Ok(readiness) => format!("{} {}: {}\n", object.subject(), readiness.status.word(), readiness.message),
        Err(error) => format!("{} Unknown: {error}\n", object.subject()),
    };
    judged.iter().map(line).collect()
}
