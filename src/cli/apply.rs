//! `apply`: applies objects to a cluster.

use std::collections::HashMap;

use clap::{ArgMatches, Command};
use serde_json::json;

use super::cluster::{
    AcceptedInput, ClusterTarget, InputObjects, Scope, adopt_argument, confirm, dry_run_argument,
    run as run_on, with_source, with_target, yes_argument,
};
use super::error::{CommandError, exit_code_for};
use super::plan::{self, VERSION, load};
use super::{Code, input, print_error, print_escaped};
use crate::cluster::rollout::deploy::{DeployRequest, DeployResult};
use crate::cluster::rollout::failure::DeployFailure;
use crate::cluster::rollout::snapshot::Snapshot;
use crate::deployment::Deployment;
use crate::plan::changeset::{ChangeKind, ResourceDiff};
use crate::registry::reference::Reference;

pub fn command() -> Command {
    let command = Command::new("apply")
        .about(
            "Applies objects, waits until they are ready, and prunes what is no longer part of \
             the component",
        )
        .arg(adopt_argument())
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
                .filter(|source| !Reference::is_meant(source));
            match file {
                Some(file) => apply_saved(target, matches, file).await,
                None => {
                    let source = target.load_objects(matches).await?;
                    match matches.get_flag("dry-run") {
                        true => plan::plan_and_print(target, matches, source).await,
                        false => plan_and_apply(target, matches, source).await,
                    }
                }
            }
        },
    )
}

/// Applies a saved plan, if it still matches the cluster.
async fn apply_saved(
    target: &ClusterTarget,
    matches: &ArgMatches,
    file: &str,
) -> Result<Code, CommandError> {
    let mut saved = load(file)?;
    saved.check_flags(matches)?;
    // Kept, so that its secrets stay masked.
    let mut source =
        target.with_masked_secrets(std::mem::take(&mut saved.objects), saved.artifact.clone());
    let objects = std::mem::take(&mut source.objects);
    let options = saved.options(&target.deploy.options);
    let component = saved.component();
    let scope = Scope {
        options: &options,
        namespace: &saved.namespace,
        component: component.as_ref(),
        artifact: saved.artifact.as_deref(),
    };
    let deployment = target.deployment(scope);
    let snapshot = deployment.snapshot(objects).await?;
    let approved = match deployment.approve(&saved.contract, &snapshot).await {
        Err(failure) => return Ok(refuse(target, matches, failure)),
        Ok(approved) => approved,
    };
    match approved {
        Some(_) if matches.get_flag("dry-run") => {
            target.print_stderr("the plan still fits; what an apply of it would change now:");
            let plan = plan::preview(target, matches, &deployment, &snapshot).await?;
            Ok(plan::code_of(&plan))
        }
        Some(request) => finish(target, matches, &deployment, &snapshot, request).await,
        None => {
            let options = target.options();
            let deployment = target.deployment(Scope {
                options: &options,
                ..scope
            });
            confirm_and_apply(target, matches, &deployment, &snapshot).await
        }
    }
}

/// Plans and applies in one step.
pub async fn plan_and_apply(
    target: &ClusterTarget,
    matches: &ArgMatches,
    mut source: InputObjects,
) -> Result<Code, CommandError> {
    let options = target.options();
    let deployment = target.deployment(target.scope(&options, source.artifact.as_deref()));
    let objects = std::mem::take(&mut source.objects);
    let snapshot = deployment.snapshot(objects).await?;
    confirm_and_apply(target, matches, &deployment, &snapshot).await
}

