//! `status`: shows whether objects are ready.

use std::collections::HashMap;

use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Value, json};

use super::cluster::{AcceptedInput, ClusterTarget, run as run_on, with_target};
use super::error::CommandError;
use super::plan::VERSION;
use super::{Code, input, print, print_error, print_escaped};
use crate::base::clock::Clock;
use crate::cluster::health::cause::StatusCause;
use crate::cluster::health::readiness::{Readiness, ReadinessError, Status};
use crate::cluster::health::{cause, readiness, tree, wait};
use crate::cluster::rollout::snapshot::Snapshot;
use crate::manifest::{Object, ObjectId};

pub fn command() -> Command {
    let tree = Arg::new("tree")
        .long("tree")
        .action(ArgAction::SetTrue)
        .help("Also shows the objects that these own");
    let command = Command::new("status")
        .about(
            "Shows whether objects are ready: those of a component, or those of a file, as the API server returns them",
        )
        .arg(input::file_argument())
        .arg(tree)
        .arg(input::output_argument());
    with_target(command)
}

pub fn run(matches: &ArgMatches, environment: &HashMap<String, String>) -> Code {
    match matches.get_one::<String>("filename") {
        Some(file) => file_status(matches, file),
        None => run_on(
            matches,
            environment,
            AcceptedInput::Component,
            async |target| component_status(target, matches).await,
        ),
    }
}

/// An object of a component, with its status.
struct Member {
    id: ObjectId,
    readiness: Readiness,
    cause: Option<StatusCause>,
    owned: Vec<tree::OwnedObject>,
}

impl Member {
    /// The status of an object that cannot be looked at.
    fn without_object(id: &ObjectId, status: Status, reason: &str, message: &str) -> Self {
        let readiness = Readiness {
            status,
            message: message.to_owned(),
            reason: reason.into(),
            detail: None,
        };
        Self {
            id: id.clone(),
            readiness,
            cause: None,
            owned: Vec::new(),
        }
    }
}

async fn component_status(
    target: &ClusterTarget,
    matches: &ArgMatches,
) -> Result<Code, CommandError> {
    let component = target.component()?;
    let snapshot =
        Snapshot::take(&target.api, Vec::new(), &target.namespace, Some(component)).await?;
    let inventory = snapshot
        .inventory
        .as_ref()
        .filter(|inventory| inventory.is_stored());
    let Some(inventory) = inventory else {
        return Err(target.no_inventory(&snapshot.served, component).await);
    };
    // Container logs in the causes may contain secret values, so these are masked.
    let _secrets =
        target.with_masked_secrets(snapshot.live.values().cloned().collect::<Vec<_>>(), None);
    let mut members = Vec::new();
    let current = inventory
        .objects
        .iter()
        .filter(|(_, record)| record.superseded.is_none());
    for (id, _) in current {
        let live = snapshot.live.get(id);
        let with_tree = matches.get_flag("tree");
        members.push(member(target, &snapshot, id, live, with_tree).await?);
    }
    let text = if input::wants_json(matches) {
        members_document(&members)
    } else {
        members_text(&members)
    };
    print_escaped(&target.redactor.mask(&text));
    let all_current = members.iter().all(|member| member.readiness.is_current());
    Ok(if all_current {
        Code::Done
    } else {
        Code::NotReady
    })
}

/// Returns the status of an object of the inventory, why it is not ready, and with `with_tree` what
/// it owns.
async fn member(
    target: &ClusterTarget,
    snapshot: &Snapshot,
    id: &ObjectId,
    live: Option<&Object>,
    with_tree: bool,
) -> Result<Member, CommandError> {
    if let Some(reason) = snapshot.unreadable.get(id) {
        return Ok(Member::without_object(
            id,
            Status::Unknown,
            "Unreadable",
            &format!("it cannot be read: {reason}"),
        ));
    }
    let Some(live) = live else {
        let has_finished = snapshot.record(id).is_some_and(|record| record.finished);
        let (status, reason, message) = match has_finished {
            true => (
                Status::Current,
                "JobFinished",
                "the Job has succeeded, and is gone since",
            ),
            false => (
                Status::NotFound,
                "NotFound",
                "it is in the inventory, but not in the cluster",
            ),
        };
        return Ok(Member::without_object(id, status, reason, message));
    };
    let now = target.clock.now();
    let mut readiness = wait::readiness(live, &target.deploy.rules, now).await;
    let cause = match readiness.is_current() {
        true => None,
        // A cause that cannot be read is left out.
        false => cause::find(&target.api, &snapshot.served, live, &readiness)
            .await
            .ok()
            .flatten(),
    };
    if cause.as_ref().is_some_and(StatusCause::is_unused_claim) {
        readiness.status = Status::Current;
    }
    let owned = match with_tree {
        true => tree::of(&target.api, &snapshot.served, live, now).await?,
        false => Vec::new(),
    };
    Ok(Member {
        id: id.clone(),
        readiness,
        cause,
        owned,
    })
}

