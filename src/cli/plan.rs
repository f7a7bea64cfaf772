//! `plan` and `plan show`: show what an apply would change.

mod text;

use std::collections::HashMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};
use serde::{Deserialize, Serialize};
use serde_json::json;
use text::{Counts, counts};
pub use text::{summary, text};

use super::cluster::{
    AcceptedInput, ClusterTarget, InputObjects, adopt_argument, run as run_on, with_source,
    with_target,
};
use super::error::{CommandError, exit_code_for};
use super::{Code, changes, input, print_escaped, print_result};
use crate::cluster::fields::policy::FieldPolicy;
use crate::cluster::rollout::inventory::Component;
use crate::cluster::rollout::options::Options;
use crate::cluster::rollout::others::OwnedField;
use crate::cluster::rollout::plan::{Entry, Plan};
use crate::cluster::rollout::prune::Deletion;
use crate::cluster::rollout::snapshot::Snapshot;
use crate::deployment::Deployment;
use crate::manifest::Object;
use crate::plan::changeset::{DiffEntry, PlanContents, ResourceDiff};
use crate::plan::contents::unpack;
use crate::plan::saved_plan;
use crate::plan::saved_plan::SavedPlan;

/// Schema version of saved plans and of the commands' JSON output.
pub const VERSION: u32 = 1;

/// A saved plan, as it is read to be applied. It contains the objects, Secrets included, so only
/// its owner may read the file.
#[derive(Deserialize)]
pub struct PlanFile {
    schema_version: u32,
    pub namespace: String,
    #[serde(default)]
    component: Option<String>,
    #[serde(default)]
    pub artifact: Option<String>,
    pub objects: Vec<Object>,
    pub contract: SavedPlan,
    /// Key of the hashes in `contract`, in hexadecimal.
    key: String,
}

/// The parts of a saved plan that `plan show` prints.
#[derive(Deserialize)]
struct DisplayedPlan {
    namespace: Option<String>,
    component: Option<String>,
    artifact: Option<String>,
    changes: Vec<ResourceDiff>,
    notes: Vec<String>,
}

/// A saved plan, as it is written.
#[derive(Serialize)]
struct NewPlanFile<'a> {
    schema_version: u32,
    namespace: &'a str,
    component: Option<&'a str>,
    artifact: Option<&'a str>,
    objects: &'a [Object],
    contract: SavedPlan,
    key: String,
    changes: Vec<&'a ResourceDiff>,
    notes: &'a [String],
}

pub fn command() -> Command {
    let show = Command::new("show")
        .about("Prints a saved plan, or plan contents of the control plane")
        .arg(
            Arg::new("PLAN")
                .required(true)
                .help("Plan file; - for standard input"),
        )
        .arg(input::output_argument());
    let command = Command::new("plan")
        .about("Shows what an apply would change, without changing anything")
        .subcommand(show)
        .args_conflicts_with_subcommands(true)
        .arg(adopt_argument())
        .arg(
            Arg::new("out")
                .long("out")
                .value_name("PLAN")
                .help("Saves the plan, for apply PLAN"),
        )
        .arg(input::output_argument());
    with_target(with_source(command, "oci://REFERENCE of an artifact"))
}

pub fn run(matches: &ArgMatches, environment: &HashMap<String, String>) -> Code {
    if let Some(("show", matches)) = matches.subcommand() {
        return show(matches);
    }
    run_on(
        matches,
        environment,
        AcceptedInput::Objects,
        async |target| {
            let source = target.load_objects(matches).await?;
            plan_and_print(target, matches, source).await
        },
    )
}

/// Plans, prints the plan, and saves it if `--out` is given.
pub async fn plan_and_print(
    target: &ClusterTarget,
    matches: &ArgMatches,
    mut source: InputObjects,
) -> Result<Code, CommandError> {
    let options = target.options();
    let objects = std::mem::take(&mut source.objects);
    let deployment = target.deployment(target.scope(&options, source.artifact.as_deref()));
    let snapshot = deployment.snapshot(objects).await?;
    let plan = preview(target, matches, &deployment, &snapshot).await?;
    if let Some(file) = matches.try_get_one::<String>("out").ok().flatten() {
        save(
            file,
            target,
            source.artifact.as_deref(),
            &snapshot,
            &plan,
            &options,
        )?;
    }
    Ok(code_of(&plan))
}

/// Plans, and prints the plan.
///
/// # Errors
/// Fails if the plan cannot be made, or objects are refused.
pub async fn preview<'s>(
    target: &ClusterTarget,
    matches: &ArgMatches,
    deployment: &Deployment<'_>,
    snapshot: &'s Snapshot,
) -> Result<Plan<'s>, CommandError> {
    let plan = deployment.preview(snapshot).await?;
    print_escaped(&target.redactor.mask(&if input::wants_json(matches) {
        document(deployment, &plan)
    } else {
        text(&plan)
    }));
    let Some(failure) = plan.refusal() else {
        return Ok(plan);
    };
    // The reasons are printed with the plan.
    let refused = plan.entries.iter().filter(|entry| entry.refusal.is_some());
    let (count, of) = (refused.count(), plan.entries.len());
    let message = format!("{count} of {of} objects are refused, see above");
    Err(CommandError(exit_code_for(&failure), message))
}

/// Returns the exit code of a plan that was printed.
pub fn code_of(plan: &Plan<'_>) -> Code {
    match plan.is_noop() {
        true => Code::Done,
        false => Code::Changes,
    }
}

