//! The use cases of a deployment: plan, apply an approved plan, tear down, roll back.
//!
//! Job handlers and commands are adapters around [`Deployment`]: they bring the objects, show what
//! it returns, and take its [`Progress`].

pub mod images;
pub mod metrics;

mod config;
mod progress;

use std::time::Duration;

pub use config::DeployConfig;
pub use progress::Progress;

use crate::base::clock::Clock;
use crate::clients::Registries;
use crate::cluster::client::{Api, ClusterError};
use crate::cluster::health::wait::{WaitOptions, unhealthy};
use crate::cluster::rollout::deploy::{DeployRequest, DeployResult, deploy};
use crate::cluster::rollout::failure::DeployFailure;
use crate::cluster::rollout::inventory::Component;
use crate::cluster::rollout::options::Options;
use crate::cluster::rollout::plan::{Plan, plan, with_new_desired_state};
use crate::cluster::rollout::refusal::Refusal;
use crate::cluster::rollout::rollback::Rollback;
use crate::cluster::rollout::snapshot::Snapshot;
use crate::cluster::rollout::teardown::{Teardown, WithContents, teardown};
use crate::manifest::ObjectSet;
use crate::plan::saved_plan::SavedPlan;

/// A component, the cluster that it is deployed to, and how.
pub struct Deployment<'a> {
    /// API server.
    pub api: &'a Api,
    /// Settings.
    pub config: &'a DeployConfig,
    /// How objects are applied: those of the settings, with the key of this deployment's hashes.
    pub options: &'a Options,
    /// Registries, for checks of images.
    pub registries: &'a Registries,
    /// Time.
    pub clock: &'a Clock,
    /// Namespace for objects that name none.
    pub namespace: &'a str,
    /// The component whose inventory is kept; `None` if the objects belong to no component.
    pub component: Option<&'a Component>,
    /// `oci://…@sha256:…` of the artifact; `None` if the objects came from elsewhere.
    pub artifact: Option<&'a str>,
    /// Whether an earlier attempt of the same deploy was cut off.
    pub is_resumed: bool,
    /// When everything must be over, rollback included, by the clock's elapsed time.
    pub deadline: Option<Duration>,
    /// Takes what the deployment tells.
    pub progress: &'a dyn Progress,
}

