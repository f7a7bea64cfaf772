//! `apply`: brings objects to a cluster.

use std::collections::HashMap;

use clap::{ArgMatches, Command};
use serde_json::json;

use super::cluster::{
    Sources, Stopped, Target, code_of, confirm, dry_run_argument, run as run_on, with_source,
    with_target, yes_argument,
};
use super::plan::{self, VERSION, load, refused, survey};
use super::{Code, complain, input, tell};
use crate::cluster::rollout::deploy::{Deployed, Failure, Order, deploy};
use crate::cluster::rollout::options::Options;
use crate::cluster::rollout::plan::plan as make_plan;
use crate::cluster::rollout::preconditions;
use crate::cluster::rollout::rollback::Rollback;
use crate::cluster::rollout::snapshot::Survey;
use crate::plan::changeset::{Change, ResourceDiff};

/// Its arguments.
pub fn command() -> Command {
    let command = Command::new("apply")
        .about(
            "Applies objects, waits until they are ready, and prunes what is no longer part of \
             the component",
        )
        .arg(yes_argument())
        .arg(dry_run_argument())
        .arg(input::output_argument());
    with_target(with_source(
        command,
        "File of a saved plan, or oci://REFERENCE of an artifact",
    ))
}

/// Runs it.
pub fn run(matches: &ArgMatches, environment: &HashMap<String, String>) -> Code {
    run_on(matches, environment, Sources::OneOrPlan, async |target| {
        let file = matches
            .get_one::<String>("SOURCE")
            .filter(|source| !source.starts_with("oci://"));
        match file {
            Some(file) => saved(target, matches, file).await,
            None if matches.get_flag("dry-run") => plan::fresh(target, matches).await,
            None => {
                let mut source = target.source(matches).await?;
                let mut survey = survey(target, &mut source).await?;
                fresh(
                    target,
                    matches,
                    &mut survey,
                    &target.namespace,
                    source.artifact.clone(),
                )
                .await
            }
        }
    })
}

/// Applies a saved plan, if it still fits.
async fn saved(target: &Target, matches: &ArgMatches, file: &str) -> Result<Code, Stopped> {
    let mut saved = load(file)?;
    saved.contradicts(matches)?;
    let mut known = target.known(std::mem::take(&mut saved.objects), saved.artifact.clone());
    let options = &saved.options(&target.deploy.options);
    let objects = std::mem::take(&mut known.objects);
    let mut survey = Survey::take(
        &target.api,
        objects,
        &saved.namespace,
        saved.component().as_ref(),
    )
    .await?;
    match preconditions::approved(&saved.contract, &survey, options) {
        Ok(_) if matches.get_flag("dry-run") => {
            target.say("the plan still fits; `plan show` tells what it changes");
            Ok(if saved.contract.is_noop() {
                Code::Done
            } else {
                Code::Changes
            })
        }
        Ok(actions) => {
            let waiting = target.deploy.waiting.clone();
            let order = Order {
                actions,
                contract: Some(&saved.contract),
                artifact: saved.artifact.clone(),
                waiting,
            };
            finish(
                target,
                matches,
                &mut survey,
                &saved.namespace,
                &order,
                options,
            )
            .await
        }
        Err(breaches) if target.deploy.replan => {
            target.say(&format!(
                "{}; it is planned anew (deploy.moved)",
                Failure::Moved(breaches).sentence()
            ));
            fresh(
                target,
                matches,
                &mut survey,
                &saved.namespace,
                saved.artifact.clone(),
            )
            .await
        }
        Err(breaches) => Err(Stopped(Code::Moved, Failure::Moved(breaches).sentence())),
    }
}

