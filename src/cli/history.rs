//! `history` lists the deploys of a component; `rollback` applies the artifact of an earlier
//! deploy.

use std::collections::HashMap;

use clap::{Arg, ArgMatches, Command};
use serde_json::json;

use super::cluster::{
    AcceptedInput, ClusterTarget, dry_run_argument, run as run_on, with_target, yes_argument,
};
use super::error::CommandError;
use super::plan::{self, VERSION};
use super::{Code, apply, input, print_escaped};
use crate::base::counted::counted;
use crate::cluster::client::discovery::ServedKinds;
use crate::cluster::rollout::inventory::{DeployOutcome, DeployRecord, Inventory};
use crate::cluster::rollout::rollback::CANNOT_BE_UNDONE;

/// The arguments of `history`.
pub fn command() -> Command {
    let command = Command::new("history")
        .about("Lists the last deploys of a component")
        .arg(input::output_argument());
    with_target(command)
}

/// The arguments of `rollback`.
pub fn rollback_command() -> Command {
    let command = Command::new("rollback")
        .about("Applies an earlier artifact of a component again, but never one that failed")
        .arg(Arg::new("to").long("to").value_name("N|DIGEST").help(
            "Number or digest of the deploy [default: the last one that succeeded before this one]",
        ))
        .arg(yes_argument())
        .arg(dry_run_argument())
        .arg(input::output_argument());
    with_target(command)
}

pub fn run(matches: &ArgMatches, environment: &HashMap<String, String>) -> Code {
    run_on(
        matches,
        environment,
        AcceptedInput::Component,
        async |target| {
            let inventory = inventory(target).await?;
            let text = if input::wants_json(matches) {
                input::document(&json!({"schema_version": VERSION, "deploys": inventory.history}))
            } else {
                inventory.history.iter().map(line).collect()
            };
            print_escaped(&text);
            if inventory.history.is_empty() {
                target.print_stderr("note: no deploy of the component has ended yet");
            }
            Ok(Code::Done)
        },
    )
}

pub fn rollback(matches: &ArgMatches, environment: &HashMap<String, String>) -> Code {
    run_on(
        matches,
        environment,
        AcceptedInput::Component,
        async |target| {
            let inventory = inventory(target).await?;
            let deploy = rollback_target(
                &inventory,
                matches.get_one::<String>("to").map(String::as_str),
            )?;
            let missing = || {
                CommandError(
                    Code::Error,
                    format!(
                        "deploy {} has no artifact, so it cannot be applied again",
                        deploy.number
                    ),
                )
            };
            let artifact = deploy.artifact.clone().ok_or_else(missing)?;
            target.print_stderr(&format!(
                "rolling back to deploy {} of {}: {artifact}",
                deploy.number, deploy.time
            ));
            target.print_stderr(&format!("note: {CANNOT_BE_UNDONE}"));
            let source = target.pull(&artifact).await?;
            match matches.get_flag("dry-run") {
                true => plan::plan_and_print(target, matches, source).await,
                false => apply::plan_and_apply(target, matches, source).await,
            }
        },
    )
}

async fn inventory(target: &ClusterTarget) -> Result<Inventory, CommandError> {
    let component = target.component()?;
    let served = ServedKinds::discover(&target.api).await?;
    let inventory = Inventory::read(&target.api, &served, component).await?;
    if !inventory.is_stored() {
        return Err(target.no_inventory(&served, component).await);
    }
    Ok(inventory)
}

/// Returns the deploy to roll back to: the one with this number, digest or artifact, else the last
/// good deploy of another artifact.
fn rollback_target<'a>(
    inventory: &'a Inventory,
    to: Option<&str>,
) -> Result<&'a DeployRecord, CommandError> {
    let refuse = |message: String| Err(CommandError(Code::Error, message));
    let chosen = match to {
        Some(to) => inventory.history.iter().rev().find(|deploy| {
            deploy.number.to_string() == to
                || deploy.digest() == Some(to)
                || deploy.artifact.as_deref() == Some(to)
        }),
        None => inventory.last_good(
            inventory
                .history
                .last()
                .and_then(|last| last.artifact.as_deref()),
        ),
    };
    match (chosen, to) {
        (Some(deploy), _) if !inventory.is_good(deploy) => refuse(format!(
            "deploy {} did not succeed, or a later deploy of its artifact failed; choose another one (see history)",
            deploy.number
        )),
        (Some(deploy), _) => Ok(deploy),
        (None, Some(to)) => refuse(format!("there is no deploy {to}; see history")),
        (None, None) => refuse(
            "no earlier deploy of another artifact succeeded; objects applied with -f or -k cannot be applied again"
                .into(),
        ),
    }
}

fn line(deploy: &DeployRecord) -> String {
    let outcome = match deploy.outcome {
        DeployOutcome::Succeeded => "succeeded",
        DeployOutcome::Failed => "failed",
        DeployOutcome::Unfinished => "unfinished",
    };
    let [added, modified, removed] = deploy.changes;
    let artifact = deploy.artifact.as_deref().unwrap_or("no artifact");
    format!(
        "{}  {}  {outcome}  {} (+{added} ~{modified} -{removed})  {artifact}\n",
        deploy.number,
        deploy.time.strftime("%Y-%m-%dT%H:%M:%SZ"),
        counted(deploy.objects, "object")
    )
}
