//! From what a plan says of a registry to a repository that can be used.

use super::Registries;
use crate::plan::{self, RegistryKind};
use crate::registry::layout::Layout;
use crate::registry::{Address, Credential, RegistryError, Remote, Repository};
use crate::worker::failure::because;
use crate::worker::{Failure, FailureKind};

impl Registries {
    /// The repository that a plan names, with the plan's credentials.
    ///
    /// # Errors
    /// [`Failure`] of kind `Registry`.
    pub async fn open(&self, wanted: &plan::Repository) -> Result<Repository, Failure> {
        let because = because(FailureKind::Registry);
        match wanted.kind {
            RegistryKind::Ecr => Err(because(RegistryError::Unsupported("ecr"))),
            RegistryKind::Acr if wanted.password.is_none() => {
                Err(because(RegistryError::Unsupported("acr")))
            }
            RegistryKind::Gar => Err(because(RegistryError::Unsupported("gar"))),
            RegistryKind::OciLayout if self.local => {
                Ok(Repository::Layout(Layout::new(&wanted.address)))
            }
            RegistryKind::OciLayout => Err(because(RegistryError::Unsupported(
                "oci_layout outside of dev",
            ))),
            RegistryKind::Acr | RegistryKind::PrivateOci | RegistryKind::PublicOci => {
                let credential = match (&wanted.username, &wanted.password) {
                    (Some(username), Some(password)) => Credential::Password {
                        username: username.clone(),
                        password: password.clone(),
                        origin: "the plan's credential",
                    },
                    _ => Credential::Anonymous,
                };
                self.remote(&wanted.address, credential)
                    .await
                    .map_err(because)
            }
        }
    }

    /// A repository by its address alone, with the machine's own credentials for it, if any.
    ///
    /// # Errors
    /// [`Failure`] of kind `Registry`.
    pub async fn open_address(&self, address: &str) -> Result<Repository, Failure> {
        if self.local && address.starts_with('/') {
            return Ok(Repository::Layout(Layout::new(address)));
        }
        let because = because(FailureKind::Registry);
        let credential = match Address::parse(address) {
            Ok(address) => self.docker.find(&address),
            Err(error) => return Err(because(error)),
        };
        self.remote(address, credential).await.map_err(because)
    }

    async fn remote(
        &self,
        address: &str,
        credential: Credential,
    ) -> Result<Repository, RegistryError> {
        let address = Address::parse(address)?;
        let channel = self.connections.channel(&address, &self.insecure).await?;
        Ok(Repository::Remote(Box::new(Remote::new(
            address,
            credential,
            self.connections.clone(),
            channel,
        )?)))
    }
}
