//! Bearer tokens for clusters, made from cloud identities ([`crate::cloud`]). A token is renewed
//! before it expires, so it does not limit long waits.

mod eks;
mod endpoint;
mod gke;

use std::time::Duration;

use eks::Eks;
use tokio::sync::Mutex;

use crate::base::clock::Clock;
use crate::base::secret::Secret;
use crate::cloud::google::GoogleIdentity;
use crate::cloud::{IdentityError, Machine, azure};
use crate::plan::cloud::{AwsAuth, Cloud, GoogleAuth};

/// A token is renewed this long before it expires.
const RENEW_BEFORE_EXPIRY: Duration = Duration::from_secs(120);

/// Maximum lifetime assumed for a token, whatever the service says.
const MAX_TOKEN_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// Application ID of the AKS server, the same for all clusters with Entra integration.
const AKS_SERVER_APP_ID: &str = "6dae42f8-4368-4678-94ff-3960e28e3630";

/// Scope for a GKE cluster, which needs only the caller's identity (GKE, "Authenticate to the
/// Kubernetes API server").
const EMAIL_SCOPE: &str = "https://www.googleapis.com/auth/userinfo.email";

/// Source of tokens for one cluster.
pub struct Tokens {
    cloud: Cloud,
    cluster: String,
    endpoint: String,
    trusted_role: Option<String>,
    machine: Machine,
    clock: Clock,
    /// The current token, and the clock's elapsed time at which it is renewed.
    current: Mutex<Option<(Secret, Duration)>>,
}

impl Tokens {
    /// `cluster` is the cluster's name in its cloud; EKS tokens are bound to it.
    pub fn new(
        cloud: Cloud,
        cluster: &str,
        endpoint: &str,
        trusted_role: Option<String>,
        machine: Machine,
        clock: Clock,
    ) -> Self {
        let (cluster, endpoint) = (cluster.to_owned(), endpoint.to_owned());
        Self {
            cloud,
            cluster,
            endpoint,
            trusted_role,
            machine,
            clock,
            current: Mutex::default(),
        }
    }

    /// Checks that the plan's endpoint belongs to the cluster that the plan names, because tokens
    /// may be sent only there. Hosts in `allowed` pass without a check.
    ///
    /// # Errors
    /// [`IdentityError::UntrustedEndpoint`], or the reason why it cannot be checked.
    pub async fn check_endpoint(&self, allowed: &[String]) -> Result<(), IdentityError> {
        endpoint::check(self, allowed).await
    }

    /// Returns the current token, or a new one if that expires soon.
    ///
    /// # Errors
    /// Fails if the cloud gives no token.
    pub async fn token(&self) -> Result<Secret, IdentityError> {
        let mut current = self.current.lock().await;
        if let Some((secret, until)) = &*current
            && self.clock.elapsed() < *until
        {
            return Ok(secret.clone());
        }
        let token = match &self.cloud {
            Cloud::Aws(auth) => self.eks(auth).token().await?,
            Cloud::Azure(auth) => {
                azure::token(&self.machine, auth.tenant.as_deref(), AKS_SERVER_APP_ID).await?
            }
            Cloud::Google(auth) => self.google(auth).token(EMAIL_SCOPE).await?,
        };
        let until = self.clock.elapsed()
            + token
                .lifetime
                .min(MAX_TOKEN_LIFETIME)
                .saturating_sub(RENEW_BEFORE_EXPIRY);
        *current = Some((token.secret.clone(), until));
        Ok(token.secret)
    }

    fn eks<'a>(&'a self, auth: &'a AwsAuth) -> Eks<'a> {
        Eks {
            machine: &self.machine,
            auth,
            cluster: &self.cluster,
            endpoint: &self.endpoint,
            trusted_role: self.trusted_role.as_deref(),
            now: self.clock.now(),
        }
    }

    fn google<'a>(&'a self, auth: &'a GoogleAuth) -> GoogleIdentity<'a> {
        GoogleIdentity {
            machine: &self.machine,
            impersonate: auth.impersonate.as_deref(),
            provider: None,
            now: self.clock.now(),
        }
    }

    /// Discards the current token, because the cluster refuses it.
    pub async fn invalidate(&self) {
        *self.current.lock().await = None;
    }
}
