//! `kubernetes-manifest-deploy`: pulls the artifact and plans, applies or tears down its objects.

mod report;
mod source;
mod task;

use std::time::Duration;

use futures_util::future::BoxFuture;
use report::JobProgress;
use source::{PulledArtifact, Source};
use task::{Approved, Task, check_same_objects};

use super::planned::{PlannedJob, Work};
use crate::base::counted::counted;
use crate::base::invalid::InvalidInput;
use crate::clients::Secrets;
use crate::cluster::client::{Api, ClusterError, connect};
use crate::cluster::fields::managed_values::keyed_hash_of_objects;
use crate::cluster::rollout::deploy::{DeployRequest, DeployResult};
use crate::cluster::rollout::inventory::Component;
use crate::cluster::rollout::plan::Plan;
use crate::cluster::rollout::snapshot::Snapshot;
use crate::cluster::rollout::teardown::WithContents;
use crate::deployment::Deployment;
use crate::job::JobKind;
use crate::plan::changeset::{Op, PlanContents};
use crate::plan::deploy::DeployPlan;
use crate::plan::saved_plan::SavedPlan;
use crate::worker::failure::because;
use crate::worker::{Context, FailureKind, Outcome, StagedJob, StepFailure};

/// Name of the handler in reports.
const NAME: &str = "kubernetes-manifest-deploy";

/// Part of the job's time that waits leave for the reports.
const REPORTING_RESERVE: Duration = Duration::from_secs(30);

/// Time in which a deploy that is stopped writes what it has done to the inventory.
const WIND_DOWN: Duration = Duration::from_secs(10);

/// One deploy job.
pub struct DeployJob(Work);

impl PlannedJob for DeployJob {
    const KIND: &'static JobKind = &JobKind::KubernetesManifestDeploy;

    fn new(work: Work) -> Self {
        Self(work)
    }
}

pub struct Fetched {
    plan: DeployPlan,
    task: Task,
}

pub struct Initialized {
    plan: DeployPlan,
    task: Task,
    api: Api,
    source: Source,
}

pub struct Validated {
    task: Task,
    target: Target,
    artifact: Option<PulledArtifact>,
    snapshot: Snapshot,
}

/// Where a job deploys to.
struct Target {
    api: Api,
    namespace: String,
    component: Option<Component>,
}

impl StagedJob for DeployJob {
    type Fetched = Fetched;
    type Initialized = Initialized;
    type Validated = Validated;

    fn wind_down(&self) -> Duration {
        WIND_DOWN
    }

