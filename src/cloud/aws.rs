//! AWS: the keys that a plan and the machine give, after all roles are assumed, and requests signed
//! with them.
//!
//! The order of the machine's sources is that of the AWS SDKs ("Standardized credential
//! providers"): the environment, a web identity, the profile, the container, the instance.

mod container;
mod profile;
mod sign;
mod sts;

use std::collections::BTreeMap;

use jiff::Timestamp;
use profile::Profiles;
pub use sign::{PresignedRequest, SignedPost};
pub(super) use sts::xml_element;

use crate::cloud::{IdentityError, Machine};
use crate::plan::cloud::{AwsAuth, AwsKeys, AwsRole};

/// Name of sessions that nobody else names.
const SESSION: &str = "nuon-runner";

/// An identity to sign requests with.
pub struct AwsIdentity<'a> {
    /// Provides keys if the plan has none.
    pub machine: &'a Machine,
    /// The identity in the plan.
    pub auth: &'a AwsAuth,
    /// Region if the plan has none.
    pub region: Option<&'a str>,
    /// ARN of a role to assume last, after the plan's roles.
    pub trusted_role: Option<&'a str>,
    /// Time of the signatures.
    pub now: Timestamp,
}

/// Keys, and the region and time that signatures with them name.
pub struct Signer {
    /// The region.
    pub region: String,
    keys: AwsKeys,
    now: Timestamp,
}

impl AwsIdentity<'_> {
    /// Gets the keys, after all roles are assumed.
    ///
    /// # Errors
    /// [`IdentityError`] if there are none, or a role may not be assumed.
    pub async fn signer(&self) -> Result<Signer, IdentityError> {
        let Self {
            machine, auth, now, ..
        } = *self;
        let profiles = Profiles::read(machine).await?;
        let region = self.signing_region(&profiles)?;
        let chosen = auth.profile.as_deref();
        let keys = match (&auth.keys, chosen) {
            (Some(keys), _) => keys.clone(),
            (None, Some(name)) => profiles.keys(machine, name, &region, now).await?,
            (None, None) => machine_keys(machine, &profiles, &region, now).await?,
        };
        let mut signer = Signer { region, keys, now };
        let trusted = self.trusted_role.map(|arn| AwsRole {
            arn: arn.to_owned(),
            session_name: SESSION.into(),
            seconds: 3600,
        });
        for role in auth.roles.iter().cloned().chain(trusted) {
            signer.keys = sts::assume_role(machine, &signer, &role).await?;
        }
        Ok(signer)
    }

    /// Returns the plan's region, else the caller's, else the machine's.
    fn signing_region(&self, profiles: &Profiles) -> Result<String, IdentityError> {
        let machine = self.machine;
        let region = Some(self.auth.region.as_str())
            .filter(|region| !region.is_empty())
            .or(self.region)
            .or_else(|| machine.variable("AWS_REGION"))
            .or_else(|| machine.variable("AWS_DEFAULT_REGION"))
            .or_else(|| profiles.region(self.auth.profile.as_deref()))
            .unwrap_or_default();
        let is_valid = !region.is_empty()
            && region
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '-');
        let missing = || {
            let message =
                "it has no valid region; set the region of the AWS identity, or AWS_REGION";
            IdentityError::Plan(message.into())
        };
        is_valid.then(|| region.to_owned()).ok_or_else(missing)
    }
}

impl Signer {
    /// Presigns a GET request; returns its URL without the scheme.
    pub fn presign(&self, request: &PresignedRequest<'_>, query: BTreeMap<&str, String>) -> String {
        request.url(&self.region, query, &self.keys, self.now)
    }

    /// Signs a POST request; returns its headers.
    pub fn sign(&self, request: &SignedPost<'_>) -> Vec<(String, String)> {
        request.headers(&self.region, &self.keys, self.now)
    }
}

/// Returns the host of a service in a region. China has its own domain.
pub fn host(service: &str, region: &str) -> String {
    let suffix = if region.starts_with("cn-") { ".cn" } else { "" };
    format!("{service}.{region}.amazonaws.com{suffix}")
}

/// Splits an address into its scheme (`https` if there is none) and the rest.
pub fn split_scheme(address: &str) -> (&str, &str) {
    address.split_once("://").unwrap_or(("https", address))
}

/// Returns the machine's keys from the first source that is there.
async fn machine_keys(
    machine: &Machine,
    profiles: &Profiles,
    region: &str,
    now: Timestamp,
) -> Result<AwsKeys, IdentityError> {
    if let (Some(id), Some(secret)) = (
        machine.variable("AWS_ACCESS_KEY_ID"),
        machine.variable("AWS_SECRET_ACCESS_KEY"),
    ) {
        let session = machine.variable("AWS_SESSION_TOKEN").map(Into::into);
        return Ok(AwsKeys {
            id: id.to_owned(),
            secret: secret.into(),
            session_token: session,
        });
    }
    if let (Some(arn), Some(file)) = (
        machine.variable("AWS_ROLE_ARN"),
        machine.variable("AWS_WEB_IDENTITY_TOKEN_FILE"),
    ) {
        let session = machine.variable("AWS_ROLE_SESSION_NAME").unwrap_or(SESSION);
        return sts::by_web_identity(machine, region, arn, session, file).await;
    }
    if let Some(name) = profiles.own(machine) {
        return profiles.keys(machine, name, region, now).await;
    }
    container::keys(machine).await
}
