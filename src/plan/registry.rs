//! Registries in plans (`docs/wire-contract.md`, registries).

use super::cloud::{AwsAuth, AzureAuth, Cloud, GoogleAuth};
use super::fields::{Fields, PlanError};
use crate::base::secret::Secret;

/// The type of a registry. Determines where its credentials come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegistryKind {
    /// Amazon ECR.
    Ecr,
    /// Azure ACR.
    Acr,
    /// Google Artifact Registry.
    Gar,
    /// Any registry, with username and password.
    PrivateOci,
    /// Any registry, without credentials.
    PublicOci,
    /// An OCI image layout in a local directory. Only in `dev`.
    OciLayout,
}

/// A repository in a registry, with its credentials.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanRepository {
    /// Type of the registry.
    pub kind: RegistryKind,
    /// `host[:port]/name`, without scheme, tag and digest. For an OCI layout, the path of its
    /// directory.
    pub address: String,
    /// What the plan says of its credentials.
    pub access: Access,
    secrets: Vec<Secret>,
}

/// How a plan says to authenticate to a registry.
#[derive(Debug, Clone, PartialEq)]
pub enum Access {
    /// Without credentials.
    Anonymous,
    /// With these.
    Password {
        /// User name; not secret.
        username: String,
        /// Password.
        password: Secret,
    },
    /// With a cloud identity.
    Identity(Cloud),
}

const KNOWN: &str = "ecr, acr, gar, private_oci, public_oci";

impl PlanRepository {
    pub(super) fn read(fields: &Fields<'_>) -> Result<Self, PlanError> {
        let fields = fields.clone().ignoring_case();
        let kind = match fields.required("RegistryType")? {
            "ecr" => RegistryKind::Ecr,
            "acr" => RegistryKind::Acr,
            "gar" => RegistryKind::Gar,
            "private_oci" => RegistryKind::PrivateOci,
            "public_oci" => RegistryKind::PublicOci,
            "oci_layout" => RegistryKind::OciLayout,
            word => {
                let (member, word) = (fields.path("RegistryType"), word.chars().take(40).collect());
                return Err(PlanError::UnknownValue {
                    member,
                    word,
                    known: KNOWN,
                });
            }
        };
        let repository = strip_scheme(fields.address("Repository")?);
        let server = match fields.text("LoginServer")? {
            Some(_) => Some(strip_scheme(fields.address("LoginServer")?)),
            None => None,
        };
        let address = match (kind, server) {
            (
                RegistryKind::Acr | RegistryKind::PrivateOci | RegistryKind::PublicOci,
                Some(server),
            ) if !repository.starts_with(&format!("{server}/")) => {
                format!("{server}/{repository}")
            }
            _ => repository.to_owned(),
        };
        let holders = ["OCIAuth", "ECRAuth"];
        let holders = holders
            .iter()
            .filter_map(|member| fields.object(member).ok()?);
        Ok(Self {
            kind,
            address,
            access: Access::read(kind, &fields)?,
            secrets: holders.flat_map(|holder| holder.all_texts()).collect(),
        })
    }

    /// Returns all secrets, for the redactor.
    pub fn secrets(&self) -> Vec<Secret> {
        self.secrets.clone()
    }
}