    fn fetch<'a>(
        &'a mut self,
        context: &'a Context,
    ) -> BoxFuture<'a, Result<Fetched, StepFailure>> {
        Box::pin(async move {
            let text = self.0.plans.fetch(context).await?;
            let plan = DeployPlan::parse(&text).map_err(because(FailureKind::Plan))?;
            self.0.secrets.learn(&context.redactor, plan.secrets());
            let task = Task::read(&context.job.operation, &plan)?;
            Ok(Fetched { plan, task })
        })
    }

    fn concurrency_key(&self, fetched: &Fetched) -> Option<String> {
        let plan = &fetched.plan;
        Some(format!("{}/{}", plan.install_id, plan.component_id))
    }

    fn initialize<'a>(
        &'a mut self,
        Fetched { plan, task }: Fetched,
        context: &'a Context,
    ) -> BoxFuture<'a, Result<Initialized, StepFailure>> {
        Box::pin(async move {
            let clients = &self.0.services.clients;
            let cluster = plan.manifest.cluster.as_ref();
            let api = connect::connect(cluster, &clients.network, &context.clock, &context.stop)
                .await
                .map_err(because(FailureKind::Cluster))?;
            let source = Source::read(
                &plan,
                &clients.registries,
                &self.0.services.deploy.trust,
                context,
            )
            .await?;
            self.0
                .secrets
                .learn_objects(&context.redactor, &source.objects.objects);
            context.log.info(format!(
                "the component {} has {}",
                plan.component_name,
                counted(source.objects.objects.len(), "object")
            ));
            Ok(Initialized {
                plan,
                task,
                api,
                source,
            })
        })
    }

    fn validate<'a>(
        &'a mut self,
        initialized: Initialized,
        context: &'a Context,
    ) -> BoxFuture<'a, Result<Validated, StepFailure>> {
        Box::pin(async move {
            let Initialized {
                plan,
                task,
                api,
                source,
            } = initialized;
            let namespace = plan.manifest.namespace;
            let component = component(&plan.component_id, &namespace, context);
            let target = Target {
                api,
                namespace,
                component,
            };
            let progress = JobProgress(context);
            let deployment = self.deployment(&target, source.artifact.as_ref(), &progress);
            let snapshot = match task.is_teardown() {
                true => deployment.teardown_snapshot(source.objects).await,
                false => deployment.snapshot(source.objects).await,
            };
            let snapshot = snapshot.map_err(because(FailureKind::Cluster))?;
            deployment.note_other_namespaces(&snapshot).await;
            Ok(Validated {
                task,
                target,
                artifact: source.artifact,
                snapshot,
            })
        })
    }

    fn exec<'a>(
        &'a mut self,
        validated: Validated,
        context: &'a Context,
    ) -> BoxFuture<'a, Result<Outcome, StepFailure>> {
        Box::pin(async move {
            let progress = JobProgress(context);
            let artifact = validated.artifact.as_ref();
            let run = Execution {
                deployment: self.deployment(&validated.target, artifact, &progress),
                artifact,
                snapshot: &validated.snapshot,
                context,
            };
            match &validated.task {
                Task::PlanApply => run.plan_apply().await,
                Task::PlanTeardown => run.plan_teardown().await,
                Task::Execute(approved) => {
                    let deployed = match approved.contents.op {
                        Op::Delete => run.tear_down(approved).await?,
                        Op::Apply => run.apply(approved).await?,
                    };
                    let metrics = &self.0.services.metrics;
                    Ok(report::deployed(&approved.text, deployed, context, metrics))
                }
            }
        })
    }
}

impl DeployJob {
    fn deployment<'a>(
        &'a self,
        target: &'a Target,
        artifact: Option<&'a PulledArtifact>,
        progress: &'a JobProgress<'_>,
    ) -> Deployment<'a> {
        let JobProgress(context) = progress;
        Deployment {
            api: &target.api,
            config: &self.0.services.deploy,
            options: &self.0.services.deploy.options,
            registries: &self.0.services.clients.registries,
            clock: &context.clock,
            namespace: &target.namespace,
            component: target.component.as_ref(),
            artifact: artifact.map(|pulled| pulled.reference.as_str()),
            is_resumed: context.is_resumed,
            deadline: Some(context.deadline.saturating_sub(REPORTING_RESERVE)),
            progress,
        }
    }
}

/// The component whose inventory is kept; `None`, with a note, if its id cannot name an inventory.
fn component(id: &str, namespace: &str, context: &Context) -> Option<Component> {
    Component::named(&id.to_lowercase(), namespace)
        .inspect_err(|reason| {
            context.log.warn(format!(
                "no inventory is kept, and nothing is pruned: {reason}"
            ));
        })
        .ok()
}

/// The effect of a deploy job.
struct Execution<'a> {
    deployment: Deployment<'a>,
    artifact: Option<&'a PulledArtifact>,
    snapshot: &'a Snapshot,
    context: &'a Context,
}

