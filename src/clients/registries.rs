//! Opens repositories: from what a plan says, or by an address.

use crate::plan;
use crate::plan::RegistryKind;
use crate::registry::credentials::DockerConfig;
use crate::registry::layout::ImageLayout;
use crate::registry::remote::RegistryClients;
use crate::registry::{Address, Credential, RegistryError, Remote, Repository};

/// Access to registries.
#[derive(Clone)]
pub struct Registries {
    /// Clients for registries.
    pub connections: RegistryClients,
    /// Hosts that are reached over http.
    pub insecure: Vec<String>,
    /// Docker credentials of this machine.
    pub docker: DockerConfig,
    /// Whether directories on disk may be used as registries.
    pub local: bool,
}

impl Registries {
    /// The repository that a plan names, with the plan's credentials.
    ///
    /// # Errors
    /// [`RegistryError`] if the address is none, or this kind of registry is not supported.
    pub async fn open(&self, wanted: &plan::PlanRepository) -> Result<Repository, RegistryError> {
        match wanted.kind {
            RegistryKind::Ecr => Err(RegistryError::Unsupported("ecr")),
            RegistryKind::Acr if wanted.password.is_none() => {
                Err(RegistryError::Unsupported("acr"))
            }
            RegistryKind::Gar => Err(RegistryError::Unsupported("gar")),
            RegistryKind::OciLayout if self.local => {
                Ok(Repository::Layout(ImageLayout::new(&wanted.address)))
            }
            RegistryKind::OciLayout => Err(RegistryError::Unsupported("oci_layout outside of dev")),
            RegistryKind::Acr | RegistryKind::PrivateOci | RegistryKind::PublicOci => {
                let credential = match (&wanted.username, &wanted.password) {
                    (Some(username), Some(password)) => Credential::Password {
                        username: username.clone(),
                        password: password.clone(),
                        origin: "the plan's credential",
                    },
                    _ => Credential::Anonymous,
                };
                self.remote(&wanted.address, credential).await
            }
        }
    }

    /// A repository by its address alone, with the machine's own credentials for it, if any.
    ///
    /// # Errors
    /// [`RegistryError`] if the address is none, or this kind of registry is not supported.
    pub async fn open_address(&self, address: &str) -> Result<Repository, RegistryError> {
        if self.local && address.starts_with('/') {
            return Ok(Repository::Layout(ImageLayout::new(address)));
        }
        let credential = match Address::parse(address) {
            Ok(address) => self.docker.find(&address),
            Err(error) => return Err(error),
        };
        self.remote(address, credential).await
    }

    async fn remote(
        &self,
        address: &str,
        credential: Credential,
    ) -> Result<Repository, RegistryError> {
        let address = Address::parse(address)?;
        let scheme = self.connections.scheme(&address, &self.insecure).await?;
        Ok(Repository::Remote(Box::new(Remote::new(
            address,
            credential,
            self.connections.clone(),
            scheme,
        )?)))
    }
}