/// Plans, asks, and applies. A plan that the user saw and confirmed counts as approved, so it may
/// delete what it lists.
async fn confirm_and_apply(
    target: &ClusterTarget,
    matches: &ArgMatches,
    deployment: &Deployment<'_>,
    snapshot: &Snapshot,
) -> Result<Code, CommandError> {
    let plan = deployment.plan(snapshot).await?;
    if let Some(failure) = plan.refusal() {
        return Ok(refuse(target, matches, failure));
    }
    deployment.note_other_namespaces(snapshot).await;
    for note in &snapshot.notes {
        deployment.progress.note(note);
    }
    let needs_confirmation = !matches.get_flag("yes");
    if needs_confirmation && !plan.is_noop() {
        target.print_stderr(plan::text(&plan).trim_end());
        let place = target.place(deployment.namespace);
        let counts = plan::summary(plan.changes());
        let question = format!("apply to {place}, {}?", counts.trim_end());
        if !confirm(target, matches, &question).await? {
            return Ok(declined(target));
        }
    }
    let options = deployment.options;
    let request = DeployRequest::of_plan(plan, snapshot, options, needs_confirmation);
    match request {
        Ok(request) => finish(target, matches, deployment, snapshot, request).await,
        Err(failure) => Ok(refuse(target, matches, failure)),
    }
}

/// Reports a failure before anything was done, and returns the exit code for it.
fn refuse(target: &ClusterTarget, matches: &ArgMatches, failure: DeployFailure) -> Code {
    let code = exit_code_for(&failure);
    report(target, matches, &failure.into());
    code
}

/// Says that nothing was done, and returns the exit code for it.
pub fn declined(target: &ClusterTarget) -> Code {
    target.print_stderr("not confirmed; nothing was changed");
    Code::Declined
}

async fn finish(
    target: &ClusterTarget,
    matches: &ArgMatches,
    deployment: &Deployment<'_>,
    snapshot: &Snapshot,
    request: DeployRequest<'_>,
) -> Result<Code, CommandError> {
    let mut pulled = None;
    let pull = async |artifact: &str| {
        // Kept, so that its secrets stay masked.
        let source = pulled.insert(target.pull(artifact).await?);
        Ok::<_, CommandError>(std::mem::take(&mut source.objects))
    };
    let deployed = deployment.deploy(snapshot, request, pull).await?;
    report(target, matches, &deployed);
    Ok(deployed.failure.as_ref().map_or(Code::Done, exit_code_for))
}

/// Prints the changes that were made, and the error if the deploy failed.
pub fn report(target: &ClusterTarget, matches: &ArgMatches, deployed: &DeployResult) {
    let text = if input::wants_json(matches) {
        input::document(&json!({
            "schema_version": VERSION, "changes": deployed.diffs, "notes": deployed.notes,
            "failure": deployed.failure.as_ref().map(DeployFailure::document),
        }))
    } else {
        let changed = deployed
            .diffs
            .iter()
            .filter(|diff| diff.change != ChangeKind::Unchanged);
        let lines = changed.map(|diff| format!("{} {}\n", diff.word(), diff.subject()));
        // A failure before the first write says enough.
        let is_begun = deployed.failure.is_none() || !deployed.diffs.is_empty();
        let summary = is_begun.then(|| summary(&deployed.diffs));
        lines.chain(summary).collect()
    };
    print_escaped(&target.redactor.mask(&text));
    if let Some(failure) = &deployed.failure {
        print_error(&target.redactor.mask(&failure.sentence()), "");
    }
}

fn summary(diffs: &[ResourceDiff]) -> String {
    let (replaced, diffs): (Vec<_>, Vec<_>) = diffs.iter().partition(|diff| diff.is_recreated());
    let count = |change: ChangeKind| diffs.iter().filter(|diff| diff.change == change).count();
    let [added, modified, removed, same] = [
        ChangeKind::Added,
        ChangeKind::Modified,
        ChangeKind::Removed,
        ChangeKind::Unchanged,
    ]
    .map(count);
    let replaced = match replaced.len() {
        0 => String::new(),
        count => format!("{count} replaced, "),
    };
    format!("{added} created, {modified} changed, {replaced}{removed} deleted, {same} unchanged\n")
}
