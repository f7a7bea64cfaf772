//! Registries in plans (`docs/wire-contract.md`, registries).

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
    /// Username, if the plan has one.
    pub username: Option<String>,
    /// Password, if the plan has one.
    pub password: Option<Secret>,
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
        let auth = fields.object("OCIAuth")?;
        let (username, password) = match &auth {
            Some(auth) => (
                auth.text("Username")?.map(str::to_owned),
                auth.secret("Password")?,
            ),
            None => (None, None),
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
