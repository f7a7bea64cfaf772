//! Rollback: applies the component's last artifact that succeeded again.

use crate::cluster::client::{Api, ClusterError};
use crate::cluster::health::wait::WaitOptions;
use crate::cluster::rollout::deploy::{DeployRequest, Failure, deploy, join_reasons};
use crate::cluster::rollout::options::Options;
use crate::cluster::rollout::plan::plan;
use crate::cluster::rollout::preconditions::actions;
use crate::cluster::rollout::snapshot::Snapshot;
use crate::manifest::Object;

/// What a rollback cannot undo, in a sentence for people.
pub const CANNOT_BE_UNDONE: &str =
    "Jobs that have run, stored versions of CRDs, and immutable fields are not rolled back";

/// Message if there is no artifact to roll back to.
const NOTHING_TO_ROLL_BACK_TO: &str = "there is nothing to roll back to: no other artifact of this component has succeeded, and objects from elsewhere cannot be fetched again";

/// Parameters of a rollback.
pub struct Rollback<'a> {
    /// API server.
    pub api: &'a Api,
    /// How objects are applied and pruned.
    pub options: &'a Options,
    /// Namespace for objects that name none.
    pub namespace: &'a str,
    /// The artifact that did not become ready; `Missing` if the objects came from elsewhere.
    pub from: Option<&'a str>,
    /// How to wait for the objects; `Missing` to not wait.
    pub waiting: Option<WaitOptions>,
}

impl Rollback<'_> {
    /// Rolls back if there is an artifact to roll back to, and returns a sentence about the
    /// outcome. `snapshot` is that of the failed deploy, and is replaced by the rollback's. `pull`
    /// returns the objects of an artifact (`oci://…@sha256:…`).
    pub async fn run(
        self,
        snapshot: &mut Snapshot,
        pull: impl AsyncFnOnce(&str) -> Result<Vec<Object>, String>,
        progress: &(dyn Fn(&str) + Sync),
    ) -> String {
        let good = snapshot
            .inventory
            .as_ref()
            .and_then(|inventory| inventory.last_good(self.from)?.artifact.clone());
        let Some(artifact) = good else {
            return NOTHING_TO_ROLL_BACK_TO.into();
        };
        progress(&format!("rolling back to {artifact}; {CANNOT_BE_UNDONE}"));
        let failed = |why: String| format!("the rollback failed too: {why}");
        match pull(&artifact).await {
            Err(message) => failed(message),
            Ok(objects) => match self.apply(snapshot, objects, artifact, progress).await {
                Err(error) => failed(error.to_string()),
                Ok(Some(failure)) => failed(failure.sentence()),
                Ok(None) => "the rollback succeeded".into(),
            },
        }
    }

    async fn apply(
        self,
        snapshot: &mut Snapshot,
        objects: Vec<Object>,
        artifact: String,
        progress: &(dyn Fn(&str) + Sync),
    ) -> Result<Option<Failure>, ClusterError> {
        let Self {
            api,
            options,
            namespace,
            waiting,
            ..
        } = self;
        let component = snapshot
            .inventory
            .as_ref()
            .map(|inventory| inventory.component.clone());
        *snapshot = Snapshot::take(api, objects, namespace, component.as_ref()).await?;
        let plan = plan(api, snapshot, options).await?;
        let errors = plan.errors();
        if !errors.is_empty() {
            let errors = vec![join_reasons(errors.into_iter())];
            return Ok(Some(Failure::Refused {
                errors,
                is_guarded: false,
                is_forbidden: false,
            }));
        }
        let actions = actions(&plan, snapshot, options);
        let order = DeployRequest {
            actions,
            saved_plan: None,
            artifact: Some(artifact),
            waiting,
        };
        Ok(deploy(api, snapshot, &order, options, progress)
            .await?
            .failure)
    }
}
