//! Executes a deploy job and reports its outcome.

use std::time::Duration;

use serde_json::{Map, json};

use crate::build::artifact;
use crate::clients::{Registries, Secrets};
use crate::cluster::client::Api;
use crate::cluster::fields::managed_values::fingerprint_of_set;
use crate::cluster::health::wait;
use crate::cluster::health::wait::WaitOptions;
use crate::cluster::rollout::deploy::{
    DeployRequest, DeployResult, Failure as Fault, deploy, join_reasons,
};
use crate::cluster::rollout::plan::{Plan, plan, with_new_desired_state};
use crate::cluster::rollout::preconditions;
use crate::cluster::rollout::rollback::Rollback;
use crate::cluster::rollout::snapshot::Snapshot;
use crate::cluster::rollout::teardown::{Teardown, teardown};
use crate::control::wire::ResultReport;
use crate::deployment::metrics::Metrics;
use crate::deployment::{DeployConfig, images};
use crate::manifest::Object;
use crate::plan::changeset::{Change, Op, PlanContents, ResourceDiff, bounded};
use crate::plan::contents;
use crate::plan::contract::{self, SavedPlan, digest_of};
use crate::registry::{Repository, Version, format};
use crate::worker::failure::because;
use crate::worker::{Context, Failure, FailureKind, Outcome};

/// Part of the job's time that waits leave for the reports.
const REPORTING_RESERVE: Duration = Duration::from_secs(30);

/// A deploy job, with the clients and settings that it uses.
pub struct DeployJob<'a> {
    pub api: &'a Api,
    pub deploys: &'a DeployConfig,
    pub metrics: &'a Metrics,
    pub registries: &'a Registries,
    /// `oci://…@sha256:…`, if the objects were pulled.
    pub artifact: Option<&'a str>,
    /// Namespace of objects without one.
    pub namespace: &'a str,
    /// Repository that the artifact was pulled from.
    pub repository: Option<&'a Repository>,
    pub context: &'a Context,
}