impl Access {
    /// A user name and password count before every cloud identity: the server resolved them.
    fn read(kind: RegistryKind, fields: &Fields<'_>) -> Result<Self, PlanError> {
        if let Some(auth) = fields.object("OCIAuth")?
            && let (Some(username), Some(password)) =
                (auth.text("Username")?, auth.secret("Password")?)
        {
            let username = username.to_owned();
            return Ok(Self::Password { username, password });
        }
        let text = |member: &str| Ok::<_, PlanError>(fields.text(member)?.map(str::to_owned));
        Ok(match kind {
            RegistryKind::Ecr => {
                let auth = fields.object("ECRAuth")?;
                let mut auth = match auth {
                    Some(auth) => AwsAuth::read(&auth)?,
                    None => AwsAuth::default(),
                };
                if auth.region.is_empty() {
                    auth.region = fields.text_or_empty("Region")?;
                }
                Self::Identity(Cloud::Aws(auth))
            }
            RegistryKind::Acr => {
                let auth = fields.object("ACRAuth")?;
                let auth = auth.map(|auth| AzureAuth::read(&auth)).transpose()?;
                Self::Identity(Cloud::Azure(auth.unwrap_or_default()))
            }
            RegistryKind::Gar => Self::Identity(Cloud::Google(GoogleAuth {
                impersonate: text("ServiceAccountEmail")?,
                provider: text("WorkloadIdentityProvider")?,
                ..GoogleAuth::default()
            })),
            RegistryKind::PrivateOci | RegistryKind::PublicOci | RegistryKind::OciLayout => {
                Self::Anonymous
            }
        })
    }
}

fn strip_scheme(address: &str) -> &str {
    let stripped = address
        .strip_prefix("https://")
        .or_else(|| address.strip_prefix("http://"))
        .unwrap_or(address);
    stripped.trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(registry: Value) -> PlanRepository {
        let map = registry.as_object().unwrap();
        PlanRepository::read(&Fields::new(map)).unwrap()
    }

    #[test]
    fn each_cloud_has_its_own_identity() {
        let role = json!({"role_arn": "arn:aws:iam::1:role/r", "session_name": "s"});
        let ecr = read(
            json!({"RegistryType": "ecr", "Region": "us-east-1", "Repository": "1.dkr.ecr.us-east-1.amazonaws.com/a",
            "LoginServer": "1.dkr.ecr.us-east-1.amazonaws.com", "ECRAuth": {"assume_role": role, "region": ""}}),
        );
        assert_eq!(ecr.address, "1.dkr.ecr.us-east-1.amazonaws.com/a");
        let Access::Identity(Cloud::Aws(auth)) = ecr.access else {
            panic!("{ecr:?}")
        };
        assert_eq!(
            (&*auth.region, &*auth.roles[0].arn),
            ("us-east-1", "arn:aws:iam::1:role/r")
        );
        let acr = read(
            json!({"RegistryType": "acr", "Repository": "app", "LoginServer": "i.azurecr.io", "ACRAuth": {"use_default": true}}),
        );
        assert_eq!(acr.address, "i.azurecr.io/app");
        assert_eq!(
            acr.access,
            Access::Identity(Cloud::Azure(AzureAuth::default()))
        );
        let gar = read(
            json!({"RegistryType": "gar", "Repository": "r-docker.pkg.dev/p/i", "ServiceAccountEmail": "a@p.iam.gserviceaccount.com"}),
        );
        let account = GoogleAuth {
            impersonate: Some("a@p.iam.gserviceaccount.com".into()),
            ..GoogleAuth::default()
        };
        assert_eq!(gar.access, Access::Identity(Cloud::Google(account)));
    }

    #[test]
    fn a_password_counts_before_an_identity() {
        let keys = json!({"access_key_id": "AKIA", "secret_access_key": "secret key"});
        let both = read(
            json!({"RegistryType": "ecr", "Repository": "r.example/a", "ECRAuth": {"region": "r", "static": keys},
            "OCIAuth": {"Username": "AWS", "Password": "short-lived"}}),
        );
        let password = Access::Password {
            username: "AWS".into(),
            password: "short-lived".into(),
        };
        assert_eq!(both.access, password);
        for secret in ["short-lived", "secret key"] {
            assert!(both.secrets().contains(&secret.into()), "{secret}");
        }
        let empty = read(
            json!({"RegistryType": "public_oci", "Repository": "r.example/a", "OCIAuth": {"Username": "", "Password": ""}}),
        );
        assert_eq!(empty.access, Access::Anonymous);
    }
}
