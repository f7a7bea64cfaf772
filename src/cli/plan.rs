//! `plan` and `plan show`: what an apply would change.

use std::collections::HashMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::cluster::{Source, Sources, Stopped, Target, run as run_on, with_source, with_target};
use super::{Code, answer, changes, input, tell};
use crate::cluster::fields::policy::FieldPolicy;
use crate::cluster::health::wait::unhealthy;
use crate::cluster::rollout::deploy::some;
use crate::cluster::rollout::inventory::Component;
use crate::cluster::rollout::options::Options;
use crate::cluster::rollout::plan::{Entry, Owned, Plan, newly_wanted, plan};
use crate::cluster::rollout::prune::Deletion;
use crate::cluster::rollout::snapshot::Survey;
use crate::deployment::images::look_up;
use crate::manifest::Object;
use crate::plan::changeset::{Change, DiffEntry, PlanContents, ResourceDiff};
use crate::plan::contents::unpack;
use crate::plan::contract::{self, Contract};

/// The version of saved plans and of the command's documents.
pub const VERSION: u32 = 1;

/// A saved plan as it is applied. It holds the objects, so Secrets too: it is written for its owner alone.
#[derive(Deserialize)]
pub struct Saved {
    schema_version: u32,
    pub namespace: String,
    #[serde(default)]
    component: Option<String>,
    #[serde(default)]
    pub artifact: Option<String>,
    pub objects: Vec<Object>,
    pub contract: Contract,
    /// The key of the contract's fingerprints, in hexadecimal digits.
    key: String,
}

/// What of a saved plan is shown.
#[derive(Deserialize)]
struct Shown {
    namespace: Option<String>,
    component: Option<String>,
    artifact: Option<String>,
    changes: Vec<ResourceDiff>,
    notes: Vec<String>,
}

/// A plan as it is saved.
#[derive(Serialize)]
struct Saving<'a> {
    schema_version: u32,
    namespace: &'a str,
    component: Option<&'a str>,
    artifact: Option<&'a str>,
    objects: &'a [Object],
    contract: Contract,
    key: String,
    changes: Vec<&'a ResourceDiff>,
    notes: &'a [String],
}

/// Its arguments.
pub fn command() -> Command {
    let show = Command::new("show")
        .about("Prints a saved plan, or plan contents of the control plane")
        .arg(
            Arg::new("PLAN")
                .required(true)
                .help("File of a plan; - for standard input"),
        )
        .arg(input::output_argument());
    let command = Command::new("plan")
        .about("Tells what an apply would change; nothing is changed")
        .subcommand(show)
        .args_conflicts_with_subcommands(true)
        .arg(
            Arg::new("out")
                .long("out")
                .value_name("PLAN")
                .help("Saves the plan, for apply PLAN"),
        )
        .arg(input::output_argument());
    with_target(with_source(command, "oci://REFERENCE of an artifact"))
}

/// Runs it.
pub fn run(matches: &ArgMatches, environment: &HashMap<String, String>) -> Code {
    if let Some(("show", matches)) = matches.subcommand() {
        return show(matches);
    }
    run_on(matches, environment, Sources::One, async |target| {
        fresh(target, matches).await
    })
}

/// Plans, prints the plan, and saves it if that is asked for.
pub async fn fresh(target: &Target, matches: &ArgMatches) -> Result<Code, Stopped> {
    let mut source = target.source(matches).await?;
    let survey = survey(target, &mut source).await?;
    let options = target.options();
    let look = async {
        let objects = newly_wanted(&survey, &options);
        let is_wanted = target.deploy.check_images;
        let objects = if is_wanted { objects } else { Vec::new() };
        look_up(
            &target.api,
            &survey,
            &objects,
            &target.clients.registries,
            &target.clock,
        )
        .await
    };
    let (plan, faults) = tokio::join!(plan(&target.api, &survey, &options), look);
    let mut plan = plan?;
    plan.notes.extend(survey.notes.iter().cloned());
    plan.notes.extend(faults);
    if plan.is_noop() {
        let deploys = &target.deploy;
        plan.notes
            .extend(unhealthy(survey.present(), &deploys.rules, target.clock.now()).await);
    }
    tell(&target.redactor.mask(&if input::wants_json(matches) {
        document(target, source.artifact.as_deref(), &plan)
    } else {
        text(&plan)
    }));
    refused(&plan)?;
    if let Some(file) = matches.try_get_one::<String>("out").ok().flatten() {
        save(
            file,
            target,
            source.artifact.as_deref(),
            &survey,
            &plan,
            &options,
        )?;
    }
    Ok(if plan.is_noop() {
        Code::Done
    } else {
        Code::Changes
    })
}