fn members_text(members: &[Member]) -> String {
    let mut text = String::new();
    for member in members {
        let Member {
            id,
            readiness,
            cause,
            owned,
        } = member;
        text.push_str(&format!(
            "{id} {}: {}\n",
            readiness.status.word(),
            readiness.message
        ));
        text.extend(
            cause
                .iter()
                .map(|cause| format!("    {}\n", cause.sentence())),
        );
        for owned in owned {
            let indent = "    ".repeat(owned.depth);
            text.push_str(&format!(
                "{indent}{} {}: {}\n",
                owned.id,
                owned.readiness.status.word(),
                owned.readiness.message
            ));
        }
    }
    text
}

fn members_document(members: &[Member]) -> String {
    let member = |member: &Member| {
        let owned = member.owned.iter().map(
            |owned| json!({"object": owned.id.to_string(), "depth": owned.depth, "status": owned.readiness.document()}),
        );
        json!({
            "object": member.id.to_string(), "status": member.readiness.document(),
            "cause": member.cause.as_ref().map(StatusCause::document), "owned": owned.collect::<Vec<_>>(),
        })
    };
    let members: Vec<Value> = members.iter().map(member).collect();
    input::document(&json!({"schema_version": VERSION, "objects": members}))
}

fn file_status(matches: &ArgMatches, file: &str) -> Code {
    let objects = match input::objects(file) {
        Ok(manifest) if manifest.objects.is_empty() => {
            Err(format!("{file} holds no object with a name").into())
        }
        read => read.map(|manifest| manifest.objects),
    };
    let objects = match objects {
        Ok(objects) => objects,
        Err(CommandError(code, message)) => {
            if input::wants_json(matches) {
                print(&input::document(&json!({"error": message})));
            }
            print_error(&message, "");
            return code;
        }
    };
    let now = Clock::system().now();
    let statuses: Vec<_> = objects
        .iter()
        .map(|object| (object, readiness::compute_status(object, now)))
        .collect();
    print(&if input::wants_json(matches) {
        document(&statuses)
    } else {
        lines(&statuses)
    });
    code(&statuses)
}

type ObjectStatus<'a> = (&'a Object, Result<Readiness, ReadinessError>);

fn code(statuses: &[ObjectStatus<'_>]) -> Code {
    if statuses.iter().any(|(_, answer)| answer.is_err()) {
        return Code::Error;
    }
    let is_current =
        |(_, answer): &ObjectStatus<'_>| answer.as_ref().is_ok_and(Readiness::is_current);
    if statuses.iter().all(is_current) {
        Code::Done
    } else {
        Code::NotReady
    }
}

/// Formats the status of one object as it is, and several as a list.
fn document(statuses: &[ObjectStatus<'_>]) -> String {
    let answers = statuses.iter().map(|(_, answer)| match answer {
        Ok(readiness) => readiness.document(),
        Err(error) => json!({"error": error.to_string()}),
    });
    let mut answers: Vec<Value> = answers.collect();
    let single = if answers.len() == 1 {
        answers.pop()
    } else {
        None
    };
    input::document(&single.unwrap_or(Value::Array(answers)))
}

fn lines(statuses: &[ObjectStatus<'_>]) -> String {
    let line = |(object, answer): &ObjectStatus<'_>| match answer {
        Ok(readiness) => format!(
            "{} {}: {}\n",
            object.subject(),
            readiness.status.word(),
            readiness.message
        ),
        Err(error) => format!("{} Unknown: {error}\n", object.subject()),
    };
    statuses.iter().map(line).collect()
}
