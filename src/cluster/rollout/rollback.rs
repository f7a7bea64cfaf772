//! The way back: the last artifact of a component that succeeded is applied again.

use crate::cluster::client::{Api, ClusterError};
use crate::cluster::health::wait::Waiting;
use crate::cluster::rollout::deploy::{Failure, Order, deploy, some};
use crate::cluster::rollout::options::Options;
use crate::cluster::rollout::plan::plan;
use crate::cluster::rollout::preconditions::actions;
use crate::cluster::rollout::snapshot::Survey;
use crate::manifest::Object;

/// What a rollback says.
pub const CANNOT_BE_UNDONE: &str = "Jobs that have run, versions of definitions that objects are \
                                    stored in, and immutable fields stay as they are";

/// What is said if there is none.
const NOTHING: &str = "there is nothing to roll back to: no other artifact of this component has \
                       succeeded, and what came from elsewhere cannot be had again";

/// How one goes back.
pub struct Rollback<'a> {
    /// Where.
    pub api: &'a Api,
    /// How objects are changed.
    pub options: &'a Options,
    /// For objects that name none.
    pub namespace: &'a str,
    /// The artifact that did not become ready, if it was one.
    pub from: Option<&'a str>,
    /// How it is waited.
    pub waiting: Option<Waiting>,
}

impl Rollback<'_> {
    /// Goes back, if there is something to go back to; what is said of it. `survey` is of the deploy that failed, and
    /// then of the rollback; `pull` gives the objects of an artifact (`oci://…@sha256:…`).
    pub async fn run(
        self,
        survey: &mut Survey,
        pull: impl AsyncFnOnce(&str) -> Result<Vec<Object>, String>,
        told: &(dyn Fn(&str) + Sync),
    ) -> String {
        let good = survey
            .inventory
            .as_ref()
            .and_then(|inventory| inventory.last_good(self.from)?.artifact.clone());
        let Some(artifact) = good else {
            return NOTHING.into();
        };
        told(&format!("rolls back to {artifact}; {CANNOT_BE_UNDONE}"));
        let failed = |why: String| format!("the rollback failed too: {why}");
        match pull(&artifact).await {
            Err(message) => failed(message),
            Ok(objects) => match self.apply(survey, objects, artifact, told).await {
                Err(error) => failed(error.to_string()),
                Ok(Some(failure)) => failed(failure.sentence()),
                Ok(None) => "the rollback succeeded".into(),
            },
        }
    }

    async fn apply(
        self,
        survey: &mut Survey,
        objects: Vec<Object>,
        artifact: String,
        told: &(dyn Fn(&str) + Sync),
    ) -> Result<Option<Failure>, ClusterError> {
        let Self {
            api,
            options,
            namespace,
            waiting,
            ..
        } = self;
        let component = survey
            .inventory
            .as_ref()
            .map(|inventory| inventory.component.clone());
        *survey = Survey::take(api, objects, namespace, component.as_ref()).await?;
        let plan = plan(api, survey, options).await?;
        let errors = plan.errors();
        if !errors.is_empty() {
            let errors = vec![some(errors.into_iter())];
            return Ok(Some(Failure::Refused {
                errors,
                by_guard: false,
                is_forbidden: false,
            }));
        }
        let actions = actions(&plan, survey, options);
        let order = Order {
            actions,
            contract: None,
            artifact: Some(artifact),
            waiting,
        };
        Ok(deploy(api, survey, &order, options, told).await?.failure)
    }
}
