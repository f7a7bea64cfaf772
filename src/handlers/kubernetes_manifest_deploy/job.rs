//! The effect of a deploy job, and its report.

use std::time::Duration;

use serde_json::{Map, json};

use crate::build::artifact;
use crate::clients::{Registries, Secrets};
use crate::cluster::client::Api;
use crate::cluster::fields::managed_values::fingerprint_of_set;
use crate::cluster::health::wait;
use crate::cluster::health::wait::Waiting;
use crate::cluster::rollout::deploy::{Deployed, Failure as Fault, Order, deploy, some};
use crate::cluster::rollout::plan::{Plan, newly_wanted, plan};
use crate::cluster::rollout::preconditions;
use crate::cluster::rollout::rollback::Rollback;
use crate::cluster::rollout::snapshot::Survey;
use crate::cluster::rollout::teardown::{Teardown, teardown};
use crate::control::wire::ResultReport;
use crate::deployment::metrics::Metrics;
use crate::deployment::{DeployConfig, images};
use crate::manifest::Object;
use crate::plan::changeset::{Change, Op, PlanContents, ResourceDiff, bounded};
use crate::plan::contents;
use crate::plan::contract::{self, Contract, digest_of};
use crate::registry::{Repository, Version, format};
use crate::worker::failure::because;
use crate::worker::{Context, Failure, FailureKind, Outcome};

/// Time that is kept for the reports when something is waited for.
const FOR_REPORTS: Duration = Duration::from_secs(30);

/// What a job works with.
pub struct Job<'a> {
    pub api: &'a Api,
    pub deploys: &'a DeployConfig,
    pub metrics: &'a Metrics,
    pub registries: &'a Registries,
    /// `oci://…@sha256:…` of what is deployed, if it was pulled.
    pub artifact: Option<&'a str>,
    /// For objects that name none.
    pub namespace: &'a str,
    /// Where it was pulled from.
    pub repository: Option<&'a Repository>,
    pub context: &'a Context,
}

