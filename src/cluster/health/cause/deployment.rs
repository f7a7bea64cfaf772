//! Why a Deployment does not become ready: its newest pods, a pause, old pods that remain, and what
//! its controller says.

use serde_json::Value;

use super::owned::owned_by;
use super::pod::condition;
use super::{Finder, StatusCause, code, refusal};
use crate::cluster::client::ClusterError;
use crate::manifest::Object;

impl Finder<'_> {
    /// Diagnoses a Deployment.
    pub(super) async fn deployment(
        &self,
        deployment: &Object,
    ) -> Result<Option<StatusCause>, ClusterError> {
        let status = deployment.0.get("status").unwrap_or(&Value::Null);
        let sets = owned_by(self.api, self.served, deployment, "apps/v1", "ReplicaSet").await?;
        let revision = |object: &Object| {
            object
                .annotation("deployment.kubernetes.io/revision")
                .map(str::to_owned)
        };
        let newest = sets
            .iter()
            .find(|set| revision(set).is_some() && revision(set) == revision(deployment));
        let cause = match newest {
            Some(set) => self.owner_of_pods(deployment, set).await?,
            None => None,
        };
        let is_paused = deployment.0.get("spec").and_then(|spec| spec.get("paused"));
        if cause.is_none() && is_paused == Some(&Value::Bool(true)) {
            let message = "the Deployment is paused, so nothing is rolled out";
            return Ok(Some(StatusCause::new(code::PAUSED, deployment, message)));
        }
        let cause = match cause {
            Some(cause) => Some(cause),
            None => self.old_pod(deployment, &sets).await?,
        };
        let failed = || condition(status, "Progressing", "False");
        Ok(cause.or_else(|| {
            let message = failed()?;
            let is_late = message.contains("timed out progressing");
            let code = if is_late {
                code::PROGRESS_DEADLINE
            } else {
                refusal::of(message)
            };
            Some(StatusCause::new(code, deployment, message))
        }))
    }

    /// Diagnoses a Deployment with the strategy Recreate whose old pods do not end: no new one is
    /// made before.
    async fn old_pod(
        &self,
        deployment: &Object,
        sets: &[Object],
    ) -> Result<Option<StatusCause>, ClusterError> {
        let strategy = deployment
            .0
            .get("spec")
            .and_then(|spec| spec.get("strategy")?.get("type"));
        if strategy.and_then(Value::as_str) != Some("Recreate") {
            return Ok(None);
        }
        for set in sets {
            let pods = owned_by(self.api, self.served, set, "v1", "Pod").await?;
            let ending = |pod: &&Object| pod.metadata("deletionTimestamp").is_some();
            if let Some(pod) = pods.iter().find(ending) {
                let message = "the old pod has not ended, and no new one is made before it has";
                let mut cause = StatusCause::new(code::OLD_POD_REMAINS, deployment, message);
                cause.chain.push(pod.subject());
                return Ok(Some(cause));
            }
        }
        Ok(None)
    }
}