impl Execution<'_> {
    async fn plan_apply(&self) -> Result<Outcome, StepFailure> {
        let plan = self.checked(self.deployment.preview(self.snapshot).await)?;
        let saved_plan = SavedPlan {
            artifact: self.artifact.map(|pulled| pulled.reference.clone()),
            manifest: self.manifest_hash(),
            ..plan.saved_plan(self.snapshot, self.deployment.options)
        };
        let mut contents = PlanContents::new(Op::Apply, plan.into_changes());
        contents.runner = Some(saved_plan);
        Ok(report::planned(&contents, self.context))
    }

    /// Logs what a person should know of a plan, and refuses a plan that cannot be applied.
    fn checked<'s>(&self, plan: Result<Plan<'s>, ClusterError>) -> Result<Plan<'s>, StepFailure> {
        let plan = plan.map_err(because(FailureKind::Cluster))?;
        let log = &self.context.log;
        for note in &plan.notes {
            log.warn(note.clone());
        }
        for entry in &plan.entries {
            for remark in entry.remarks() {
                log.warn(format!("{}: {remark}", entry.object.subject()));
            }
        }
        match plan.refusal() {
            Some(refusal) => Err(StepFailure::new(FailureKind::Apply, refusal.sentence())),
            None => Ok(plan),
        }
    }

    /// Returns a keyed hash of the objects if they come from the plan itself, so that an apply can
    /// recognize them.
    fn manifest_hash(&self) -> Option<String> {
        let key = self.deployment.options.fields.key.as_deref();
        match self.artifact {
            Some(_) => None,
            None => keyed_hash_of_objects(&self.snapshot.objects, key),
        }
    }

    async fn plan_teardown(&self) -> Result<Outcome, StepFailure> {
        let planned = self
            .deployment
            .plan_teardown(self.snapshot, WithContents::Propose)
            .await;
        let planned = planned.map_err(because(FailureKind::Cluster))?;
        let mut contents = PlanContents::new(Op::Delete, planned.changes(self.snapshot));
        contents.runner = Some(planned.saved_plan(self.snapshot));
        Ok(report::planned(&contents, self.context))
    }

    async fn apply(&self, approved: &Approved) -> Result<DeployResult, StepFailure> {
        let is_required = self.deployment.config.require_contract;
        let saved_plan = approved.saved_plan(is_required, self.context)?;
        for note in &self.snapshot.notes {
            self.context.log.warn(note.clone());
        }
        let approval = match saved_plan {
            Some(saved_plan) => {
                let artifact = self.deployment.artifact;
                check_same_objects(saved_plan, artifact, self.manifest_hash().as_deref())?;
                self.deployment.approve(saved_plan, self.snapshot).await
            }
            None => Ok(None),
        };
        let request = match approval {
            Ok(Some(request)) => Ok(request),
            Ok(None) => {
                let plan = self.checked(self.deployment.plan(self.snapshot).await)?;
                DeployRequest::of_plan(plan, self.snapshot, self.deployment.options, false)
            }
            Err(failure) => Err(failure),
        };
        let request = match request {
            Ok(request) => request,
            Err(failure) => return Ok(failure.into()),
        };
        let mut secrets = Secrets::default();
        let pull = async |reference: &str| {
            let artifact = self
                .artifact
                .ok_or("the plan names no registry to pull it from")?;
            let objects = artifact.pull_other(reference, self.context).await;
            let objects = objects.map_err(|failure| failure.text())?;
            secrets.learn_objects(&self.context.redactor, &objects.objects);
            Ok::<_, InvalidInput>(objects)
        };
        self.deployment
            .deploy(self.snapshot, request, pull)
            .await
            .map_err(because(FailureKind::Cluster))
    }

    async fn tear_down(&self, approved: &Approved) -> Result<DeployResult, StepFailure> {
        let is_required = self.deployment.config.require_contract;
        let saved_plan = approved.saved_plan(is_required, self.context)?;
        let planned = self
            .deployment
            .plan_teardown(self.snapshot, WithContents::Approved(saved_plan))
            .await;
        let planned = planned.map_err(because(FailureKind::Cluster))?;
        let timeout = self.context.time_left().saturating_sub(REPORTING_RESERVE);
        Ok(self
            .deployment
            .tear_down(self.snapshot, planned, saved_plan, timeout)
            .await)
    }
}
