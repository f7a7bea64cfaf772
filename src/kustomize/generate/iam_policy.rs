//! `IAMPolicyGenerator`, which no field of a kustomization configures: makes a ServiceAccount that
//! acts as a Google Cloud service account.
//!
//! ```yaml
//! # the kustomization
//! generators:
//! - |-
//!   apiVersion: builtin
//!   kind: IAMPolicyGenerator
//!   metadata: {name: any}
//!   cloud: gke
//!   kubernetesService: {name: robot}
//!   serviceAccount: {name: robot, projectId: p}
//! # after
//! apiVersion: v1
//! kind: ServiceAccount
//! metadata:
//!   annotations: {iam.gke.io/gcp-service-account: robot@p.iam.gserviceaccount.com}
//!   name: robot
//! ```

use serde::Deserialize;

use super::{Generate, Generated};
use crate::kustomize::BuildError;
use crate::kustomize::go::json;
use crate::kustomize::load::host::Host;
use crate::kustomize::resource::Resource;

/// The config of an `IAMPolicyGenerator`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Account {
    cloud: String,
    kubernetes_service: AccountRef,
    service_account: AccountRef,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct AccountRef {
    name: String,
    namespace: String,
    project_id: String,
}

impl Generate for Account {
    fn generate(&self, _: &dyn Host) -> Result<Vec<Generated>, BuildError> {
        if self.cloud != "gke" {
            return Err(BuildError::new(format!(
                "cloud provider {} not supported yet",
                self.cloud
            )));
        }
        let account = &self.service_account;
        let email = format!(
            "{}@{}.iam.gserviceaccount.com",
            account.name, account.project_id
        );
        let mut resource = Resource::new(json::from_json(&serde_json::json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {
                "annotations": {"iam.gke.io/gcp-service-account": email},
                "name": self.kubernetes_service.name,
            },
        })));
        if !self.kubernetes_service.namespace.is_empty() {
            resource.set_namespace(&self.kubernetes_service.namespace);
        }
        Ok(vec![Generated::new(resource)])
    }
}