/// Looks the objects of a source up.
pub async fn survey(target: &Target, source: &mut Source) -> Result<Survey, Stopped> {
    let objects = std::mem::take(&mut source.objects);
    Ok(Survey::take(
        &target.api,
        objects,
        &target.namespace,
        target.component.as_ref(),
    )
    .await?)
}

/// Fails if the cluster refuses objects.
pub fn refused(plan: &Plan) -> Result<(), Stopped> {
    let errors = plan.errors();
    if errors.is_empty() {
        return Ok(());
    }
    let code = match plan {
        plan if plan.entries.iter().any(|entry| entry.by_guard) => Code::Guarded,
        plan if plan.entries.iter().any(|entry| entry.is_forbidden) => Code::Forbidden,
        _ => Code::Error,
    };
    let (count, of) = (errors.len(), plan.entries.len());
    Err(Stopped(
        code,
        format!(
            "{count} of {of} objects are refused: {}",
            some(errors.into_iter())
        ),
    ))
}

fn save(
    file: &str,
    target: &Target,
    artifact: Option<&str>,
    survey: &Survey,
    plan: &Plan,
    options: &Options,
) -> Result<(), String> {
    let saving = Saving {
        schema_version: VERSION,
        namespace: &target.namespace,
        component: target
            .component
            .as_ref()
            .map(|component| component.name.as_str()),
        artifact,
        objects: &survey.objects,
        contract: Contract {
            artifact: artifact.map(str::to_owned),
            ..plan.contract(survey, options)
        },
        key: options
            .fields
            .key
            .as_deref()
            .map(hex::encode)
            .unwrap_or_default(),
        changes: plan.changes().collect(),
        notes: &plan.notes,
    };
    let failed = |error: std::io::Error| format!("cannot write {file}: {error}");
    // Beside the file first: what is cut short must not pass for a plan, and nobody else may read it for a moment.
    let beside = format!("{file}.{:08x}.new", rand::random::<u32>());
    let mut open = std::fs::OpenOptions::new();
    let out = open
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)
        .map_err(failed)?;
    let mut out = std::io::BufWriter::new(out);
    let written = serde_json::to_writer(&mut out, &saving).map_err(std::io::Error::from);
    let written = written
        .and_then(|()| out.flush())
        .and_then(|()| out.get_ref().sync_all());
    written
        .and_then(|()| std::fs::rename(&beside, file))
        .map_err(|error| {
            // What is left of it is of no use to anybody.
            let _ = std::fs::remove_file(&beside);
            failed(error)
        })
}

/// Reads a saved plan.
pub fn load(file: &str) -> Result<Saved, String> {
    let saved: Saved =
        serde_json::from_slice(&input::read(file)?).map_err(|error| no_plan(file, &error))?;
    let versions = (saved.schema_version, saved.contract.schema_version);
    if versions != (VERSION, contract::VERSION) {
        return Err(format!(
            "{file} is a plan of another version than this program knows; plan again"
        ));
    }
    Ok(saved)
}

impl Saved {
    /// How it is applied: by its own key.
    pub fn options(&self, options: &Options) -> Options {
        Options {
            fields: FieldPolicy {
                key: hex::decode(&self.key).ok().map(Into::into),
                ..options.fields.clone()
            },
            ..options.clone()
        }
    }

    /// Refuses arguments that name another namespace or component.
    pub fn contradicts(&self, matches: &ArgMatches) -> Result<(), Stopped> {
        let planned = [
            ("namespace", Some(self.namespace.as_str())),
            ("component", self.component.as_deref()),
        ];
        for (name, planned) in planned {
            let is_typed = matches.value_source(name) == Some(ValueSource::CommandLine);
            let asked = matches
                .get_one::<String>(name)
                .map(String::as_str)
                .filter(|_| is_typed);
            if asked.is_some() && asked != planned {
                let planned = planned.unwrap_or("none");
                return Err(Stopped(
                    Code::Usage,
                    format!("the plan was made for the {name} {planned}; leave --{name} out"),
                ));
            }
        }
        Ok(())
    }

    /// Whose inventory is kept.
    pub fn component(&self) -> Option<Component> {
        let namespace = self.namespace.clone();
        self.component
            .clone()
            .map(|name| Component { name, namespace })
    }
}

