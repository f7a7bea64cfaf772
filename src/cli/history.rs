//! `history` and `rollback`: the deploys of a component, and the way back to one.

use std::collections::HashMap;

use clap::{Arg, ArgMatches, Command};
use serde_json::json;

use super::cluster::{Sources, Stopped, Target, run as run_on, with_target, yes_argument};
use super::plan::{VERSION, survey};
use super::{Code, apply, input, tell};
use crate::cluster::client::discovery::Served;
use crate::cluster::rollout::inventory::{Deploy, DeployOutcome, Inventory};
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
        .about("Applies an earlier artifact of a component again; never one that failed")
        .arg(Arg::new("to").long("to").value_name("N|DIGEST").help(
            "Number or digest of the deploy [default: the last one that succeeded before this one]",
        ))
        .arg(yes_argument())
        .arg(input::output_argument());
    with_target(command)
}

/// Runs `history`.
pub fn run(matches: &ArgMatches, environment: &HashMap<String, String>) -> Code {
    run_on(matches, environment, Sources::Component, async |target| {
        let inventory = inventory(target).await?;
        let text = if input::wants_json(matches) {
            input::document(&json!({"schema_version": VERSION, "deploys": inventory.history}))
        } else {
            inventory.history.iter().map(line).collect()
        };
        tell(&text);
        Ok(Code::Done)
    })
}

/// Runs `rollback`.
pub fn rollback(matches: &ArgMatches, environment: &HashMap<String, String>) -> Code {
    run_on(matches, environment, Sources::Component, async |target| {
        let inventory = inventory(target).await?;
        let deploy = choose(
            &inventory,
            matches.get_one::<String>("to").map(String::as_str),
        )?;
        let missing = || {
            Stopped(
                Code::Error,
                format!(
                    "deploy {} was of no artifact, and cannot be had again",
                    deploy.number
                ),
            )
        };
        let artifact = deploy.artifact.clone().ok_or_else(missing)?;
        target.say(&format!(
            "rolls back to deploy {} of {}: {artifact}",
            deploy.number, deploy.time
        ));
        target.say(&format!("note: {CANNOT_BE_UNDONE}"));
        let mut source = target.pull(&artifact).await?;
        let mut survey = survey(target, &mut source).await?;
        apply::fresh(
            target,
            matches,
            &mut survey,
            &target.namespace,
            Some(artifact),
        )
        .await
    })
}

async fn inventory(target: &Target) -> Result<Inventory, Stopped> {
    let component = target.component()?;
    let served = Served::ask(&target.api).await?;
    let inventory = Inventory::read(&target.api, &served, component).await?;
    if !inventory.is_stored() {
        let what = format!(
            "the component {} has no inventory in the namespace {}",
            component.name, component.namespace
        );
        return Err(Stopped(Code::Error, what));
    }
    Ok(inventory)
}

/// The deploy that is gone back to.
fn choose<'a>(inventory: &'a Inventory, to: Option<&str>) -> Result<&'a Deploy, Stopped> {
    let refuse = |message: String| Err(Stopped(Code::Error, message));
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
            "deploy {} has itself failed, or its artifact has since; choose another one (see \
             history)",
            deploy.number
        )),
        (Some(deploy), _) => Ok(deploy),
        (None, Some(to)) => refuse(format!("there was no deploy {to}; see history")),
        (None, None) => refuse(
            "there is no earlier deploy of an artifact that succeeded; what was applied by -f or \
             -k cannot be had again"
                .into(),
        ),
    }
}

fn line(deploy: &Deploy) -> String {
    let outcome = match deploy.outcome {
        DeployOutcome::Succeeded => "succeeded",
        DeployOutcome::Failed => "failed",
        DeployOutcome::Unfinished => "unfinished",
    };
    let [added, modified, removed] = deploy.changes;
    let artifact = deploy.artifact.as_deref().unwrap_or("no artifact");
    format!(
        "{}  {}  {outcome}  {} objects (+{added} ~{modified} -{removed})  {artifact}\n",
        deploy.number,
        deploy.time.strftime("%Y-%m-%dT%H:%M:%SZ"),
        deploy.objects
    )
}