impl Deployment<'_> {
    /// Takes a snapshot for objects to apply.
    ///
    /// # Errors
    /// Fails if a read fails, or neither the cluster nor the set defines the kind of an object.
    pub async fn snapshot(&self, objects: ObjectSet) -> Result<Snapshot, ClusterError> {
        Snapshot::take(self.api, objects, self.namespace, self.component).await
    }

    /// Takes a snapshot for objects to delete, and for those that the inventory lists.
    ///
    /// # Errors
    /// Fails if a read fails.
    pub async fn teardown_snapshot(&self, objects: ObjectSet) -> Result<Snapshot, ClusterError> {
        Snapshot::take_for_teardown(self.api, objects, self.namespace, self.component).await
    }

    /// Plans, and adds to the plan's notes what a person who reads it should know: a component of
    /// this name elsewhere, problems with images, and, if nothing would change, the objects that
    /// are not ready.
    ///
    /// # Errors
    /// Fails if the inventories of other components cannot be read.
    pub async fn preview<'s>(&self, snapshot: &'s Snapshot) -> Result<Plan<'s>, ClusterError> {
        let (plan, image_problems) =
            tokio::join!(self.plan(snapshot), self.image_problems(snapshot));
        let mut plan = plan?;
        plan.notes
            .extend(snapshot.deployed_elsewhere(self.api).await);
        plan.notes.extend(snapshot.notes.iter().cloned());
        plan.notes.extend(image_problems);
        if plan.is_noop() {
            let unhealthy = unhealthy(snapshot.present(), &self.config.rules, self.clock.now());
            plan.notes.extend(unhealthy.await);
        }
        Ok(plan)
    }

    /// Plans an apply of the snapshot's objects.
    ///
    /// # Errors
    /// Fails if the inventories of other components cannot be read.
    pub async fn plan<'s>(&self, snapshot: &'s Snapshot) -> Result<Plan<'s>, ClusterError> {
        plan(self.api, snapshot, self.options).await
    }

    async fn image_problems(&self, snapshot: &Snapshot) -> Vec<String> {
        if !self.config.check_images {
            return Vec::new();
        }
        let objects = with_new_desired_state(snapshot, self.options);
        images::find_problems(self.api, snapshot, &objects, self.registries, self.clock).await
    }

    /// Notes that a component of this name is deployed elsewhere, if it is deployed here for the
    /// first time.
    pub async fn note_other_namespaces(&self, snapshot: &Snapshot) {
        if let Some(note) = snapshot.deployed_elsewhere(self.api).await {
            self.progress.note(&note);
        }
    }

    /// Checks whether a saved plan still fits the snapshot. Returns `None` if it does not, and the
    /// settings say to plan again.
    ///
    /// # Errors
    /// Fails if it does not fit and the settings do not say to plan again, or if it must not be
    /// executed.
    pub async fn approve<'s>(
        &self,
        saved_plan: &SavedPlan,
        snapshot: &'s Snapshot,
    ) -> Result<Option<DeployRequest<'s>>, DeployFailure> {
        let request = DeployRequest::of_saved_plan(
            self.api,
            saved_plan,
            snapshot,
            self.options,
            self.is_resumed,
        );
        match request.await {
            Ok(request) => Ok(Some(request)),
            Err(failure) => {
                self.plan_again_after(failure)?;
                Ok(None)
            }
        }
    }

    /// Decides on a failure whether to plan again.
    fn plan_again_after(&self, failure: DeployFailure) -> Result<(), DeployFailure> {
        if !matches!(failure, DeployFailure::PlanConflict(_)) || !self.config.replan {
            return Err(failure);
        }
        let reason = failure.sentence();
        self.progress
            .note(&format!("{reason}; planning again (deploy.moved)"));
        Ok(())
    }

    /// Deploys. If the objects do not become ready and the settings say so, rolls back to the last
    /// artifact that succeeded; `pull` returns the objects of an artifact.
    ///
    /// # Errors
    /// Fails if something goes wrong before the first write. Later failures are in the result.
    pub async fn deploy<E: std::fmt::Display>(
        &self,
        snapshot: &Snapshot,
        request: DeployRequest<'_>,
        pull: impl AsyncFnOnce(&str) -> Result<ObjectSet, E>,
    ) -> Result<DeployResult, ClusterError> {
        let rolls_back = self.config.roll_back;
        let request = request
            .of_artifact(self.artifact.map(str::to_owned))
            .waiting(self.waiting(rolls_back));
        let step = |message: &str| self.progress.step(message);
        let mut deployed = deploy(self.api, snapshot, request, self.options, &step).await?;
        for note in &deployed.notes {
            self.progress.note(note);
        }
        if rolls_back && matches!(deployed.failure, Some(DeployFailure::NotReady(_))) {
            let rollback = Rollback {
                api: self.api,
                options: self.options,
                namespace: self.namespace,
                from: self.artifact,
                waiting: self.waiting(false),
            };
            let outcome = rollback.run(snapshot, pull, &step).await.to_string();
            self.progress.note(&outcome);
            deployed.notes.push(outcome);
        }
        Ok(deployed)
    }

    /// Plans a teardown, and notes what it keeps.
    ///
    /// # Errors
    /// Fails if the inventories of other components cannot be read.
    pub async fn plan_teardown(
        &self,
        snapshot: &Snapshot,
        with_contents: WithContents<'_>,
    ) -> Result<Teardown, ClusterError> {
        let teardown = Teardown::plan(self.api, snapshot, self.options, with_contents).await?;
        for note in snapshot.notes.iter().chain(&teardown.notes) {
            self.progress.note(note);
        }
        Ok(teardown)
    }

    /// Deletes the objects of a teardown, if the saved plan lists them, and waits at most `timeout`
    /// until they are gone.
    pub async fn tear_down(
        &self,
        snapshot: &Snapshot,
        planned: Teardown,
        saved_plan: Option<&SavedPlan>,
        timeout: Duration,
    ) -> DeployResult {
        let conflicts = saved_plan
            .map(|saved_plan| planned.unapproved(saved_plan, snapshot, self.options))
            .unwrap_or_default();
        if !conflicts.is_empty()
            && let Err(failure) = self.plan_again_after(DeployFailure::PlanConflict(conflicts))
        {
            return failure.into();
        }
        let step = |message: &str| self.progress.step(message);
        let torn = teardown(self.api, snapshot, &planned, self.options, timeout, &step).await;
        DeployResult {
            diffs: torn.diffs,
            notes: planned.notes,
            failure: (!torn.remaining.is_empty()).then(|| DeployFailure::Refused {
                errors: torn.remaining,
                refusal: torn.refusal.unwrap_or(Refusal::Server),
            }),
        }
    }

    /// Returns the wait options, with an end within the deadline. A third of the time is kept for a
    /// rollback that may follow.
    fn waiting(&self, may_roll_back: bool) -> Option<WaitOptions> {
        let waiting = self.config.waiting.clone()?;
        let now = self.clock.elapsed();
        let until = self.deadline.map(|deadline| {
            let remaining = deadline.saturating_sub(now);
            now + if may_roll_back {
                remaining * 2 / 3
            } else {
                remaining
            }
        });
        Some(WaitOptions { until, ..waiting })
    }
}
