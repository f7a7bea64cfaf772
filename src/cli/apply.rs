//! `apply`: applies objects to a cluster.

use std::collections::HashMap;

use clap::{ArgMatches, Command};
use serde_json::json;

use super::cluster::{
    AcceptedInput, CommandError, Target, confirm, dry_run_argument, exit_code_for, run as run_on,
    with_source, with_target, yes_argument,
};
use super::plan::{self, VERSION, fail_if_refused, load, snapshot};
use super::{Code, input, print_error, print_escaped};
use crate::cluster::rollout::deploy::{DeployRequest, DeployResult, Failure, deploy};
use crate::cluster::rollout::options::Options;
use crate::cluster::rollout::plan::plan as make_plan;
use crate::cluster::rollout::preconditions;
use crate::cluster::rollout::rollback::Rollback;
use crate::cluster::rollout::snapshot::Snapshot;
use crate::plan::changeset::{Change, ResourceDiff};

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
        "Saved plan file, or oci://REFERENCE of an artifact",
    ))
}

pub fn run(matches: &ArgMatches, environment: &HashMap<String, String>) -> Code {
    run_on(
        matches,
        environment,
        AcceptedInput::ObjectsOrPlan,
        async |target| {
            let file = matches
                .get_one::<String>("SOURCE")
                .filter(|source| !source.starts_with("oci://"));
            match file {
                Some(file) => apply_saved(target, matches, file).await,
                None if matches.get_flag("dry-run") => plan::plan_and_print(target, matches).await,
                None => {
                    let mut source = target.load_objects(matches).await?;
                    let mut snapshot = snapshot(target, &mut source).await?;
                    plan_and_apply(
                        target,
                        matches,
                        &mut snapshot,
                        &target.namespace,
                        source.artifact.clone(),
                    )
                    .await
                }
            }
        },
    )
}

/// Applies a saved plan, if it still matches the cluster.
async fn apply_saved(
    target: &Target,
    matches: &ArgMatches,
    file: &str,
) -> Result<Code, CommandError> {
    let mut saved = load(file)?;
    saved.check_flags(matches)?;
    let mut input_objects =
        target.with_masked_secrets(std::mem::take(&mut saved.objects), saved.artifact.clone());
    let options = &saved.options(&target.deploy.options);
    let objects = std::mem::take(&mut input_objects.objects);
    let mut snapshot = Snapshot::take(
        &target.api,
        objects,
        &saved.namespace,
        saved.component().as_ref(),
    )
    .await?;
    match preconditions::check_saved_plan(&saved.contract, &snapshot, options) {
        Ok(_) if matches.get_flag("dry-run") => {
            target.print_stderr("the plan still fits; `plan show` prints its changes");
            Ok(if saved.contract.is_noop() {
                Code::Done
            } else {
                Code::Changes
            })
        }
        Ok(actions) => {
            let waiting = target.deploy.waiting.clone();
            let order = DeployRequest {
                actions,
                saved_plan: Some(&saved.contract),
                artifact: saved.artifact.clone(),
                waiting,
            };
            finish(
                target,
                matches,
                &mut snapshot,
                &saved.namespace,
                &order,
                options,
            )
            .await
        }
        Err(breaches) if target.deploy.replan => {
            target.print_stderr(&format!(
                "{}; planning again (deploy.moved)",
                Failure::PlanConflict(breaches).sentence()
            ));
            plan_and_apply(
                target,
                matches,
                &mut snapshot,
                &saved.namespace,
                saved.artifact.clone(),
            )
            .await
        }
        Err(breaches) => Err(CommandError(
            Code::PlanConflict,
            Failure::PlanConflict(breaches).sentence(),
        )),
    }
}

/// Plans and applies in one step. A plan that the user saw and confirmed counts as approved, so it
/// may delete what it lists.
pub async fn plan_and_apply(
    target: &Target,
    matches: &ArgMatches,
    snapshot: &mut Snapshot,
    namespace: &str,
    artifact: Option<String>,
) -> Result<Code, CommandError> {
    let options = &target.options();
    let plan = make_plan(&target.api, snapshot, options).await?;
    fail_if_refused(&plan)?;
    let contract = plan.saved_plan(snapshot, options);
    if let Some(note) = snapshot.deployed_elsewhere(&target.api).await {
        target.print_stderr(&format!("note: {note}"));
    }
    let needs_confirmation = !matches.get_flag("yes");
    for note in &snapshot.notes {
        target.print_stderr(&format!("note: {note}"));
    }
    if needs_confirmation && !plan.is_noop() {
        target.print_stderr(plan::text(&plan).trim_end());
        if !confirm(target, matches, "apply?").await? {
            return Ok(Code::Done);
        }
    }
    let waiting = target.deploy.waiting.clone();
    let request = if needs_confirmation {
        let actions = preconditions::check_saved_plan(&contract, snapshot, options);
        let actions = actions.map_err(|breaches| {
            CommandError(
                Code::PlanConflict,
                Failure::PlanConflict(breaches).sentence(),
            )
        })?;
        DeployRequest {
            actions,
            saved_plan: Some(&contract),
            artifact,
            waiting,
        }
    } else {
        DeployRequest {
            actions: preconditions::actions(&plan, snapshot, options),
            saved_plan: None,
            artifact,
            waiting,
        }
    };
    finish(target, matches, snapshot, namespace, &request, options).await
}

async fn finish(
    target: &Target,
    matches: &ArgMatches,
    snapshot: &mut Snapshot,
    namespace: &str,
    order: &DeployRequest<'_>,
    options: &Options,
) -> Result<Code, CommandError> {
    let progress = |line: &str| target.print_stderr(line);
    let mut deployed = deploy(&target.api, snapshot, order, options, &progress).await?;
    for note in &deployed.notes {
        target.print_stderr(&format!("note: {note}"));
    }
    let code = deployed.failure.as_ref().map_or(Code::Done, exit_code_for);
    if code == Code::NotReady && target.deploy.roll_back {
        let told = roll_back(target, snapshot, namespace, order.artifact.as_deref()).await;
        target.print_stderr(&format!("note: {told}"));
        deployed.notes.push(told);
    }
    report(target, matches, &deployed);
    Ok(code)
}

/// Rolls back to the last artifact that succeeded, if there is one. Returns a sentence about the
/// outcome.
async fn roll_back(
    target: &Target,
    snapshot: &mut Snapshot,
    namespace: &str,
    from: Option<&str>,
) -> String {
    let mut pulled = None;
    let pull = async |artifact: &str| {
        // Kept, so that its secrets stay masked.
        let source = pulled.insert(
            target
                .pull(artifact)
                .await
                .map_err(|CommandError(_, message)| message)?,
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
    let outcome = rollback
        .run(snapshot, pull, &|line: &str| target.print_stderr(line))
        .await;
    target.redactor.mask(&outcome).into_owned()
}

/// Prints the changes that were made, and the error if the deploy failed.
pub fn report(target: &Target, matches: &ArgMatches, deployed: &DeployResult) {
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
    print_escaped(&target.redactor.mask(&text));
    if let Some(failure) = &deployed.failure {
        print_error(&target.redactor.mask(&failure.sentence()), "");
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
