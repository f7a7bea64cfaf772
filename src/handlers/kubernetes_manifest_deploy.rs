//! `kubernetes-manifest-deploy`: pulls the artifact and plans, applies or tears down its objects.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::secrets::Secrets;
use super::{Parts, plan_text::PlanText};
use crate::cluster::plan::{Surveyed, survey};
use crate::cluster::{self, Api, apply, connect, teardown};
use crate::control::wire::ResultReport;
use crate::job::{JobKind, Operation};
use crate::kustomize;
use crate::manifest::{self, Object};
use crate::plan::changeset::{Change, Op, PlanContents, ResourceDiff};
use crate::plan::contents;
use crate::plan::deploy::DeployPlan;
use crate::registry::format::{self, Content};
use crate::registry::{Repository, Version};
use crate::worker::failure::because;
use crate::worker::handler::StepFuture;
use crate::worker::{Context, Failure, FailureKind, Handler, Outcome, Steps};

/// Time that is kept for the reports when a teardown waits.
const FOR_REPORTS: Duration = Duration::from_secs(30);

/// Deploys components.
pub struct Deploy {
    parts: Arc<Parts>,
    plans: Arc<PlanText>,
}

impl Deploy {
    /// A handler made of these parts.
    pub fn new(parts: Arc<Parts>, plans: Arc<PlanText>) -> Self {
        Self { parts, plans }
    }
}

impl Handler for Deploy {
    fn name(&self) -> &'static str {
        "kubernetes-manifest-deploy"
    }

    fn kinds(&self) -> &'static [JobKind] {
        &[JobKind::KubernetesManifestDeploy]
    }

    fn start(&self) -> Box<dyn Steps> {
        Box::new(Deploying {
            parts: self.parts.clone(),
            plans: self.plans.clone(),
            secrets: Secrets::default(),
            plan: None,
            task: None,
            objects: Vec::new(),
            api: None,
            surveyed: None,
        })
    }
}

struct Deploying {
    parts: Arc<Parts>,
    plans: Arc<PlanText>,
    secrets: Secrets,
    plan: Option<DeployPlan>,
    task: Option<Task>,
    objects: Vec<Object>,
    api: Option<Api>,
    surveyed: Option<Surveyed>,
}

/// What the job is asked for.
#[derive(Clone)]
enum Task {
    PlanApply,
    PlanTeardown,
    /// An approved plan: what it does, and its text.
    Approved(Op, String),
}

impl Steps for Deploying {
    fn fetch<'a>(&'a mut self, context: &'a Context) -> StepFuture<'a> {
        Box::pin(async move {
            let text = self.plans.fetch(context).await?;
            let plan = DeployPlan::parse(&text).map_err(because(FailureKind::Plan))?;
            self.secrets.learn(&context.redactor, plan.secrets());
            self.task = Some(read_task(&context.job.operation, &plan)?);
            self.plan = Some(plan);
            Ok(())
        })
    }

    fn exclusive(&self) -> Option<String> {
        self.plan.as_ref().map(|plan| format!("{}/{}", plan.install_id, plan.component_id))
    }

    fn initialize<'a>(&'a mut self, context: &'a Context) -> StepFuture<'a> {
        Box::pin(async move {
            let plan = self.plan.as_ref().ok_or_else(unprepared)?;
            let cluster = plan.manifest.cluster.as_ref();
            let api = connect::connect(cluster, &self.parts.network, &context.clock, &context.stop).await;
            self.api = Some(api.map_err(because(FailureKind::Cluster))?);
            self.objects = self.read_objects(plan, context).await?;
            self.secrets.learn_objects(&context.redactor, &self.objects);
            context.log.info(format!("the component {} has {} objects", plan.component_name, self.objects.len()));
            Ok(())
        })
    }

    fn validate<'a>(&'a mut self, _: &'a Context) -> StepFuture<'a> {
        Box::pin(async move {
            let plan = self.plan.as_ref().ok_or_else(unprepared)?;
            let api = self.api.as_ref().ok_or_else(unprepared)?;
            let objects = std::mem::take(&mut self.objects);
            let surveyed = survey(api, objects, &plan.manifest.namespace).await;
            self.surveyed = Some(surveyed.map_err(because(FailureKind::Cluster))?);
            Ok(())
        })
    }

