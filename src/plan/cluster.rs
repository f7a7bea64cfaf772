//! The cluster that a plan names, and its credentials (`docs/wire-contract.md`, cluster info).

use super::cloud::Cloud;
use super::fields::{Fields, PlanError};
use crate::base::secret::Secret;

/// A cluster and how to authenticate to it. Exactly one way is used: `kube_config` if present, else
/// a cloud identity, else endpoint, CA and token.
#[derive(Debug, Clone, Default)]
pub struct ClusterInfo {
    /// Name of the cluster.
    pub id: String,
    /// URL of the API server, `https://…`.
    pub endpoint: String,
    /// CA certificate of the API server, as base64 of PEM.
    pub ca_data: String,
    /// Bearer token.
    pub token: Option<Secret>,
    /// A complete kubeconfig document.
    pub kube_config: Option<Secret>,
    /// The cloud identity to authenticate with.
    pub cloud: Option<Cloud>,
    /// ARN of an AWS role, assumed after all roles in `cloud`.
    pub trusted_role: Option<String>,
    secrets: Vec<Secret>,
}

impl ClusterInfo {
    pub(super) fn read(fields: &Fields<'_>) -> Result<Self, PlanError> {
        let nested = ["env_vars", "aws_auth"]
            .into_iter()
            .filter_map(|member| fields.object(member).ok().flatten());
        Ok(Self {
            id: fields.text_or_empty("id")?,
            endpoint: fields.text_or_empty("endpoint")?,
            ca_data: fields.text_or_empty("ca_data")?,
            token: fields.secret("token")?,
            kube_config: fields.secret("kube_config")?,
            cloud: Cloud::read(fields)?,
            trusted_role: fields.text("trusted_role_arn")?.map(str::to_owned),
            secrets: nested.flat_map(|object| object.all_texts()).collect(),
        })
    }

    /// Returns all secrets, for the redactor.
    pub fn secrets(&self) -> Vec<Secret> {
        let mut secrets = self.secrets.clone();
        secrets.extend(self.token.clone());
        if let Some(document) = &self.kube_config {
            secrets.extend(user_texts(document.expose()));
        }
        secrets
    }
}

/// Returns every scalar below `users` of a kubeconfig: tokens, passwords, keys.
fn user_texts(document: &str) -> Vec<Secret> {
    fn collect(node: &crate::yaml::Node, into: &mut Vec<Secret>) {
        match &node.value {
            crate::yaml::Value::Scalar(text, _) => into.push((&**text).into()),
            crate::yaml::Value::Sequence(items) => {
                items.iter().for_each(|item| collect(item, into))
            }
            crate::yaml::Value::Mapping(pairs) => {
                pairs.iter().for_each(|(_, value)| collect(value, into))
            }
        }
    }
    let mut texts = Vec::new();
    // An unreadable document yields no secrets; it is rejected as a whole when it is used.
    if let Ok(Some(node)) = crate::yaml::parse(document, crate::yaml::Limits::default())
        && let Some(users) = node.get("users").and_then(|users| users.as_sequence())
    {
        users
            .iter()
            .filter_map(|entry| entry.get("user"))
            .for_each(|user| collect(user, &mut texts));
    }
    texts
}