/// Plans and applies in one go. What somebody has seen and approved may delete what it lists.
pub async fn fresh(
    target: &Target,
    matches: &ArgMatches,
    survey: &mut Survey,
    namespace: &str,
    artifact: Option<String>,
) -> Result<Code, Stopped> {
    let options = &target.options();
    let plan = make_plan(&target.api, survey, options).await?;
    refused(&plan)?;
    let contract = plan.contract(survey, options);
    if let Some(note) = survey.elsewhere(&target.api).await {
        target.say(&format!("note: {note}"));
    }
    let was_seen = !matches.get_flag("yes");
    for note in &survey.notes {
        target.say(&format!("note: {note}"));
    }
    if was_seen && !plan.is_noop() {
        target.say(plan::text(&plan).trim_end());
        if !confirm(target, matches, "apply?").await? {
            return Ok(Code::Done);
        }
    }
    let waiting = target.deploy.waiting.clone();
    let order = if was_seen {
        let actions = preconditions::approved(&contract, survey, options);
        let actions = actions
            .map_err(|breaches| Stopped(Code::Moved, Failure::Moved(breaches).sentence()))?;
        Order {
            actions,
            contract: Some(&contract),
            artifact,
            waiting,
        }
    } else {
        Order {
            actions: preconditions::actions(&plan, survey, options),
            contract: None,
            artifact,
            waiting,
        }
    };
    finish(target, matches, survey, namespace, &order, options).await
}

async fn finish(
    target: &Target,
    matches: &ArgMatches,
    survey: &mut Survey,
    namespace: &str,
    order: &Order<'_>,
    options: &Options,
) -> Result<Code, Stopped> {
    let told = |line: &str| target.say(line);
    let mut deployed = deploy(&target.api, survey, order, options, &told).await?;
    for note in &deployed.notes {
        target.say(&format!("note: {note}"));
    }
    let code = deployed.failure.as_ref().map_or(Code::Done, code_of);
    if code == Code::NotReady && target.deploy.roll_back {
        let told = roll_back(target, survey, namespace, order.artifact.as_deref()).await;
        target.say(&format!("note: {told}"));
        deployed.notes.push(told);
    }
    report(target, matches, &deployed);
    Ok(code)
}

/// Goes back to the last artifact that succeeded, if there is one; what is said of it.
async fn roll_back(
    target: &Target,
    survey: &mut Survey,
    namespace: &str,
    from: Option<&str>,
) -> String {
    let mut pulled = None;
    let pull = async |artifact: &str| {
        // Its secrets are hidden for as long as it is kept.
        let source = pulled.insert(
            target
                .pull(artifact)
                .await
                .map_err(|Stopped(_, message)| message)?,
        );
        Ok(std::mem::take(&mut source.objects))
    };
    let (options, waiting) = (&target.options(), target.deploy.waiting.clone());
    let rollback = Rollback {
        api: &target.api,
        options,
        namespace,
        from,
        waiting,
    };
    let said = rollback
        .run(survey, pull, &|line: &str| target.say(line))
        .await;
    target.redactor.mask(&said).into_owned()
}

/// Prints what was done, and says why it failed.
pub fn report(target: &Target, matches: &ArgMatches, deployed: &Deployed) {
    let text = if input::wants_json(matches) {
        input::document(&json!({
            "schema_version": VERSION, "changes": deployed.diffs, "notes": deployed.notes,
            "failure": deployed.failure.as_ref().map(Failure::document),
        }))
    } else {
        let changed = deployed
            .diffs
            .iter()
            .filter(|diff| diff.change != Change::Unchanged);
        let lines = changed.map(|diff| format!("{} {}\n", diff.change.word(), diff.subject()));
        lines.chain([summary(&deployed.diffs)]).collect()
    };
    tell(&target.redactor.mask(&text));
    if let Some(failure) = &deployed.failure {
        complain(&target.redactor.mask(&failure.sentence()), "");
    }
}

fn summary(diffs: &[ResourceDiff]) -> String {
    let count = |change: Change| diffs.iter().filter(|diff| diff.change == change).count();
    let [added, modified, removed, same] = [
        Change::Added,
        Change::Modified,
        Change::Removed,
        Change::Unchanged,
    ]
    .map(count);
    format!("{added} created, {modified} changed, {removed} deleted, {same} unchanged\n")
}
