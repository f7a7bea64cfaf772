//! Causes of claims that are not bound, and of pods that wait for them.

use serde_json::Value;

use super::code::{CauseCode, Recoverability};
use super::{Finder, StatusCause, code, event, event_line};
use crate::cluster::client::ClusterError;
use crate::manifest::Object;

impl Finder<'_> {
    /// Returns the cause for the first claim of a pod that is not bound.
    pub(super) async fn unbound_claim(
        &self,
        pod: &Object,
    ) -> Result<Option<StatusCause>, ClusterError> {
        let volumes = pod
            .0
            .get("spec")
            .and_then(|spec| spec.get("volumes"))
            .and_then(Value::as_array);
        let names = volumes
            .into_iter()
            .flatten()
            .filter_map(|volume| volume.pointer("/persistentVolumeClaim/claimName"));
        let resource = &self.served.kind("v1", "PersistentVolumeClaim")?.api;
        for name in names.filter_map(Value::as_str) {
            if let Some(claim) = self.api.get(resource, pod.namespace(), name).await?
                && let Some(cause) = self.claim(&claim).await?
                && !cause.is_unused_claim()
            {
                return Ok(Some(cause));
            }
        }
        Ok(None)
    }

    /// Diagnoses a PersistentVolumeClaim by its events
    /// (pkg/controller/volume/persistentvolume/pv_controller.go).
    pub(super) async fn claim(&self, claim: &Object) -> Result<Option<StatusCause>, ClusterError> {
        let phase = claim
            .0
            .get("status")
            .and_then(|status| status.get("phase")?.as_str())
            .unwrap_or_default();
        if phase == "Bound" {
            return Ok(None);
        }
        let events = event::of(self.api, self.served, claim).await?;
        let is_begun = events.iter().any(|event| event.reason == "Provisioning");
        let causes = events.iter().rev().filter_map(|event| {
            let code = match event.reason.as_str() {
                "ProvisioningFailed"
                    if event.message.contains("storageclass")
                        && event.message.contains("not found") =>
                {
                    code::STORAGE_CLASS_MISSING
                }
                // The driver continues after this error.
                "ProvisioningFailed" if event.message.contains("DeadlineExceeded") => CauseCode {
                    recoverability: Recoverability::Recovers,
                    ..code::PROVISIONING_FAILED
                },
                "ProvisioningFailed" => code::PROVISIONING_FAILED,
                "FailedBinding" => code::NO_STORAGE_CLASS,
                "WaitForFirstConsumer" => code::CLAIM_WITHOUT_CONSUMER,
                "ExternalProvisioning" if is_begun => CauseCode {
                    recoverability: Recoverability::Recovers,
                    ..code::PROVISIONER_SILENT
                },
                "ExternalProvisioning" => code::PROVISIONER_SILENT,
                "ClaimLost" => code::CLAIM_LOST,
                _ => return None,
            };
            Some((code, event))
        });
        let causes: Vec<_> = causes.collect();
        // A driver that fails goes on to be waited for.
        let failed = causes
            .iter()
            .find(|(_, event)| event.reason == "ProvisioningFailed");
        let found = failed.or(causes.first());
        Ok(found.map(|(code, event)| StatusCause {
            event: Some(event_line(event)),
            ..StatusCause::new(*code, claim, &event.message)
        }))
    }
}
