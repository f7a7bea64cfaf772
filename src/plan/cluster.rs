//! How a plan names a cluster (protocol, section 5.5).

use super::cloud::Cloud;
use super::fields::{Fields, PlanError};
use crate::base::secret::Secret;

/// A cluster and how to enter it. Exactly one way is taken: `kube_config` wins, then the cloud
/// identities, then endpoint, CA and token.
#[derive(Debug, Clone, Default)]
pub struct ClusterInfo {
    /// Its name.
    pub id: String,
    /// `https://…` of its API server.
    pub endpoint: String,
    /// Base64 of its CA certificate (PEM).
    pub ca_data: String,
    /// A bearer token.
    pub token: Option<Secret>,
    /// A whole kubeconfig document.
    pub kube_config: Option<Secret>,
    /// The cloud identity that the plan wants to be used.
    pub cloud: Option<Cloud>,
    /// A role of AWS to take at last.
    pub trusted_role: Option<String>,
    secrets: Vec<Secret>,
}

impl ClusterInfo {
    pub(super) fn read(fields: &Fields<'_>) -> Result<Self, PlanError> {
        let nested = ["env_vars", "aws_auth"]
            .into_iter()
            .filter_map(|member| fields.object(member).ok().flatten());
        Ok(Self {
            id: fields.owned("id")?,
            endpoint: fields.owned("endpoint")?,
            ca_data: fields.owned("ca_data")?,
            token: fields.secret("token")?,
            kube_config: fields.secret("kube_config")?,
            cloud: Cloud::read(fields)?,
            trusted_role: fields.text("trusted_role_arn")?.map(str::to_owned),
            secrets: nested.flat_map(|object| object.all_texts()).collect(),
        })
    }

    /// Texts that must not be seen.
    pub fn secrets(&self) -> Vec<Secret> {
        let mut secrets = self.secrets.clone();
        secrets.extend(self.token.clone());
        if let Some(document) = &self.kube_config {
            secrets.extend(user_texts(document.expose()));
        }
        secrets
    }
}

/// Every text below `users` of a kubeconfig: tokens, passwords, keys.
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
    // A document that cannot be read has no parts; it is refused as a whole when it is used.
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