    fn exec<'a>(&'a mut self, context: &'a Context) -> StepFuture<'a, Outcome> {
        Box::pin(async move {
            let api = self.api.clone().ok_or_else(unprepared)?;
            let manager = self.parts.field_manager.clone();
            let surveyed = self.surveyed.as_mut().ok_or_else(unprepared)?;
            match self.task.clone().ok_or_else(unprepared)? {
                Task::PlanApply => plan_apply(&api, surveyed, &manager, context).await,
                Task::PlanTeardown => Ok(plan_teardown(surveyed, context)),
                Task::Approved(Op::Apply, text) => {
                    let told = |what: &str| context.log.info(what);
                    let applied = apply::apply(&api, surveyed, &manager, &told).await;
                    for error in cluster::plan::errors(&applied.diffs) {
                        context.log.error(error);
                    }
                    Ok(done(
                        context,
                        &text,
                        applied.diffs,
                        applied.stopped.map(|why| format!("the apply stopped: {why}")),
                    ))
                }
                Task::Approved(Op::Delete, text) => {
                    let patience = context.time_left().saturating_sub(FOR_REPORTS);
                    let torn = teardown::teardown(&api, surveyed, patience).await;
                    for error in cluster::plan::errors(&torn.diffs) {
                        context.log.error(error);
                    }
                    let failure = match (teardown::errors(&torn.diffs), torn.left.as_slice()) {
                        (0, []) => None,
                        (0, left) => Some(format!("not gone in time: {}", left.join(", "))),
                        (errors, _) => Some(format!("{errors} objects could not be deleted")),
                    };
                    Ok(done(context, &text, torn.diffs, failure))
                }
            }
        })
    }
}

fn unprepared() -> Failure {
    Failure::new(FailureKind::Internal, "a step ran before the one it depends on; this is a fault of the runner")
}

fn read_task(operation: &Operation, plan: &DeployPlan) -> Result<Task, Failure> {
    match operation {
        Operation::CreateApplyPlan => Ok(Task::PlanApply),
        Operation::CreateTeardownPlan => Ok(Task::PlanTeardown),
        Operation::ApplyPlan => {
            let packed = plan.approved.as_deref().ok_or_else(|| {
                Failure::new(FailureKind::Plan, "the job applies a plan but has no apply_plan_contents; plan again")
            })?;
            let text = contents::unpack(packed).map_err(because(FailureKind::Plan))?;
            let approved: PlanContents = serde_json::from_str(&text).map_err(|error| {
                let place = format!("line {}, column {}", error.line(), error.column());
                Failure::new(FailureKind::Plan, format!("the approved plan cannot be read ({place}); plan again"))
            })?;
            Ok(Task::Approved(approved.op, text))
        }
        other => {
            let known = "create-apply-plan, apply-plan and create-teardown-plan are known";
            Err(Failure::new(FailureKind::Unsupported, format!("a deploy cannot do {other}; {known}")))
        }
    }
}

impl Deploying {
    /// The component's objects: from the plan itself, else from the artifact.
    async fn read_objects(&self, plan: &DeployPlan, context: &Context) -> Result<Vec<Object>, Failure> {
        if let Some(text) = &plan.manifest.inline {
            return Ok(manifest::read(text.as_bytes()).map_err(because(FailureKind::Render))?.objects);
        }
        let (repository, version) = self.locate(plan).await?;
        context.log.info(format!("pulls {} at {version}", repository.name()));
        let artifact = format::pull(&repository, &version).await.map_err(because(FailureKind::Artifact))?;
        let has_templates = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(".nuon");
        let templated = match &artifact.content {
            Content::Text(text) => has_templates(text),
            Content::Files(files) => files.iter().any(|(_, content)| has_templates(content)),
        };
        if plan.manifest.state.is_some() && templated {
            return Err(Failure::new(
                FailureKind::Unsupported,
                "the manifest is a template over the install's state, which is not supported yet",
            ));
        }
        context.blocking(move || objects_of(artifact.content)).await?
    }

    /// Registry and credentials from `src_registry`; a known digest before any tag.
    async fn locate(&self, plan: &DeployPlan) -> Result<(Repository, Version), Failure> {
        let artifact = plan.manifest.artifact.as_ref();
        let registries = &self.parts.registries;
        let repository = match (&plan.source, artifact) {
            (Some(source), _) => registries.open(source).await?,
            (None, Some(artifact)) => registries.open_address(&artifact.address).await?,
            (None, None) => {
                return Err(Failure::new(FailureKind::Plan, "the plan has neither a manifest nor an artifact to pull"));
            }
        };
        let digest = artifact.and_then(|artifact| artifact.digest.as_deref());
        let tag = plan.tag.as_deref().or(artifact.and_then(|artifact| artifact.tag.as_deref()));
        let version = match (digest, tag) {
            (Some(digest), _) => Version::digest(digest),
            (None, Some(tag)) => Version::tag(tag),
            (None, None) => {
                return Err(Failure::new(FailureKind::Plan, "the plan names neither digest nor tag of its artifact"));
            }
        };
        Ok((repository, version.map_err(because(FailureKind::Plan))?))
    }
}

