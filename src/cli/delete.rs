//! `delete`: tears a component down.

use std::collections::HashMap;
use std::time::Duration;

use clap::{ArgMatches, Command};

use super::cluster::{Sources, confirm, dry_run_argument, run as run_on, with_source, with_target, yes_argument};
use super::plan::survey;
use super::{Code, apply, input};
use crate::cluster::deploy::{Deployed, Failure};
use crate::cluster::teardown::{Teardown, teardown};

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
    run_on(matches, environment, Sources::OneOrComponent, async |target| {
        let is_named = ["filename", "kustomize", "SOURCE"].iter().any(|name| matches.contains_id(name));
        let mut source = match &target.component {
            // What is in the inventory is known without a manifest.
            Some(_) if !is_named => target.known(Vec::new(), None),
            _ => target.source(matches).await?,
        };
        let mut survey = survey(target, &mut source).await?;
        if let Some(inventory) = survey.inventory.as_ref().filter(|inventory| !inventory.is_stored()) {
            target.say(&format!("note: there is no inventory {}", inventory.subject()));
        }
        let options = &target.parts.deploys.options;
        let plan = Teardown::plan(&target.api, &survey, options).await?;
        for note in &plan.notes {
            target.say(&format!("note: {note}"));
        }
        for object in &plan.objects {
            target.say(&format!("- {}", object.subject()));
        }
        if matches.get_flag("dry-run") {
            return Ok(if plan.objects.is_empty() { Code::Done } else { Code::Changes });
        }
        if !plan.objects.is_empty() && !confirm(target, matches, "delete?").await? {
            return Ok(Code::Done);
        }
        let patience = target.parts.deploys.wait_timeout().unwrap_or(PATIENCE);
        let torn = teardown(&target.api, &mut survey, &plan, options, patience).await;
        let failure = (!torn.left.is_empty()).then(|| Failure::Refused {
            errors: torn.left,
            by_guard: false,
            is_forbidden: torn.is_forbidden,
        });
        let code = failure.as_ref().map_or(Code::Done, super::cluster::code_of);
        apply::report(target, matches, &Deployed { diffs: torn.diffs, notes: Vec::new(), failure });
        Ok(code)
    })
}
