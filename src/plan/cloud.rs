//! Cloud identities that a plan names (protocol, section 5.4).

use super::fields::{Fields, PlanError};
use crate::base::secret::Secret;

/// Whose identity is used to enter a cluster.
#[derive(Debug, Clone)]
pub enum Cloud {
    /// EKS.
    Aws(AwsAuth),
    /// AKS.
    Azure(AzureAuth),
    /// GKE.
    Google(GoogleAuth),
}

/// An identity in AWS.
#[derive(Debug, Clone, Default)]
pub struct AwsAuth {
    /// Region; empty if the plan has none.
    pub region: String,
    /// A named profile, which only a machine with the files of one has.
    pub profile: Option<String>,
    /// Keys.
    pub keys: Option<AwsKeys>,
    /// Roles to take one after the other, the last one is used.
    pub roles: Vec<AwsRole>,
}

/// Keys of AWS.
#[derive(Debug, Clone)]
pub struct AwsKeys {
    /// Names the key.
    pub id: String,
    /// The key.
    pub secret: Secret,
    /// Of temporary keys.
    pub session: Option<Secret>,
}

/// A role in AWS.
#[derive(Debug, Clone)]
pub struct AwsRole {
    /// Its ARN.
    pub arn: String,
    /// Name of the session.
    pub session: String,
    /// Seconds that it is taken for.
    pub seconds: u64,
}

/// An identity in Azure: the machine's.
#[derive(Debug, Clone, Default)]
pub struct AzureAuth {
    /// The tenant.
    pub tenant: Option<String>,
}

/// An identity in Google's cloud: the machine's, or one that it may impersonate.
#[derive(Debug, Clone, Default)]
pub struct GoogleAuth {
    /// The project of the cluster.
    pub project: Option<String>,
    /// Its region or zone.
    pub region: Option<String>,
    /// E-mail address of the service account that is impersonated.
    pub impersonate: Option<String>,
}

impl Cloud {
    /// The identity that the fields name, if they name one.
    pub(super) fn read(fields: &Fields<'_>) -> Result<Option<Self>, PlanError> {
        if let Some(auth) = fields.object("aws_auth")? {
            return AwsAuth::read(&auth).map(Self::Aws).map(Some);
        }
        if let Some(auth) = fields.object("azure_auth")? {
            let principal = auth.object("service_principal")?;
            let tenant = principal
                .map(|principal| principal.owned("subscription_tenant_id"))
                .transpose()?;
            return Ok(Some(Self::Azure(AzureAuth {
                tenant: tenant.filter(|tenant| !tenant.is_empty()),
            })));
        }
        match fields.value("gcp_auth") {
            None => Ok(None),
            // A bare boolean means an empty object.
            Some(serde_json::Value::Bool(is_meant)) => {
                Ok(is_meant.then(|| Self::Google(GoogleAuth::default())))
            }
            Some(_) => {
                let auth = fields.object("gcp_auth")?;
                let text = |member: &str| {
                    let text = auth.as_ref().map(|auth| auth.owned(member)).transpose()?;
                    Ok::<_, PlanError>(text.filter(|text| !text.is_empty()))
                };
                let (project, region) = (text("project_id")?, text("region")?);
                Ok(Some(Self::Google(GoogleAuth {
                    project,
                    region,
                    impersonate: text("impersonate_service_account")?,
                })))
            }
        }
    }
}

impl AwsAuth {
    fn read(fields: &Fields<'_>) -> Result<Self, PlanError> {
        let mut auth = Self {
            region: fields.owned("region")?,
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
            role.owned("session_name")?,
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
                let arn = first.owned(member)?;
                if !arn.is_empty() {
                    auth.roles.push(AwsRole {
                        arn,
                        session: session.clone(),
                        seconds: 3600,
                    });
                }
            }
        }
        auth.roles.push(AwsRole {
            arn: role.owned("role_arn")?,
            session,
            seconds,
        });
        Ok(auth)
    }
}

impl AwsKeys {
    fn read(fields: &Fields<'_>) -> Result<Option<Self>, PlanError> {
        let (id, secret) = (
            fields.owned("access_key_id")?,
            fields.secret("secret_access_key")?,
        );
        let session = fields.secret("session_token")?;
        Ok(secret.filter(|_| !id.is_empty()).map(|secret| Self {
            id,
            secret,
            session,
        }))
    }
}