fn show(matches: &ArgMatches) -> Code {
    let file = matches
        .get_one::<String>("PLAN")
        .map(String::as_str)
        .unwrap_or_default();
    answer(shown(file).map(|shown| {
        if input::wants_json(matches) {
            let Shown { namespace, component, artifact, changes, notes } = shown;
            input::document(&json!({
                "schema_version": VERSION, "namespace": namespace, "component": component, "artifact": artifact,
                "changes": changes, "notes": notes,
            }))
        } else {
            let artifact = shown.artifact.iter().map(|artifact| format!("# of {artifact}\n"));
            let changes = shown.changes.iter().map(changes::text);
            artifact.chain(changes).chain([summary(shown.changes.iter())]).collect()
        }
    }))
}

/// A saved plan, or the contents of one as the control plane keeps them, packed or not.
fn shown(file: &str) -> Result<Shown, String> {
    let bytes = input::read(file)?;
    serde_json::from_slice(&bytes).or_else(|error| {
        let contents = std::str::from_utf8(&bytes)
            .ok()
            .and_then(|text| unpack(text).ok());
        let contents = contents.and_then(|text| serde_json::from_str::<PlanContents>(&text).ok());
        let contents = contents.ok_or_else(|| no_plan(file, &error))?;
        let PlanContents {
            k8s_content_diff: mut changes,
            runner,
            ..
        } = contents;
        if runner.is_none() {
            // The program that is replaced masks nothing.
            for secret in changes.iter_mut().filter(|diff| diff.kind == "Secret") {
                secret.entries = vec![DiffEntry::line(
                    None,
                    secret.change,
                    "its values are not shown".into(),
                )];
            }
        }
        let artifact = runner.and_then(|contract| contract.artifact);
        Ok(Shown {
            namespace: None,
            component: None,
            artifact,
            changes,
            notes: Vec::new(),
        })
    })
}

fn no_plan(file: &str, error: &serde_json::Error) -> String {
    let place = format!("line {}, column {}", error.line(), error.column());
    format!("{file} is no saved plan ({place}); make one by plan --out")
}

fn document(target: &Target, artifact: Option<&str>, plan: &Plan) -> String {
    let owned = |owned: &Owned| json!({"path": owned.path, "manager": owned.manager, "operation": owned.operation, "time": owned.time});
    let entry = |entry: &Entry| {
        json!({
            "object": entry.id.to_string(), "type": entry.diff.change, "checked": entry.checked.words(),
            "taken": entry.taken.iter().map(owned).collect::<Vec<_>>(),
            "drift": entry.drift.iter().map(owned).collect::<Vec<_>>(), "recreated": entry.recreate,
        })
    };
    let deletion = |deletion: &Deletion| json!({"object": deletion.id.to_string(), "needs_plan": deletion.needs_plan});
    let [added, modified, removed] = counts(plan.changes());
    input::document(&json!({
        "schema_version": VERSION, "namespace": target.namespace,
        "component": target.component.as_ref().map(|component| &component.name), "artifact": artifact,
        "counts": {"create": added, "change": modified, "delete": removed},
        "objects": plan.entries.iter().map(entry).collect::<Vec<_>>(),
        "deletions": plan.deletions.iter().map(deletion).collect::<Vec<_>>(),
        "changes": plan.changes().collect::<Vec<_>>(), "notes": plan.notes,
    }))
}

/// The plan for people: each change, who owns what would be taken, and a summary.
pub fn text(plan: &Plan) -> String {
    let mut text = String::new();
    for entry in plan
        .entries
        .iter()
        .filter(|entry| entry.diff.change != Change::Unchanged)
    {
        text.push_str(&changes::text(&entry.diff));
        text.push_str(&format!(
            "    ({}{})\n",
            entry.checked.words(),
            if entry.recreate {
                "; deleted and made again"
            } else {
                ""
            }
        ));
        text.extend(entry.remarks().map(|remark| format!("    {remark}\n")));
    }
    for deletion in &plan.deletions {
        text.push_str(&format!(
            "- {} (no longer part of the component)\n",
            deletion.id
        ));
        text.extend(
            deletion
                .needs_plan
                .iter()
                .map(|reason| format!("    {reason}\n")),
        );
    }
    text.extend(plan.notes.iter().map(|note| format!("# {note}\n")));
    text.push_str(&summary(plan.changes()));
    text
}

/// How many objects come, change and go.
fn counts<'a>(diffs: impl Iterator<Item = &'a ResourceDiff> + Clone) -> [usize; 3] {
    [Change::Added, Change::Modified, Change::Removed]
        .map(|change| diffs.clone().filter(|diff| diff.change == change).count())
}

/// The counts in a line.
pub fn summary<'a>(diffs: impl Iterator<Item = &'a ResourceDiff> + Clone) -> String {
    match counts(diffs) {
        [0, 0, 0] => "nothing would change\n".into(),
        [added, modified, removed] => {
            format!("{added} to create, {modified} to change, {removed} to delete\n")
        }
    }
}
