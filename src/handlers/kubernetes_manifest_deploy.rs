//! `kubernetes-manifest-deploy`: pulls the artifact and plans, applies or tears down its objects.

mod job;

use std::sync::Arc;

use job::DeployJob;

use super::Services;
use super::plan_text::PlanFetcher;
use crate::build::artifact;
use crate::clients::Secrets;
use crate::cluster::client::{Api, connect};
use crate::cluster::rollout::inventory::Component;
use crate::cluster::rollout::snapshot::Snapshot;
use crate::job::{JobKind, Operation};
use crate::manifest::{self, Object};
use crate::plan::changeset::{Op, PlanContents};
use crate::plan::contents;
use crate::plan::deploy::DeployPlan;
use crate::registry::format::{self, Content};
use crate::registry::{Repository, Version};
use crate::worker::failure::because;
use crate::worker::handler::StepFuture;
use crate::worker::{Context, Failure, FailureKind, Handler, Outcome, Steps};

/// Handler of deploy jobs.
pub struct Deploy {
    services: Arc<Services>,
    plan_fetcher: Arc<PlanFetcher>,
}

impl Deploy {
    /// A handler made of these services.
    pub fn new(services: Arc<Services>, plans: Arc<PlanFetcher>) -> Self {
        Self {
            services,
            plan_fetcher: plans,
        }
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
        Box::new(DeploySteps {
            services: self.services.clone(),
            plan_fetcher: self.plan_fetcher.clone(),
            secrets: Secrets::default(),
            plan: None,
            task: None,
            objects: Vec::new(),
            api: None,
            snapshot: None,
            artifact: None,
            repository: None,
        })
    }
}

struct DeploySteps {
    services: Arc<Services>,
    plan_fetcher: Arc<PlanFetcher>,
    secrets: Secrets,
    plan: Option<DeployPlan>,
    task: Option<Task>,
    objects: Vec<Object>,
    api: Option<Api>,
    snapshot: Option<Snapshot>,
    /// `oci://…@sha256:…`, if the objects were pulled.
    artifact: Option<String>,
    /// Repository that they were pulled from.
    repository: Option<Repository>,
}

/// The operation of a deploy job.
enum Task {
    PlanApply,
    PlanTeardown,
    /// Executes an approved plan. Holds its contents, parsed and as text.
    Approved(Box<PlanContents>, String),
}

impl Task {
    fn tears_down(&self) -> bool {
        match self {
            Self::PlanTeardown => true,
            Self::PlanApply => false,
            Self::Approved(approved, _) => approved.op == Op::Delete,
        }
    }
}

impl Steps for DeploySteps {
    fn fetch<'a>(&'a mut self, context: &'a Context) -> StepFuture<'a> {
        Box::pin(async move {
            let text = self.plan_fetcher.fetch(context).await?;
            let plan = DeployPlan::parse(&text).map_err(because(FailureKind::Plan))?;
            self.secrets.learn(&context.redactor, plan.secrets());
            self.task = Some(read_task(&context.job.operation, &plan)?);
            self.plan = Some(plan);
            Ok(())
        })
    }

    fn concurrency_key(&self) -> Option<String> {
        self.plan
            .as_ref()
            .map(|plan| format!("{}/{}", plan.install_id, plan.component_id))
    }

    fn initialize<'a>(&'a mut self, context: &'a Context) -> StepFuture<'a> {
        Box::pin(async move {
            let plan = self.plan.clone().ok_or_else(step_out_of_order)?;
            let cluster = plan.manifest.cluster.as_ref();
            let api = connect::connect(
                cluster,
                &self.services.clients.network,
                &context.clock,
                &context.stop,
            )
            .await;
            self.api = Some(api.map_err(because(FailureKind::Cluster))?);
            self.objects = self.read_objects(&plan, context).await?;
            self.secrets.learn_objects(&context.redactor, &self.objects);
            context.log.info(format!(
                "the component {} has {} objects",
                plan.component_name,
                self.objects.len()
            ));
            Ok(())
        })
    }

    fn validate<'a>(&'a mut self, context: &'a Context) -> StepFuture<'a> {
        Box::pin(async move {
            let plan = self.plan.as_ref().ok_or_else(step_out_of_order)?;
            let api = self.api.as_ref().ok_or_else(step_out_of_order)?;
            let objects = std::mem::take(&mut self.objects);
            let namespace = &plan.manifest.namespace;
            let component = match Component::named(&plan.component_id.to_lowercase(), namespace) {
                Ok(component) => Some(component),
                Err(reason) => {
                    context.log.warn(format!(
                        "no inventory is kept, and nothing is pruned: {reason}"
                    ));
                    None
                }
            };
            let snapshot = match &self.task {
                Some(task) if task.tears_down() => {
                    Snapshot::take_for_teardown(api, objects, namespace, component.as_ref()).await
                }
                _ => Snapshot::take(api, objects, namespace, component.as_ref()).await,
            };
            let snapshot = snapshot.map_err(because(FailureKind::Cluster))?;
            if let Some(note) = snapshot.deployed_elsewhere(api).await {
                context.log.warn(note);
            }
            self.snapshot = Some(snapshot);
            Ok(())
        })
    }

