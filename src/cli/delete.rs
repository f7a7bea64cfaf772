//! `delete`: tears down a component.

use std::collections::HashMap;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::json;

use super::cluster::{
    AcceptedInput, ClusterTarget, confirm, dry_run_argument, run as run_on, with_source,
    with_target, yes_argument,
};
use super::error::{CommandError, exit_code_for};
use super::plan::{VERSION, summary};
use super::{Code, apply, changes, input, print_escaped};
use crate::cluster::rollout::snapshot::Snapshot;
use crate::cluster::rollout::teardown::WithContents;
use crate::plan::changeset::{DiffEntry, ResourceDiff};

/// Time that the deletions may take if no wait timeout is set.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(600);

pub fn command() -> Command {
    let command = Command::new("delete")
        .about("Deletes the objects of a component, and waits until they are gone")
        .arg(yes_argument())
        .arg(dry_run_argument())
        .arg(
            Arg::new("with-contents")
                .long("with-contents")
                .action(ArgAction::SetTrue)
                .help("Also deletes namespaces and CRDs that hold objects of others, with all that they hold; without this they stay"),
        )
        .arg(input::output_argument());
    with_target(with_source(command, "oci://REFERENCE of an artifact"))
}

pub fn run(matches: &ArgMatches, environment: &HashMap<String, String>) -> Code {
    run_on(
        matches,
        environment,
        AcceptedInput::ObjectsOrComponent,
        async |target| {
            let has_input = ["filename", "kustomize", "SOURCE"]
                .iter()
                .any(|name| matches.contains_id(name));
            let mut source = match &target.component {
                // The inventory lists the objects, so no manifest is needed.
                Some(_) if !has_input => target.with_masked_secrets(Vec::new(), None),
                _ => target.load_objects(matches).await?,
            };
            let objects = std::mem::take(&mut source.objects);
            let options = &target.deploy.options;
            let deployment = target.deployment(target.scope(options, None));
            let snapshot = deployment.teardown_snapshot(objects).await?;
            note_missing_inventory(target, &snapshot, has_input).await?;
            let plan = deployment
                .plan_teardown(&snapshot, with_contents(matches))
                .await?;
            if matches.get_flag("dry-run") {
                let diffs = plan.changes(&snapshot);
                let code = if diffs.is_empty() {
                    Code::Done
                } else {
                    Code::Changes
                };
                print_escaped(
                    &target
                        .redactor
                        .mask(&format_planned(matches, &diffs, &plan.notes)),
                );
                return Ok(code);
            }
            for object in &plan.objects {
                target.print_stderr(&format!("- {}", object.subject()));
            }
            let count = plan.objects.len();
            let place = target.place(&target.namespace);
            let question = format!("delete {count} from {place}?");
            if count > 0 && !confirm(target, matches, &question).await? {
                return Ok(apply::declined(target));
            }
            let timeout = target.deploy.wait_timeout().unwrap_or(DEFAULT_TIMEOUT);
            let torn = deployment.tear_down(&snapshot, plan, None, timeout).await;
            apply::report(target, matches, &torn);
            let code = torn.failure.as_ref().map_or(Code::Done, exit_code_for);
            Ok(code)
        },
    )
}

/// Says that the component has no inventory.
///
/// # Errors
/// Fails if nothing else tells what is to be deleted.
async fn note_missing_inventory(
    target: &ClusterTarget,
    snapshot: &Snapshot,
    has_input: bool,
) -> Result<(), CommandError> {
    let inventory = snapshot.inventory.as_ref();
    let Some(missing) = inventory.filter(|inventory| !inventory.is_stored()) else {
        return Ok(());
    };
    if !has_input {
        return Err(target
            .no_inventory(&snapshot.served, &missing.component)
            .await);
    }
    target.print_stderr(&format!(
        "note: there is no inventory {}",
        missing.subject()
    ));
    Ok(())
}

fn with_contents(matches: &ArgMatches) -> WithContents<'static> {
    match matches.get_flag("with-contents") {
        true => WithContents::Delete,
        false => WithContents::Keep,
    }
}

/// Formats the planned deletions of a dry run.
fn format_planned(matches: &ArgMatches, diffs: &[ResourceDiff], notes: &[String]) -> String {
    if input::wants_json(matches) {
        return input::document(
            &json!({"schema_version": VERSION, "changes": diffs, "notes": notes}),
        );
    }
    let lines = diffs.iter().map(|diff| {
        changes::text(&ResourceDiff {
            entries: Vec::<DiffEntry>::new(),
            ..diff.clone()
        })
    });
    lines.chain([summary(diffs.iter())]).collect()
}
