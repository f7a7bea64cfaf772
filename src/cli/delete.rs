//! `delete`: tears a component down.

use std::collections::HashMap;
use std::time::Duration;

use clap::{ArgMatches, Command};
use serde_json::json;

use super::cluster::{
    Sources, confirm, dry_run_argument, run as run_on, with_source, with_target, yes_argument,
};
use super::plan::{VERSION, summary};
use super::{Code, apply, changes, input, tell};
use crate::cluster::rollout::deploy::{Deployed, Failure};
use crate::cluster::rollout::snapshot::Survey;
use crate::cluster::rollout::teardown::{Teardown, teardown};
use crate::plan::changeset::{DiffEntry, ResourceDiff};

/// How long objects may take to go, where no time to wait is set.
const PATIENCE: Duration = Duration::from_secs(600);

/// Its arguments.
pub fn command() -> Command {
    let command = Command::new("delete")
        .about("Deletes the objects of a component, and waits until they are gone; may be repeated")
        .arg(yes_argument())
        .arg(dry_run_argument())
        .arg(input::output_argument());
    with_target(with_source(command, "oci://REFERENCE of an artifact"))
}

/// Runs it.
pub fn run(matches: &ArgMatches, environment: &HashMap<String, String>) -> Code {
    run_on(
        matches,
        environment,
        Sources::OneOrComponent,
        async |target| {
            let is_named = ["filename", "kustomize", "SOURCE"]
                .iter()
                .any(|name| matches.contains_id(name));
            let mut source = match &target.component {
                // What is in the inventory is known without a manifest.
                Some(_) if !is_named => target.known(Vec::new(), None),
                _ => target.source(matches).await?,
            };
            let objects = std::mem::take(&mut source.objects);
            let survey = Survey::to_tear_down(
                &target.api,
                objects,
                &target.namespace,
                target.component.as_ref(),
            );
            let mut survey = survey.await?;
            if let Some(inventory) = survey
                .inventory
                .as_ref()
                .filter(|inventory| !inventory.is_stored())
            {
                target.say(&format!(
                    "note: there is no inventory {}",
                    inventory.subject()
                ));
            }
            let options = &target.deploy.options;
            let plan = Teardown::plan(&target.api, &survey, options).await?;
            for note in survey.notes.iter().chain(&plan.notes) {
                target.say(&format!("note: {note}"));
            }
            if matches.get_flag("dry-run") {
                let diffs = plan.changes(&survey);
                let code = if diffs.is_empty() {
                    Code::Done
                } else {
                    Code::Changes
                };
                tell(&target.redactor.mask(&planned(matches, &diffs, &plan.notes)));
                return Ok(code);
            }
            for object in &plan.objects {
                target.say(&format!("- {}", object.subject()));
            }
            if !plan.objects.is_empty() && !confirm(target, matches, "delete?").await? {
                return Ok(Code::Done);
            }
            let patience = target.deploy.wait_timeout().unwrap_or(PATIENCE);
            let torn = teardown(&target.api, &mut survey, &plan, options, patience).await;
            let failure = (!torn.left.is_empty()).then(|| Failure::Refused {
                errors: torn.left,
                by_guard: false,
                is_forbidden: torn.is_forbidden,
            });
            let code = failure.as_ref().map_or(Code::Done, super::cluster::code_of);
            apply::report(
                target,
                matches,
                &Deployed {
                    diffs: torn.diffs,
                    notes: plan.notes,
                    failure,
                },
            );
            Ok(code)
        },
    )
}

/// What would be deleted.
fn planned(matches: &ArgMatches, diffs: &[ResourceDiff], notes: &[String]) -> String {
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