fn objects_of(content: Content) -> Result<Vec<Object>, Failure> {
    let files = match content {
        Content::Text(text) => return Ok(manifest::read(&text).map_err(because(FailureKind::Render))?.objects),
        Content::Files(files) => files,
    };
    let files: BTreeMap<String, Vec<u8>> = files.into_iter().collect();
    if files.contains_key("kustomization.yaml") {
        let render = |message: String| Failure::new(FailureKind::Render, message);
        let objects = kustomize::build(&files, "", &kustomize::Options::default(), &kustomize::Alone);
        let text = kustomize::print(&objects.map_err(|error| render(error.to_string()))?);
        let text = text.map_err(|error| render(error.to_string()))?;
        return Ok(manifest::read(text.as_bytes()).map_err(because(FailureKind::Render))?.objects);
    }
    let mut objects = Vec::new();
    for (name, content) in files.iter().filter(|(name, _)| format::is_yaml(name)) {
        let manifest = manifest::read(content)
            .map_err(|error| Failure::new(FailureKind::Render, format!("{name} in the artifact: {error}")))?;
        objects.extend(manifest.objects);
    }
    manifest::sort(&mut objects);
    Ok(objects)
}

async fn plan_apply(api: &Api, surveyed: &Surveyed, manager: &str, context: &Context) -> Result<Outcome, Failure> {
    let diffs = cluster::plan::plan(api, surveyed, manager).await;
    let errors = cluster::plan::errors(&diffs);
    if !errors.is_empty() {
        let message = format!("the cluster refuses {} of {} objects: {}", errors.len(), diffs.len(), errors.join("; "));
        return Err(Failure::new(FailureKind::Apply, message));
    }
    let changed: Vec<ResourceDiff> = diffs.into_iter().filter(|diff| diff.change != Change::Unchanged).collect();
    Ok(planned(Op::Apply, changed, context))
}

fn plan_teardown(surveyed: &Surveyed, context: &Context) -> Outcome {
    planned(Op::Delete, teardown::plan(surveyed), context)
}

fn planned(op: Op, diffs: Vec<ResourceDiff>, context: &Context) -> Outcome {
    for diff in &diffs {
        context.log.info(format!("{} {}/{}", word(diff.change), diff.kind, diff.name));
    }
    if diffs.is_empty() {
        context.log.info("nothing would change");
    }
    let text = PlanContents::new(op, diffs).text();
    Outcome { result: Some(with_contents(&text, true)), needs_result: true, ..Outcome::default() }
}

/// The outcome of an apply or a teardown: the approved plan once more, and what was done.
fn done(context: &Context, approved: &str, diffs: Vec<ResourceDiff>, failure: Option<String>) -> Outcome {
    for diff in diffs.iter().filter(|diff| !matches!(diff.change, Change::Unchanged | Change::Error)) {
        context.log.info(format!("{} {}/{}", word(diff.change), diff.kind, diff.name));
    }
    let mut result = with_contents(approved, failure.is_none());
    if let Some(message) = &failure {
        let errors = cluster::plan::errors(&diffs).join("; ");
        let message = context.redactor.mask(&format!("{message}: {errors}")).into_owned();
        let members =
            [("handler", "kubernetes-manifest-deploy"), ("job_type", context.job.kind.as_str()), ("message", &message)];
        result.error_code = Some(0);
        result.error_metadata =
            Some(members.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect());
    }
    let failure = failure.map(|message| {
        let errors = cluster::plan::errors(&diffs);
        if errors.is_empty() { message } else { format!("{message}: {}", errors.join("; ")) }
    });
    let outputs: Value = json!(diffs);
    Outcome {
        result: Some(result),
        outputs: Map::from_iter([("diff".to_owned(), outputs)]),
        failure,
        ..Outcome::default()
    }
}

fn with_contents(text: &str, success: bool) -> ResultReport {
    let packed = contents::pack(text);
    ResultReport {
        success,
        contents_compressed: Some(packed.clone()),
        contents_display_compressed: Some(packed),
        ..ResultReport::default()
    }
}

fn word(change: Change) -> &'static str {
    match change {
        Change::Unchanged => "unchanged",
        Change::Removed => "deleted",
        Change::Added => "created",
        Change::Modified => "configured",
        Change::Error => "failed",
    }
}
