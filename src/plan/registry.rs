//! Registries as plans name them (protocol, section 5.4).

use super::fields::{Fields, PlanError};
use crate::base::secret::Secret;

/// What kind of registry it is, and so where its credentials come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegistryKind {
    /// Amazon ECR.
    Ecr,
    /// Azure ACR.
    Acr,
    /// Google Artifact Registry.
    Gar,
    /// Any registry, with user name and password.
    PrivateOci,
    /// Any registry, anonymous.
    PublicOci,
    /// A folder on this machine; only in `dev`.
    OciLayout,
}

/// A repository of a registry, with what is needed to enter it.
#[derive(Debug, Clone, PartialEq)]
pub struct Repository {
    /// What kind of registry holds it.
    pub kind: RegistryKind,
    /// `host[:port]/name`, without scheme, tag and digest; for a layout the folder's path.
    pub address: String,
    /// User name, or nothing.
    pub username: Option<String>,
    /// Password, or nothing.
    pub password: Option<Secret>,
}

const KNOWN: &str = "ecr, acr, gar, private_oci, public_oci";

impl Repository {
    pub(super) fn read(fields: &Fields<'_>) -> Result<Self, PlanError> {
        let fields = fields.clone().folded();
        let kind = match fields.required("RegistryType")? {
            "ecr" => RegistryKind::Ecr,
            "acr" => RegistryKind::Acr,
            "gar" => RegistryKind::Gar,
            "private_oci" => RegistryKind::PrivateOci,
            "public_oci" => RegistryKind::PublicOci,
            "oci_layout" => RegistryKind::OciLayout,
            word => {
                let (member, word) = (fields.path("RegistryType"), word.chars().take(40).collect());
                return Err(PlanError::UnknownWord {
                    member,
                    word,
                    known: KNOWN,
                });
            }
        };
        let auth = fields.object("OCIAuth")?;
        let (username, password) = match &auth {
            Some(auth) => (
                auth.text("Username")?.map(str::to_owned),
                auth.secret("Password")?,
            ),
            None => (None, None),
        };
        let repository = strip_scheme(fields.required("Repository")?);
        let address = match (kind, fields.text("LoginServer")?.map(strip_scheme)) {
            (
                RegistryKind::Acr | RegistryKind::PrivateOci | RegistryKind::PublicOci,
                Some(server),
            ) if !repository.starts_with(&format!("{server}/")) => {
                format!("{server}/{repository}")
            }
            _ => repository.to_owned(),
        };
        Ok(Self {
            kind,
            address,
            username,
            password,
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
