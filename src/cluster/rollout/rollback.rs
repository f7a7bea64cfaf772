//! Rollback: applies the component's last artifact that succeeded again.

use std::fmt;

use crate::cluster::client::Api;
use crate::cluster::health::wait::WaitOptions;
use crate::cluster::rollout::deploy::{DeployRequest, deploy};
use crate::cluster::rollout::failure::DeployFailure;
use crate::cluster::rollout::options::Options;
use crate::cluster::rollout::plan::plan;
use crate::cluster::rollout::snapshot::Snapshot;
use crate::manifest::ObjectSet;

/// What a rollback cannot undo, in a sentence for people.
pub const CANNOT_BE_UNDONE: &str =
    "Jobs that have run, stored versions of CRDs, and immutable fields are not rolled back";

/// Parameters of a rollback.
pub struct Rollback<'a> {
    /// API server.
    pub api: &'a Api,
    /// How objects are applied and pruned.
    pub options: &'a Options,
    /// Namespace for objects that name none.
    pub namespace: &'a str,
    /// The artifact that did not become ready; `None` if the objects came from elsewhere.
    pub from: Option<&'a str>,
    /// How to wait for the objects; `None` to not wait.
    pub waiting: Option<WaitOptions>,
}

/// How a rollback ended. Its text is a sentence for people.
#[derive(Debug, Clone, PartialEq)]
pub enum RollbackOutcome {
    /// No other artifact of the component has succeeded.
    NothingToRollBackTo,
    /// The earlier artifact is applied and ready.
    Succeeded,
    /// The earlier artifact could not be pulled.
    NotPulled(String),
    /// The earlier artifact was not applied, or is not ready.
    Failed(DeployFailure),
}

impl fmt::Display for RollbackOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingToRollBackTo => f.write_str(
                "there is nothing to roll back to: no other artifact of this component has \
                 succeeded, and objects from elsewhere cannot be fetched again",
            ),
            Self::Succeeded => f.write_str("the rollback succeeded"),
            Self::NotPulled(reason) => write!(f, "the rollback failed too: {reason}"),
            Self::Failed(failure) => write!(f, "the rollback failed too: {}", failure.sentence()),
        }
    }
}

impl Rollback<'_> {
    /// Rolls back if there is an artifact to roll back to. `failed` is the snapshot of the failed
    /// deploy; `pull` returns the objects of an artifact (`oci://…@sha256:…`).
    pub async fn run<E: fmt::Display>(
        self,
        failed: &Snapshot,
        pull: impl AsyncFnOnce(&str) -> Result<ObjectSet, E>,
        progress: &(dyn Fn(&str) + Sync),
    ) -> RollbackOutcome {
        let inventory = failed.inventory.as_ref();
        let good = inventory.and_then(|inventory| inventory.last_good(self.from));
        let Some(artifact) = good.and_then(|good| good.artifact.clone()) else {
            return RollbackOutcome::NothingToRollBackTo;
        };
        progress(&format!("rolling back to {artifact}; {CANNOT_BE_UNDONE}"));
        let objects = match pull(&artifact).await {
            Ok(objects) => objects,
            Err(reason) => return RollbackOutcome::NotPulled(reason.to_string()),
        };
        match self.apply(failed, objects, artifact, progress).await {
            Ok(()) => RollbackOutcome::Succeeded,
            Err(failure) => RollbackOutcome::Failed(failure),
        }
    }

    async fn apply(
        self,
        failed: &Snapshot,
        objects: ObjectSet,
        artifact: String,
        progress: &(dyn Fn(&str) + Sync),
    ) -> Result<(), DeployFailure> {
        let (api, options) = (self.api, self.options);
        let inventory = failed.inventory.as_ref();
        let component = inventory.map(|inventory| &inventory.component);
        let snapshot = Snapshot::take(api, objects, self.namespace, component).await?;
        let plan = plan(api, &snapshot, options).await?;
        let request = DeployRequest::of_plan(plan, &snapshot, options, false)?
            .of_artifact(Some(artifact))
            .waiting(self.waiting);
        let deployed = deploy(api, &snapshot, request, options, progress).await?;
        deployed.failure.map_or(Ok(()), Err)
    }
}
