//! Log-ins to the clouds' registries: a password made from a cloud identity.
//!
//! | registry | password |
//! |---|---|
//! | ECR, ECR Public | `GetAuthorizationToken` of its API, by a signed request; 12 hours |
//! | ACR | an Entra token, exchanged by the registry itself for a refresh token |
//! | Artifact Registry, Container Registry | a Google access token |
//!
//! A password works for whoever receives it, so it is made only for hosts in the cloud's own
//! domains, and for hosts that the operator allows. Passwords are kept by identity and host, and
//! made again before they expire; two jobs share one only if they have the same identity.

mod service;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;

use super::{Address, Scheme};
use crate::base::clock::Clock;
use crate::base::secret::Secret;
use crate::cloud::{IdentityError, Machine};
use crate::plan::cloud::{AwsAuth, AzureAuth, Cloud, GoogleAuth};

/// A password is made again this long before it expires, or when a fifth of its life is left.
const RENEW_BEFORE_EXPIRY: Duration = Duration::from_secs(300);

/// A password that a registry refuses is made again unless it is newer than this.
const MIN_AGE: Duration = Duration::from_secs(30);

/// Maximum lifetime assumed for a password, whatever the service says.
const MAX_LIFETIME: Duration = Duration::from_secs(12 * 3600);

/// A user name and password, and how long they work.
struct Password {
    username: String,
    secret: Secret,
    lifetime: Duration,
}

/// A password in use.
struct Current {
    username: String,
    secret: Secret,
    /// The clock's elapsed time at which it was made.
    made: Duration,
    /// The clock's elapsed time at which it is made again.
    until: Duration,
}

/// All log-ins of this process. Cheap to clone.
#[derive(Clone)]
pub struct Logins {
    machine: Machine,
    clock: Clock,
    allowed: Vec<String>,
    known: Arc<std::sync::Mutex<HashMap<[u8; 32], Arc<Login>>>>,
}

/// A cloud identity's access to one registry.
pub struct Login {
    identity: Cloud,
    host: String,
    scheme: Scheme,
    machine: Machine,
    clock: Clock,
    current: Mutex<Option<Current>>,
}

impl Logins {
    /// `machine` has the identities that plans leave open. Hosts in `allowed` get passwords
    /// whatever their domain.
    pub fn new(machine: Machine, allowed: Vec<String>, clock: Clock) -> Self {
        Self {
            machine,
            clock,
            allowed,
            known: Arc::default(),
        }
    }

    /// Returns the log-in of an identity to a registry, which is reached by this scheme. Sends
    /// nothing.
    ///
    /// # Errors
    /// [`IdentityError::UntrustedEndpoint`] if the registry is not one of the identity's cloud.
    pub fn of(
        &self,
        identity: &Cloud,
        address: &Address,
        scheme: Scheme,
    ) -> Result<Arc<Login>, IdentityError> {
        let host = address.host();
        let is_allowed = self
            .allowed
            .iter()
            .any(|name| name.eq_ignore_ascii_case(host));
        let (belongs, cloud) = match identity {
            Cloud::Aws(_) => (service::is_ecr(host), "AWS"),
            Cloud::Azure(_) => (service::is_acr(host), "Azure"),
            Cloud::Google(_) => (service::is_google(host), "Google Cloud"),
        };
        if !is_allowed && !belongs {
            let why = format!(
                "it is not a registry of {cloud}; add it to registry.allow_endpoints if it is the right one"
            );
            let host = host.to_owned();
            return Err(IdentityError::UntrustedEndpoint { host, why });
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // What no job holds and what expired is not needed any more.
        known.retain(|_, login| Arc::strong_count(login) > 1 || login.is_current());
        let login = known
            .entry(key(identity, host))
            .or_insert_with(|| Arc::new(self.login(identity, host, scheme)));
        Ok(login.clone())
    }

    /// Returns the log-in of the machine's own identity to a registry, if it is a registry of one
    /// of the clouds.
    pub fn of_machine(&self, address: &Address, scheme: Scheme) -> Option<Arc<Login>> {
        let host = address.host();
        let identity = if service::is_ecr(host) {
            Cloud::Aws(AwsAuth::default())
        } else if service::is_acr(host) {
            Cloud::Azure(AzureAuth::default())
        } else if service::is_google(host) {
            Cloud::Google(GoogleAuth::default())
        } else {
            return None;
        };
        self.of(&identity, address, scheme).ok()
    }

    fn login(&self, identity: &Cloud, host: &str, scheme: Scheme) -> Login {
        Login {
            identity: identity.clone(),
            host: host.to_owned(),
            scheme,
            machine: self.machine.clone(),
            clock: self.clock.clone(),
            current: Mutex::default(),
        }
    }
}

impl Login {
    /// Returns the user name and password: the current ones, or new ones if those expire soon.
    ///
    /// # Errors
    /// [`IdentityError`] if the identity does not exist, or gives no password.
    pub async fn password(&self) -> Result<(String, Secret), IdentityError> {
        let mut current = self.current.lock().await;
        if let Some(known) = &*current
            && self.clock.elapsed() < known.until
        {
            return Ok((known.username.clone(), known.secret.clone()));
        }
        let made = self.clock.elapsed();
        let now = self.clock.now();
        let password =
            service::login(&self.identity, &self.host, self.scheme, &self.machine, now).await?;
        let lifetime = password.lifetime.min(MAX_LIFETIME);
        let until = made + lifetime - RENEW_BEFORE_EXPIRY.min(lifetime / 5);
        let known = current.insert(Current {
            username: password.username,
            secret: password.secret,
            made,
            until,
        });
        Ok((known.username.clone(), known.secret.clone()))
    }

    /// Discards the password, because the registry refuses it. Returns false if it is so new that
    /// another one would be refused, too.
    pub async fn discard(&self) -> bool {
        let mut current = self.current.lock().await;
        let is_old = current
            .as_ref()
            .is_none_or(|known| self.clock.elapsed() >= known.made + MIN_AGE);
        if is_old {
            *current = None;
        }
        is_old
    }

    /// Where the passwords come from, for people.
    pub fn origin(&self) -> &'static str {
        match &self.identity {
            Cloud::Aws(auth) if auth.keys.is_some() => "the plan's AWS keys",
            Cloud::Aws(_) => "the AWS identity",
            Cloud::Azure(_) => "the Azure identity",
            Cloud::Google(_) => "the Google Cloud identity",
        }
    }

    fn is_current(&self) -> bool {
        let current = self.current.try_lock();
        current.is_ok_and(|current| {
            current
                .as_ref()
                .is_some_and(|known| self.clock.elapsed() < known.until)
        })
    }
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Login to {} with {}", self.host, self.origin())
    }
}

/// Returns the hash of everything that a password depends on, secret keys included: a job with the
/// right key id and a wrong secret gets no other job's password.
fn key(identity: &Cloud, host: &str) -> [u8; 32] {
    // The form for debugging names every member, with secrets masked.
    let secrets = match identity {
        Cloud::Aws(AwsAuth {
            keys: Some(keys), ..
        }) => {
            let session = keys.session_token.as_ref();
            vec![
                keys.secret.expose(),
                session.map_or("", |token| token.expose()),
            ]
        }
        _ => Vec::new(),
    };
    let parts = (format!("{identity:?}"), host, secrets);
    Sha256::digest(format!("{parts:?}")).into()
}
