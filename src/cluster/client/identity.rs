//! Bearer tokens for clusters, made from cloud identities in this process: without helper programs,
//! and without changes to the environment. A token is renewed before it expires, so it does not
//! limit long waits.
//!
//! The machine's own identity is found by the same environment variables as in the clouds' own
//! tools. The caller passes them in.

mod aws;
mod azure;
mod endpoint;
mod google;

use std::collections::HashMap;
use std::time::Duration;

use aws::Eks;
use tokio::sync::Mutex;

use crate::base::bounded;
use crate::base::clock::Clock;
use crate::base::error::chain;
use crate::base::invalid::InvalidInput;
use crate::base::secret::Secret;
use crate::plan::cloud::{AwsAuth, Cloud};

/// A token is renewed this long before it expires.
const RENEW_BEFORE_EXPIRY: Duration = Duration::from_secs(120);

/// Maximum size of a response of an identity service, in bytes.
const MAX_RESPONSE_BYTES: usize = 1 << 20;

/// Maximum lifetime assumed for a token, whatever the service says.
const MAX_TOKEN_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// Timeout of a request to an identity service.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Environment variables that define a machine's identity, or override the addresses of the clouds'
/// services.
pub(super) const VARIABLES: [&str; 19] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_ENDPOINT_URL_STS",
    "AWS_ENDPOINT_URL_EKS",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    "AZURE_CLIENT_ID",
    "AZURE_TENANT_ID",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_AUTHORITY_HOST",
    "AZURE_POD_IDENTITY_AUTHORITY_HOST",
    "GCE_METADATA_HOST",
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS",
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_CONTAINER",
];

/// Why there is no token. No message contains a credential.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The machine has no identity in this cloud.
    #[error("this machine has no identity in {cloud}: {message}")]
    NoIdentity {
        /// Name of the cloud.
        cloud: &'static str,
        /// The sources that were tried.
        message: String,
    },
    /// A request to a service failed, or its response cannot be used.
    #[error("the request to {service} failed: {message}")]
    Service {
        /// Name of the service.
        service: &'static str,
        /// What went wrong.
        message: String,
    },
    /// A service answered with an error status.
    #[error("{service} answered {status}{}", code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default())]
    Refused {
        /// Name of the service.
        service: &'static str,
        /// HTTP status.
        status: u16,
        /// The service's error code, such as `AccessDenied`.
        code: Option<String>,
    },
    /// The plan's endpoint is not the cluster's, or that cannot be verified.
    #[error("no token is sent to {host}: {why}")]
    UntrustedEndpoint {
        /// Host of the plan's endpoint.
        host: String,
        /// Why the host is not trusted.
        why: String,
    },
    /// The plan's identity settings cannot be used.
    #[error("the plan's identity cannot be used: {0}")]
    Plan(String),
}

/// The environment of the machine's identity, and the HTTP client for the clouds' services.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    variables: HashMap<&'static str, String>,
    http: Option<reqwest::Client>,
}

impl Machine {
    /// `variable` looks up the process's environment; `http` sends requests to the clouds'
    /// services. Empty variables count as unset.
    pub fn new(variable: &dyn Fn(&str) -> Option<String>, http: reqwest::Client) -> Self {
        let variables = VARIABLES
            .into_iter()
            .filter_map(|name| Some((name, variable(name)?)));
        Self {
            variables: variables.filter(|(_, text)| !text.is_empty()).collect(),
            http: Some(http),
        }
    }

    fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// Reads the file that a variable names; none if the variable is not set.
    async fn file(
        &self,
        name: &str,
        service: &'static str,
    ) -> Result<Option<String>, IdentityError> {
        let Some(path) = self.variable(name) else {
            return Ok(None);
        };
        let text = tokio::fs::read_to_string(path).await;
        let unreadable = |error: std::io::Error| IdentityError::Service {
            service,
            message: format!("{name}: {error}"),
        };
        text.map(|text| Some(text.trim().to_owned()))
            .map_err(unreadable)
    }

    /// Sends a request and returns the text of the response.
    async fn send(
        &self,
        service: &'static str,
        request: impl FnOnce(&reqwest::Client) -> reqwest::RequestBuilder,
    ) -> Result<String, IdentityError> {
        let failed = |message: String| IdentityError::Service { service, message };
        let http = self
            .http
            .as_ref()
            .ok_or_else(|| failed("there is no HTTP client".into()))?;
        // The library's error could quote the URL, which may contain a signature.
        let answer = request(http).timeout(REQUEST_TIMEOUT).send().await;
        let answer = answer.map_err(|error| failed(chain(&error.without_url())))?;
        let status = answer.status();
        let text = body_text(answer).await;
        if status.is_success() {
            return text.map_err(|error| failed(error.to_string()));
        }
        let code = text.ok().and_then(|text| error_code(&text));
        Err(IdentityError::Refused {
            service,
            status: status.as_u16(),
            code,
        })
    }
}

/// Reads the body of a response as UTF-8.
async fn body_text(response: reqwest::Response) -> Result<String, InvalidInput> {
    let bytes = bounded::read(response, MAX_RESPONSE_BYTES)
        .await
        .map_err(|error| error.to_string())?;
    String::from_utf8(bytes.into()).map_err(|_| "its response is not UTF-8".into())
}

/// Returns the error code in an error response of any of the services, at most 60 characters.
fn error_code(text: &str) -> Option<String> {
    let code = match serde_json::from_str::<serde_json::Value>(text) {
        Ok(json) => {
            let error = json.get("error")?;
            error
                .as_str()
                .or_else(|| error.get("status")?.as_str())?
                .to_owned()
        }
        Err(_) => aws::xml_element(text, "Code")?,
    };
    Some(
        code.chars()
            .filter(|c| c.is_ascii_graphic())
            .take(60)
            .collect(),
    )
}

/// A token and its lifetime.
struct Token {
    secret: Secret,
    lifetime: Duration,
}

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
            Cloud::Azure(auth) => azure::token(&self.machine, auth).await?,
            Cloud::Google(auth) => google::token(&self.machine, auth).await?,
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

    /// Discards the current token, because the cluster refuses it.
    pub async fn invalidate(&self) {
        *self.current.lock().await = None;
    }
}