impl Job<'_> {
    pub async fn plan_apply(&self, survey: &Survey) -> Result<Outcome, Failure> {
        let (plan, faults) = tokio::join!(self.plan(survey), self.image_faults(survey));
        let plan = plan?;
        for fault in faults {
            self.context.log.warn(fault);
        }
        if plan.is_noop() {
            for words in wait::unhealthy(
                survey.present(),
                &self.deploys.rules,
                self.context.clock.now(),
            )
            .await
            {
                self.context.log.warn(words);
            }
        }
        let contract = Contract {
            artifact: self.artifact.map(str::to_owned),
            manifest: self.manifest(survey),
            ..plan.contract(survey, &self.deploys.options)
        };
        let mut contents = PlanContents::new(Op::Apply, plan.into_changes());
        contents.runner = Some(contract);
        Ok(self.planned(&contents))
    }

    /// What is known of objects that are in the plan itself, to know them again.
    fn manifest(&self, survey: &Survey) -> Option<String> {
        let key = self.deploys.options.fields.key.as_deref();
        if self.artifact.is_some() {
            None
        } else {
            fingerprint_of_set(&survey.objects, key)
        }
    }

    /// What is wrong with the images of what is newly wanted, unless that is not to be looked up.
    async fn image_faults(&self, survey: &Survey) -> Vec<String> {
        if !self.deploys.check_images {
            return Vec::new();
        }
        let objects = newly_wanted(survey, &self.deploys.options);
        images::look_up(
            self.api,
            survey,
            &objects,
            self.registries,
            &self.context.clock,
        )
        .await
    }

    /// Plans, and fails with every object that the cluster refuses.
    async fn plan(&self, survey: &Survey) -> Result<Plan, Failure> {
        let plan = plan(self.api, survey, &self.deploys.options)
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
                some(errors.into_iter())
            );
            return Err(Failure::new(FailureKind::Apply, message));
        }
        Ok(plan)
    }

    pub async fn plan_teardown(&self, survey: &Survey) -> Result<Outcome, Failure> {
        let teardown = Teardown::plan(self.api, survey, &self.deploys.options).await;
        let teardown = teardown.map_err(because(FailureKind::Cluster))?;
        for note in &teardown.notes {
            self.context.log.warn(note.clone());
        }
        let mut contents = PlanContents::new(Op::Delete, teardown.changes(survey));
        contents.runner = Some(teardown.contract(survey));
        Ok(self.planned(&contents))
    }

    pub async fn apply(
        &self,
        survey: &mut Survey,
        approved: &PlanContents,
        text: &str,
    ) -> Result<Outcome, Failure> {
        let contract = self.contract(approved)?;
        if let Some(contract) = contract {
            self.is_about(contract, survey)?;
        }
        let actions = match contract
            .map(|contract| preconditions::approved(contract, survey, &self.deploys.options))
        {
            Some(Ok(actions)) => Some(actions),
            Some(Err(breaches)) if !self.deploys.replan => {
                let failure = Some(Fault::Moved(breaches));
                return Ok(self.done(
                    text,
                    Deployed {
                        failure,
                        ..Deployed::default()
                    },
                ));
            }
            Some(Err(breaches)) => {
                let words = Fault::Moved(breaches).sentence();
                self.context
                    .log
                    .warn(format!("{words}; it is planned anew (deploy.moved)"));
                None
            }
            None => None,
        };
        let (actions, contract) = match actions {
            Some(actions) => (actions, contract),
            None => (
                preconditions::actions(&self.plan(survey).await?, survey, &self.deploys.options),
                None,
            ),
        };
        let order = Order {
            actions,
            contract,
            artifact: self.artifact.map(str::to_owned),
            waiting: self.waiting(self.deploys.roll_back),
        };
        let told = |what: &str| self.context.log.info(self.context.redactor.mask(what));
        let deployed = deploy(self.api, survey, &order, &self.deploys.options, &told).await;
        let mut deployed = deployed.map_err(because(FailureKind::Cluster))?;
        if self.deploys.roll_back && matches!(deployed.failure, Some(Fault::NotReady(_))) {
            deployed.notes.push(self.roll_back(survey).await);
        }
        Ok(self.done(text, deployed))
    }

    /// Goes back to the last artifact that succeeded, if there is one; what is said of it, masked.
    async fn roll_back(&self, survey: &mut Survey) -> String {
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
        let told = |what: &str| self.context.log.info(self.context.redactor.mask(what));
        let said = rollback.run(survey, pull, &told).await;
        self.context.redactor.mask(&said).into_owned()
    }

    /// The objects of an earlier artifact of the component.
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

    /// How long it is waited; of the job's time a part is kept for a rollback that may follow.
    fn waiting(&self, may_roll_back: bool) -> Option<Waiting> {
        let left = self.context.time_left().saturating_sub(FOR_REPORTS);
        let left = if may_roll_back { left * 2 / 3 } else { left };
        let until = self.context.clock.elapsed() + left;
        self.deploys.waiting.clone().map(|waiting| Waiting {
            until: Some(until),
            ..waiting
        })
    }

    /// What the approved plan promises; none if the program that is replaced has made it.
    fn contract<'c>(&self, approved: &'c PlanContents) -> Result<Option<&'c Contract>, Failure> {
        let Some(contract) = &approved.runner else {
            let what = "the approved plan does not say what was read when it was made";
            if self.deploys.require_contract {
                let message = format!(
                    "{what}, and deploy.require_contract is set; plan again with this runner"
                );
                return Err(Failure::new(FailureKind::Plan, message));
            }
            self.context.log.warn(format!(
                "{what}: it is planned anew, and what comes out is done"
            ));
            return Ok(None);
        };
        if contract.schema_version != contract::VERSION {
            let (theirs, ours) = (contract.schema_version, contract::VERSION);
            let message = format!(
                "the approved plan is of version {theirs}, and this runner knows {ours}; plan \
                 again"
            );
            return Err(Failure::new(FailureKind::Plan, message));
        }
        Ok(Some(contract))
    }

    /// Fails if the approved plan is about other objects.
    fn is_about(&self, contract: &Contract, survey: &Survey) -> Result<(), Failure> {
        let planned = contract.artifact.as_deref().and_then(digest_of);
        let pulled = self.artifact.and_then(digest_of);
        if planned != pulled {
            let name = |digest: Option<&str>| digest.unwrap_or("no artifact").to_owned();
            let message = format!(
                "the plan was made of {}, and the job is about {}; plan again",
                name(planned),
                name(pulled)
            );
            return Err(Failure::new(FailureKind::Plan, message));
        }
        if contract.manifest != self.manifest(survey) {
            let message = "the manifest is another one than when the plan was made; plan again";
            return Err(Failure::new(FailureKind::Plan, message));
        }
        Ok(())
    }

    pub async fn teardown(
        &self,
        survey: &mut Survey,
        approved: &PlanContents,
        text: &str,
    ) -> Result<Outcome, Failure> {
        let options = &self.deploys.options;
        let contract = self.contract(approved)?;
        let planned = Teardown::plan(self.api, survey, options)
            .await
            .map_err(because(FailureKind::Cluster))?;
        let breaches = contract
            .map(|contract| planned.unapproved(contract, survey, options))
            .unwrap_or_default();
        if !breaches.is_empty() {
            let failure = Fault::Moved(breaches);
            if !self.deploys.replan {
                return Ok(self.done(
                    text,
                    Deployed {
                        failure: Some(failure),
                        ..Deployed::default()
                    },
                ));
            }
            self.context.log.warn(format!(
                "{}; it is planned anew (deploy.moved)",
                failure.sentence()
            ));
        }
        let patience = self.context.time_left().saturating_sub(FOR_REPORTS);
        let torn = teardown(self.api, survey, &planned, options, patience).await;
        let failure = (!torn.left.is_empty()).then(|| Fault::Refused {
            errors: torn.left,
            by_guard: false,
            is_forbidden: torn.is_forbidden,
        });
        Ok(self.done(
            text,
            Deployed {
                diffs: torn.diffs,
                notes: planned.notes,
                failure,
            },
        ))
    }

    fn planned(&self, contents: &PlanContents) -> Outcome {
        self.tell(&contents.k8s_content_diff);
        if contents.k8s_content_diff.is_empty() {
            self.context.log.info("nothing would change");
        }
        Outcome {
            result: Some(with_contents(&contents.text(), true)),
            needs_result: true,
            ..Outcome::default()
        }
    }

    fn tell(&self, diffs: &[ResourceDiff]) {
        for diff in diffs
            .iter()
            .filter(|diff| !matches!(diff.change, Change::Unchanged | Change::Error))
        {
            self.context
                .log
                .info(format!("{} {}", diff.change.word(), diff.subject()));
        }
    }

    /// The outcome of an apply or a teardown: the approved plan once more, and what was done.
    fn done(&self, approved: &str, deployed: Deployed) -> Outcome {
        let context = self.context;
        self.tell(&deployed.diffs);
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
                    .for_each(|one| self.metrics.not_ready(one.cause.code.word));
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