    fn exec<'a>(&'a mut self, context: &'a Context) -> StepFuture<'a, Outcome> {
        Box::pin(async move {
            let job = DeployJob {
                api: self.api.as_ref().ok_or_else(step_out_of_order)?,
                deploys: &self.services.deploy,
                metrics: &self.services.metrics,
                registries: &self.services.clients.registries,
                artifact: self.artifact.as_deref(),
                namespace: &self
                    .plan
                    .as_ref()
                    .ok_or_else(step_out_of_order)?
                    .manifest
                    .namespace,
                repository: self.repository.as_ref(),
                context,
            };
            let snapshot = self.snapshot.as_mut().ok_or_else(step_out_of_order)?;
            for note in &snapshot.notes {
                context.log.warn(note.clone());
            }
            match self.task.take().ok_or_else(step_out_of_order)? {
                Task::PlanApply => job.plan_apply(snapshot).await,
                Task::PlanTeardown => job.plan_teardown(snapshot).await,
                Task::Approved(approved, text) if approved.op == Op::Delete => {
                    job.teardown(snapshot, &approved, &text).await
                }
                Task::Approved(approved, text) => job.apply(snapshot, &approved, &text).await,
            }
        })
    }
}

fn step_out_of_order() -> Failure {
    Failure::new(
        FailureKind::Internal,
        "a step ran before the one it depends on; this is a bug in the runner",
    )
}

fn read_task(operation: &Operation, plan: &DeployPlan) -> Result<Task, Failure> {
    match operation {
        Operation::CreateApplyPlan => Ok(Task::PlanApply),
        Operation::CreateTeardownPlan => Ok(Task::PlanTeardown),
        Operation::ApplyPlan => {
            let packed = plan.approved.as_deref().ok_or_else(|| {
                Failure::new(
                    FailureKind::Plan,
                    "the job applies a plan but has no apply_plan_contents; plan again",
                )
            })?;
            let text = contents::unpack(packed).map_err(because(FailureKind::Plan))?;
            let approved: PlanContents = serde_json::from_str(&text).map_err(|error| {
                let place = format!("line {}, column {}", error.line(), error.column());
                Failure::new(
                    FailureKind::Plan,
                    format!("the approved plan cannot be read ({place}); plan again"),
                )
            })?;
            Ok(Task::Approved(Box::new(approved), text))
        }
        other => {
            let known = "supported are create-apply-plan, apply-plan and create-teardown-plan";
            Err(Failure::new(
                FailureKind::Unsupported,
                format!("a deploy does not support {other}; {known}"),
            ))
        }
    }
}

impl DeploySteps {
    /// Returns the component's objects: from the plan if it contains a manifest, else from the
    /// artifact.
    async fn read_objects(
        &mut self,
        plan: &DeployPlan,
        context: &Context,
    ) -> Result<Vec<Object>, Failure> {
        if let Some(text) = &plan.manifest.inline {
            return Ok(manifest::read(text.as_bytes())
                .map_err(because(FailureKind::Render))?
                .objects);
        }
        let (repository, version) = self.locate(plan).await?;
        context
            .log
            .info(format!("pulling {} at {version}", repository.name()));
        let artifact = format::pull(&repository, &version)
            .await
            .map_err(because(FailureKind::Artifact))?;
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
        self.artifact = Some(format!("oci://{}@{}", repository.name(), artifact.digest));
        self.repository = Some(repository);
        context
            .blocking(move || artifact::objects(artifact.content))
            .await?
            .map_err(because(FailureKind::Render))
    }

    /// Returns the repository and version of the artifact. `src_registry` takes precedence over the
    /// artifact's address, and a digest over a tag.
    async fn locate(&self, plan: &DeployPlan) -> Result<(Repository, Version), Failure> {
        let artifact = plan.manifest.artifact.as_ref();
        let registries = &self.services.clients.registries;
        let repository = match (&plan.source, artifact) {
            (Some(source), _) => registries
                .open(source)
                .await
                .map_err(because(FailureKind::Registry))?,
            (None, Some(artifact)) => registries
                .open_address(&artifact.address)
                .await
                .map_err(because(FailureKind::Registry))?,
            (None, None) => {
                return Err(Failure::new(
                    FailureKind::Plan,
                    "the plan has neither a manifest nor an artifact to pull",
                ));
            }
        };
        let digest = artifact.and_then(|artifact| artifact.digest.as_deref());
        let tag = plan
            .tag
            .as_deref()
            .or(artifact.and_then(|artifact| artifact.tag.as_deref()));
        let version = match (digest, tag) {
            (Some(digest), _) => Version::digest(digest),
            (None, Some(tag)) => Version::tag(tag),
            (None, None) => {
                return Err(Failure::new(
                    FailureKind::Plan,
                    "the plan names neither digest nor tag of its artifact",
                ));
            }
        };
        Ok((repository, version.map_err(because(FailureKind::Plan))?))
    }
}