impl DeployJob<'_> {
    pub async fn plan_apply(&self, snapshot: &Snapshot) -> Result<Outcome, Failure> {
        let (plan, faults) = tokio::join!(self.plan(snapshot), self.image_faults(snapshot));
        let plan = plan?;
        for fault in faults {
            self.context.log.warn(fault);
        }
        if plan.is_noop() {
            for words in wait::unhealthy(
                snapshot.present(),
                &self.deploys.rules,
                self.context.clock.now(),
            )
            .await
            {
                self.context.log.warn(words);
            }
        }
        let contract = SavedPlan {
            artifact: self.artifact.map(str::to_owned),
            manifest: self.manifest(snapshot),
            ..plan.saved_plan(snapshot, &self.deploys.options)
        };
        let mut contents = PlanContents::new(Op::Apply, plan.into_changes());
        contents.runner = Some(contract);
        Ok(self.plan_outcome(&contents))
    }

    /// Returns a keyed hash of the objects if they come from the plan itself, so that an apply can
    /// recognize them.
    fn manifest(&self, snapshot: &Snapshot) -> Option<String> {
        let key = self.deploys.options.fields.key.as_deref();
        if self.artifact.is_some() {
            None
        } else {
            fingerprint_of_set(&snapshot.objects, key)
        }
    }

    /// Returns the problems with the images of objects whose desired state is new. Empty if
    /// `deploy.check_images` is off.
    async fn image_faults(&self, snapshot: &Snapshot) -> Vec<String> {
        if !self.deploys.check_images {
            return Vec::new();
        }
        let objects = with_new_desired_state(snapshot, &self.deploys.options);
        images::find_problems(
            self.api,
            snapshot,
            &objects,
            self.registries,
            &self.context.clock,
        )
        .await
    }

    /// Plans. Fails if the cluster refuses any object, and names each of them.
    async fn plan(&self, snapshot: &Snapshot) -> Result<Plan, Failure> {
        let plan = plan(self.api, snapshot, &self.deploys.options)
            .await
            .map_err(because(FailureKind::Cluster))?;
        for note in &plan.notes {
            self.context.log.warn(note.clone());
        }
        for entry in &plan.entries {
            entry
                .remarks()
                .for_each(|remark| self.context.log.warn(format!("{}: {remark}", entry.id)));
        }
        let errors = plan.errors();
        if !errors.is_empty() {
            let of = plan.entries.len();
            let message = format!(
                "the cluster refuses {} of {of} objects: {}",
                errors.len(),
                join_reasons(errors.into_iter())
            );
            return Err(Failure::new(FailureKind::Apply, message));
        }
        Ok(plan)
    }

    pub async fn plan_teardown(&self, snapshot: &Snapshot) -> Result<Outcome, Failure> {
        let teardown = Teardown::plan(self.api, snapshot, &self.deploys.options).await;
        let teardown = teardown.map_err(because(FailureKind::Cluster))?;
        for note in &teardown.notes {
            self.context.log.warn(note.clone());
        }
        let mut contents = PlanContents::new(Op::Delete, teardown.changes(snapshot));
        contents.runner = Some(teardown.saved_plan(snapshot));
        Ok(self.plan_outcome(&contents))
    }

    pub async fn apply(
        &self,
        snapshot: &mut Snapshot,
        approved: &PlanContents,
        text: &str,
    ) -> Result<Outcome, Failure> {
        let saved_plan = self.contract(approved)?;
        if let Some(contract) = saved_plan {
            self.is_about(contract, snapshot)?;
        }
        let actions = match saved_plan.map(|contract| {
            preconditions::check_saved_plan(contract, snapshot, &self.deploys.options)
        }) {
            Some(Ok(actions)) => Some(actions),
            Some(Err(breaches)) if !self.deploys.replan => {
                let failure = Some(Fault::PlanConflict(breaches));
                return Ok(self.done(
                    text,
                    DeployResult {
                        failure,
                        ..DeployResult::default()
                    },
                ));
            }
            Some(Err(breaches)) => {
                let words = Fault::PlanConflict(breaches).sentence();
                self.context
                    .log
                    .warn(format!("{words}; planning again (deploy.moved)"));
                None
            }
            None => None,
        };
        let (actions, saved_plan) = match actions {
            Some(actions) => (actions, saved_plan),
            None => (
                preconditions::actions(
                    &self.plan(snapshot).await?,
                    snapshot,
                    &self.deploys.options,
                ),
                None,
            ),
        };
        let order = DeployRequest {
            actions,
            saved_plan,
            artifact: self.artifact.map(str::to_owned),
            waiting: self.waiting(self.deploys.roll_back),
        };
        let progress = |what: &str| self.context.log.info(self.context.redactor.mask(what));
        let deployed = deploy(self.api, snapshot, &order, &self.deploys.options, &progress).await;
        let mut deployed = deployed.map_err(because(FailureKind::Cluster))?;
        if self.deploys.roll_back && matches!(deployed.failure, Some(Fault::NotReady(_))) {
            deployed.notes.push(self.roll_back(snapshot).await);
        }
        Ok(self.done(text, deployed))
    }

    /// Rolls back to the last artifact that succeeded, if there is one. Returns a sentence about
    /// the outcome, with secrets masked.
    async fn roll_back(&self, snapshot: &mut Snapshot) -> String {
        let mut secrets = Secrets::default();
        let pull = async |artifact: &str| {
            let objects = self
                .pull(artifact)
                .await
                .map_err(|failure| failure.text())?;
            secrets.learn_objects(&self.context.redactor, &objects);
            Ok(objects)
        };
        let rollback = Rollback {
            api: self.api,
            options: &self.deploys.options,
            namespace: self.namespace,
            from: self.artifact,
            waiting: self.waiting(false),
        };
        let progress = |what: &str| self.context.log.info(self.context.redactor.mask(what));
        let said = rollback.run(snapshot, pull, &progress).await;
        self.context.redactor.mask(&said).into_owned()
    }

    /// Pulls the objects of an earlier artifact of the component.
    async fn pull(&self, artifact: &str) -> Result<Vec<Object>, Failure> {
        let missing = || {
            Failure::new(
                FailureKind::Artifact,
                "the plan names no registry to pull it from",
            )
        };
        let repository = self.repository.ok_or_else(missing)?;
        let version = Version::digest(digest_of(artifact).unwrap_or_default())
            .map_err(because(FailureKind::Artifact))?;
        let pulled = format::pull(repository, &version)
            .await
            .map_err(because(FailureKind::Artifact))?;
        self.context
            .blocking(move || artifact::objects(pulled.content))
            .await?
            .map_err(because(FailureKind::Render))
    }

    /// Returns the wait options, with a deadline within the job's time. A third of the time is kept
    /// for a rollback that may follow.
    fn waiting(&self, may_roll_back: bool) -> Option<WaitOptions> {
        let remaining = self.context.time_left().saturating_sub(REPORTING_RESERVE);
        let remaining = if may_roll_back {
            remaining * 2 / 3
        } else {
            remaining
        };
        let until = self.context.clock.elapsed() + remaining;
        self.deploys.waiting.clone().map(|waiting| WaitOptions {
            until: Some(until),
            ..waiting
        })
    }

    /// Returns the saved plan in the approved contents. Plans of the Go runner have none.
    fn contract<'c>(&self, approved: &'c PlanContents) -> Result<Option<&'c SavedPlan>, Failure> {
        let Some(saved_plan) = &approved.runner else {
            let what = "the approved plan does not record the cluster state that it was made from";
            if self.deploys.require_contract {
                let message = format!(
                    "{what}, and deploy.require_contract is set; plan again with this runner"
                );
                return Err(Failure::new(FailureKind::Plan, message));
            }
            self.context.log.warn(format!(
                "{what}; planning again, and executing the new plan"
            ));
            return Ok(None);
        };
        if saved_plan.schema_version != contract::VERSION {
            let (theirs, ours) = (saved_plan.schema_version, contract::VERSION);
            let message = format!(
                "the approved plan has version {theirs}, but this runner supports {ours}; plan again"
            );
            return Err(Failure::new(FailureKind::Plan, message));
        }
        Ok(Some(saved_plan))
    }

    /// Fails if the approved plan was made for other objects.
    fn is_about(&self, contract: &SavedPlan, snapshot: &Snapshot) -> Result<(), Failure> {
        let planned = contract.artifact.as_deref().and_then(digest_of);
        let pulled = self.artifact.and_then(digest_of);
        if planned != pulled {
            let name = |digest: Option<&str>| digest.unwrap_or("no artifact").to_owned();
            let message = format!(
                "the plan was made for {}, but the job deploys {}; plan again",
                name(planned),
                name(pulled)
            );
            return Err(Failure::new(FailureKind::Plan, message));
        }
        if contract.manifest != self.manifest(snapshot) {
            let message = "the manifest has changed since the plan was made; plan again";
            return Err(Failure::new(FailureKind::Plan, message));
        }
        Ok(())
    }

    pub async fn teardown(
        &self,
        snapshot: &mut Snapshot,
        approved: &PlanContents,
        text: &str,
    ) -> Result<Outcome, Failure> {
        let options = &self.deploys.options;
        let saved_plan = self.contract(approved)?;
        let planned = Teardown::plan(self.api, snapshot, options)
            .await
            .map_err(because(FailureKind::Cluster))?;
        let conflicts = saved_plan
            .map(|contract| planned.unapproved(contract, snapshot, options))
            .unwrap_or_default();
        if !conflicts.is_empty() {
            let failure = Fault::PlanConflict(conflicts);
            if !self.deploys.replan {
                return Ok(self.done(
                    text,
                    DeployResult {
                        failure: Some(failure),
                        ..DeployResult::default()
                    },
                ));
            }
            self.context.log.warn(format!(
                "{}; planning again (deploy.moved)",
                failure.sentence()
            ));
        }
        let timeout = self.context.time_left().saturating_sub(REPORTING_RESERVE);
        let torn = teardown(self.api, snapshot, &planned, options, timeout).await;
        let failure = (!torn.remaining.is_empty()).then(|| Fault::Refused {
            errors: torn.remaining,
            is_guarded: false,
            is_forbidden: torn.is_forbidden,
        });
        Ok(self.done(
            text,
            DeployResult {
                diffs: torn.diffs,
                notes: planned.notes,
                failure,
            },
        ))
    }

    fn plan_outcome(&self, contents: &PlanContents) -> Outcome {
        self.log_changes(&contents.k8s_content_diff);
        if contents.k8s_content_diff.is_empty() {
            self.context.log.info("nothing would change");
        }
        Outcome {
            result: Some(with_contents(&contents.text(), true)),
            needs_result: true,
            ..Outcome::default()
        }
    }

    fn log_changes(&self, diffs: &[ResourceDiff]) {
        for diff in diffs
            .iter()
            .filter(|diff| !matches!(diff.change, Change::Unchanged | Change::Error))
        {
            self.context
                .log
                .info(format!("{} {}", diff.change.word(), diff.subject()));
        }
    }

    /// Returns the outcome of an apply or a teardown: the text of the approved plan, the changes
    /// that were made, and the error if it failed.
    fn done(&self, approved: &str, deployed: DeployResult) -> Outcome {
        let context = self.context;
        self.log_changes(&deployed.diffs);
        for note in &deployed.notes {
            context.log.warn(note.clone());
        }
        let mut result = with_contents(approved, deployed.failure.is_none());
        let failure = deployed.failure.map(|failure| {
            let message = context.redactor.mask(&failure.sentence()).into_owned();
            context.log.error(message.clone());
            let mut members = vec![
                (
                    "handler".to_owned(),
                    "kubernetes-manifest-deploy".to_owned(),
                ),
                ("job_type".to_owned(), context.job.kind.as_str().to_owned()),
                ("message".to_owned(), message.clone()),
            ];
            if let Fault::NotReady(all) = &failure {
                all.iter()
                    .for_each(|one| self.metrics.not_ready(one.cause.code.reason));
                let causes = wait::document(all).to_string();
                members.push((
                    "causes".to_owned(),
                    context.redactor.mask(&causes).into_owned(),
                ));
            }
            result.error_code = Some(0);
            result.error_metadata = Some(members.into_iter().collect());
            message
        });
        Outcome {
            result: Some(result),
            outputs: Map::from_iter([("diff".to_owned(), json!(bounded(deployed.diffs)))]),
            failure,
            ..Outcome::default()
        }
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
