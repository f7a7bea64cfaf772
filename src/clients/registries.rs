//! Opens repositories: from what a plan says, or by an address.

use crate::cloud::IdentityError;
use crate::plan::{self, Access, RegistryKind};
use crate::registry::credentials::MachineCredentials;
use crate::registry::layout::ImageLayout;
use crate::registry::login::Logins;
use crate::registry::reference::Place;
use crate::registry::remote::RegistryClients;
use crate::registry::{Address, Credential, RegistryError, Remote, Repository, Scheme};

/// Access to registries.
#[derive(Clone)]
pub struct Registries {
    /// Clients for registries.
    pub connections: RegistryClients,
    /// Hosts that are reached over http.
    pub insecure: Vec<String>,
    /// Docker credentials of this machine.
    pub docker: MachineCredentials,
    /// Log-ins of cloud identities.
    pub logins: Logins,
    /// Whether directories on disk may be used as registries.
    pub local: bool,
}

impl Registries {
    /// The repository that a plan names, with the credentials that it names.
    ///
    /// # Errors
    /// [`RegistryError`] if the address is none, or a cloud identity gives no password.
    pub async fn open(&self, wanted: &plan::PlanRepository) -> Result<Repository, RegistryError> {
        if wanted.kind == RegistryKind::OciLayout {
            return match self.local {
                true => Ok(Repository::Layout(ImageLayout::new(&wanted.address))),
                false => Err(RegistryError::LocalOnly),
            };
        }
        let address = Address::parse(&wanted.address)?;
        let scheme = self.connections.scheme(&address, &self.insecure).await?;
        let credential = match &wanted.access {
            Access::Anonymous => Credential::Anonymous,
            Access::Password { username, password } => Credential::Password {
                username: username.clone(),
                password: password.clone(),
                origin: "the plan's credential",
            },
            Access::Identity(identity) => {
                let login = self.logins.of(identity, &address, scheme)?;
                // Tells at once if there is no access.
                login.password().await?;
                Credential::Login(login)
            }
        };
        self.remote(address, credential, scheme)
    }

    /// The repository that a person names, with the machine's own credentials.
    ///
    /// # Errors
    /// [`RegistryError`] if the registry may not be reached, or the machine's identity gives no
    /// password.
    pub async fn open_reference(&self, place: &Place) -> Result<Repository, RegistryError> {
        match place {
            Place::Layout(path) => Ok(Repository::Layout(ImageLayout::new(path))),
            Place::Registry(address) => self.open_machines(address.clone()).await,
        }
    }

    /// A repository by its address alone, with the machine's own credentials for it, if any.
    ///
    /// # Errors
    /// [`RegistryError`] if the address is none, or the machine's identity gives no password.
    pub async fn open_address(&self, address: &str) -> Result<Repository, RegistryError> {
        if self.local && address.starts_with('/') {
            return Ok(Repository::Layout(ImageLayout::new(address)));
        }
        self.open_machines(Address::parse(address)?).await
    }

    async fn open_machines(&self, address: Address) -> Result<Repository, RegistryError> {
        let scheme = self.connections.scheme(&address, &self.insecure).await?;
        let credential = self.machines_own(&address, scheme).await?;
        self.remote(address, credential, scheme)
    }

    /// The machine's credentials for a registry: those of its docker configuration, else those of
    /// its cloud identity if the registry is one of that cloud.
    async fn machines_own(
        &self,
        address: &Address,
        scheme: Scheme,
    ) -> Result<Credential, RegistryError> {
        let credential = self.docker.find(address).await;
        let login = self.logins.of_machine(address, scheme);
        let (Credential::Anonymous, Some(login)) = (&credential, login) else {
            return Ok(credential);
        };
        match login.password().await {
            Ok(_) => Ok(Credential::Login(login)),
            // Public repositories of these registries can be read without an identity.
            Err(error @ IdentityError::NoIdentity { .. }) => {
                tracing::debug!(registry = address.host(), %error, "reading without credentials");
                Ok(credential)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn remote(
        &self,
        address: Address,
        credential: Credential,
        scheme: Scheme,
    ) -> Result<Repository, RegistryError> {
        let remote = Remote::new(address, credential, self.connections.clone(), scheme)?;
        Ok(Repository::Remote(Box::new(remote)))
    }
}