fn save(
    file: &str,
    target: &ClusterTarget,
    artifact: Option<&str>,
    snapshot: &Snapshot,
    plan: &Plan<'_>,
    options: &Options,
) -> Result<(), CommandError> {
    let plan_file = NewPlanFile {
        schema_version: VERSION,
        namespace: &target.namespace,
        component: target
            .component
            .as_ref()
            .map(|component| component.name.as_str()),
        artifact,
        objects: &snapshot.objects,
        contract: SavedPlan {
            artifact: artifact.map(str::to_owned),
            ..plan.saved_plan(snapshot, options)
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
    // Writes to a temporary file first: a truncated file must not pass for a plan, and others must
    // not be able to read the plan at any time.
    let temporary = format!("{file}.{:08x}.new", rand::random::<u32>());
    let mut open = std::fs::OpenOptions::new();
    let out = open
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(failed)?;
    let mut out = std::io::BufWriter::new(out);
    let written = serde_json::to_writer(&mut out, &plan_file).map_err(std::io::Error::from);
    let written = written
        .and_then(|()| out.flush())
        .and_then(|()| out.get_ref().sync_all());
    written
        .and_then(|()| std::fs::rename(&temporary, file))
        .map_err(|error| {
            // The partial file is useless.
            let _ = std::fs::remove_file(&temporary);
            failed(error).into()
        })
}

/// Reads a saved plan and checks its versions.
pub fn load(file: &str) -> Result<PlanFile, CommandError> {
    let saved: PlanFile =
        serde_json::from_slice(&input::read(file)?).map_err(|error| not_a_plan(file, &error))?;
    let versions = (saved.schema_version, saved.contract.schema_version);
    if versions != (VERSION, saved_plan::VERSION) {
        return Err(format!(
            "{file} is a plan of a version that this program does not support; plan again"
        )
        .into());
    }
    Ok(saved)
}

impl PlanFile {
    /// Returns the options, with the plan's own hash key.
    pub fn options(&self, options: &Options) -> Options {
        Options {
            fields: FieldPolicy {
                key: hex::decode(&self.key).ok().map(Into::into),
                ..options.fields.clone()
            },
            ..options.clone()
        }
    }

    /// Fails if a command-line flag names another namespace or component than the plan.
    pub fn check_flags(&self, matches: &ArgMatches) -> Result<(), CommandError> {
        let planned = [
            ("namespace", Some(self.namespace.as_str())),
            ("component", self.component.as_deref()),
        ];
        for (name, planned) in planned {
            let is_typed = matches.value_source(name) == Some(ValueSource::CommandLine);
            let requested = matches
                .get_one::<String>(name)
                .map(String::as_str)
                .filter(|_| is_typed);
            if requested.is_some() && requested != planned {
                let planned = planned.unwrap_or("none");
                return Err(CommandError(
                    Code::Usage,
                    format!("the plan was made for the {name} {planned}; omit --{name}"),
                ));
            }
        }
        Ok(())
    }

    /// Returns the component whose inventory is updated.
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
    print_result(load_displayed(file).map(|shown| {
        if input::wants_json(matches) {
            let DisplayedPlan { namespace, component, artifact, changes, notes } = shown;
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

/// Reads a saved plan, or plan contents of the control plane, compressed or not.
fn load_displayed(file: &str) -> Result<DisplayedPlan, CommandError> {
    let bytes = input::read(file)?;
    serde_json::from_slice(&bytes).or_else(|error| {
        let contents = std::str::from_utf8(&bytes)
            .ok()
            .and_then(|text| unpack(text).ok());
        let contents = contents.and_then(|text| serde_json::from_str::<PlanContents>(&text).ok());
        let contents = contents.ok_or_else(|| not_a_plan(file, &error))?;
        let PlanContents {
            k8s_content_diff: mut changes,
            runner,
            ..
        } = contents;
        if runner.is_none() {
            // The Go runner masks nothing, so the values of Secrets are hidden here.
            for secret in changes.iter_mut().filter(|diff| diff.kind == "Secret") {
                secret.entries = vec![DiffEntry::line(
                    None,
                    secret.change,
                    "its values are not shown".into(),
                )];
            }
        }
        let artifact = runner.and_then(|contract| contract.artifact);
        Ok(DisplayedPlan {
            namespace: None,
            component: None,
            artifact,
            changes,
            notes: Vec::new(),
        })
    })
}

fn not_a_plan(file: &str, error: &serde_json::Error) -> String {
    let place = format!("line {}, column {}", error.line(), error.column());
    format!("{file} is not a saved plan ({place}); make one with plan --out")
}

fn document(deployment: &Deployment<'_>, plan: &Plan<'_>) -> String {
    let owned = |owned: &OwnedField| json!({"path": owned.path, "manager": owned.manager, "operation": owned.operation, "time": owned.time});
    let entry = |entry: &Entry<'_>| {
        json!({
            "object": entry.object.subject(), "type": entry.diff.change,
            "checked": entry.diff.error.is_none().then(|| entry.checked.words()), "error": entry.diff.error,
            "taken": entry.taken.iter().map(owned).collect::<Vec<_>>(),
            "drift": entry.drift.iter().map(owned).collect::<Vec<_>>(), "recreated": entry.recreate,
        })
    };
    let deletion = |deletion: &Deletion| json!({"object": deletion.id.to_string(), "needs_plan": deletion.needs_plan});
    let Counts {
        create,
        change,
        replace,
        delete,
        failed,
    } = counts(plan.changes());
    input::document(&json!({
        "schema_version": VERSION, "namespace": deployment.namespace,
        "component": deployment.component.map(|component| &component.name), "artifact": deployment.artifact,
        "counts": {"create": create, "change": change, "replace": replace, "delete": delete, "failed": failed},
        "objects": plan.entries.iter().map(entry).collect::<Vec<_>>(),
        "deletions": plan.pruning.deletions.iter().map(deletion).collect::<Vec<_>>(),
        "changes": plan.changes().collect::<Vec<_>>(), "notes": plan.notes,
    }))
}
