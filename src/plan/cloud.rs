//! Cloud identities in plans (`docs/wire-contract.md`, registries and cloud identities).

use super::fields::{Fields, PlanError};
use crate::base::secret::Secret;

/// The cloud identity used to authenticate to a cluster or a registry.
#[derive(Debug, Clone, PartialEq)]
pub enum Cloud {
    /// AWS, for EKS and ECR.
    Aws(AwsAuth),
    /// Azure, for AKS and ACR.
    Azure(AzureAuth),
    /// Google Cloud, for GKE and Artifact Registry.
    Google(GoogleAuth),
}

/// An AWS identity.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AwsAuth {
    /// Region; empty if the plan has none.
    pub region: String,
    /// A named profile of the machine's AWS configuration.
    pub profile: Option<String>,
    /// Static keys. Without them the machine's identity is used.
    pub keys: Option<AwsKeys>,
    /// Roles to assume one after the other. The last one is used.
    pub roles: Vec<AwsRole>,
}

/// An AWS access key.
#[derive(Debug, Clone, PartialEq)]
pub struct AwsKeys {
    /// Access key id.
    pub id: String,
    /// Secret access key.
    pub secret: Secret,
    /// Session token, for temporary keys.
    pub session_token: Option<Secret>,
}

/// An AWS role to assume.
#[derive(Debug, Clone, PartialEq)]
pub struct AwsRole {
    /// ARN of the role.
    pub arn: String,
    /// Session name.
    pub session_name: String,
    /// Session duration in seconds.
    pub seconds: u64,
}

/// An Azure identity: always the machine's.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AzureAuth {
    /// Tenant id of the subscription.
    pub tenant: Option<String>,
}

/// A Google Cloud identity: the machine's, or a service account that it may impersonate.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GoogleAuth {
    /// Project of the cluster.
    pub project: Option<String>,
    /// Region or zone of the cluster.
    pub region: Option<String>,
    /// Email address of the service account to impersonate.
    pub impersonate: Option<String>,
    /// Name of a workload identity provider that takes the machine's AWS identity.
    pub provider: Option<String>,
}

impl Cloud {
    /// Reads the identity, if the fields contain one.
    pub(super) fn read(fields: &Fields<'_>) -> Result<Option<Self>, PlanError> {
        if let Some(auth) = fields.object("aws_auth")? {
            return AwsAuth::read(&auth).map(Self::Aws).map(Some);
        }
        if let Some(auth) = fields.object("azure_auth")? {
            return AzureAuth::read(&auth).map(Self::Azure).map(Some);
        }
        match fields.value("gcp_auth") {
            None => Ok(None),
            // `true` means an empty object, `false` no identity.
            Some(serde_json::Value::Bool(is_meant)) => {
                Ok(is_meant.then(|| Self::Google(GoogleAuth::default())))
            }
            Some(_) => {
                let auth = fields.object("gcp_auth")?;
                let text = |member: &str| {
                    let text = auth
                        .as_ref()
                        .map(|auth| auth.text_or_empty(member))
                        .transpose()?;
                    Ok::<_, PlanError>(text.filter(|text| !text.is_empty()))
                };
                let (project, region) = (text("project_id")?, text("region")?);
                Ok(Some(Self::Google(GoogleAuth {
                    project,
                    region,
                    impersonate: text("impersonate_service_account")?,
                    provider: None,
                })))
            }
        }
    }
}

impl AzureAuth {
    pub(super) fn read(fields: &Fields<'_>) -> Result<Self, PlanError> {
        let principal = fields.object("service_principal")?;
        let tenant = principal
            .map(|principal| principal.text_or_empty("subscription_tenant_id"))
            .transpose()?;
        Ok(Self {
            tenant: tenant.filter(|tenant| !tenant.is_empty()),
        })
    }
}

impl AwsAuth {
    pub(super) fn read(fields: &Fields<'_>) -> Result<Self, PlanError> {
        let mut auth = Self {
            region: fields.text_or_empty("region")?,
            profile: fields.text("profile")?.map(str::to_owned),
            keys: fields
                .object("static")?
                .map(|keys| AwsKeys::read(&keys))
                .transpose()?
                .flatten(),
            roles: Vec::new(),
        };
        let Some(role) = fields.object("assume_role")? else {
            return Ok(auth);
        };
        let (session, seconds) = (
            role.text_or_empty("session_name")?,
            role.value("session_duration_seconds"),
        );
        let seconds = seconds
            .and_then(serde_json::Value::as_u64)
            .filter(|seconds| *seconds > 0)
            .unwrap_or(3600);
        if let Some(first) = role.object("two_step_config")? {
            let keys = first
                .object("src_static_credentials")?
                .map(|keys| AwsKeys::read(&keys))
                .transpose()?;
            auth.keys = keys.flatten().or(auth.keys);
            for member in ["src_iam_role_arn", "iam_role_arn"] {
                let arn = first.text_or_empty(member)?;
                if !arn.is_empty() {
                    auth.roles.push(AwsRole {
                        arn,
                        session_name: session.clone(),
                        seconds: 3600,
                    });
                }
            }
        }
        auth.roles.push(AwsRole {
            arn: role.text_or_empty("role_arn")?,
            session_name: session,
            seconds,
        });
        Ok(auth)
    }
}

impl AwsKeys {
    fn read(fields: &Fields<'_>) -> Result<Option<Self>, PlanError> {
        let (id, secret) = (
            fields.text_or_empty("access_key_id")?,
            fields.secret("secret_access_key")?,
        );
        let session = fields.secret("session_token")?;
        Ok(secret.filter(|_| !id.is_empty()).map(|secret| Self {
            id,
            secret,
            session_token: session,
        }))
    }
}
