//! Identities in AWS, Azure and Google Cloud: keys and bearer tokens, made in this process, without
//! helper programs and without changes to the environment.
//!
//! The machine's own identity is found by the same environment variables and files as in the
//! clouds' own tools; the caller passes the environment in. A plan may name roles and accounts to
//! act as. Clusters ([`crate::cluster`]) and registries ([`crate::registry`]) make what they need
//! of these: each sends it only to hosts that it has checked.
//!
//! The clouds' own libraries are not used: they read the process's environment and home directory
//! by themselves, and all three together make the program a quarter larger (`docs/figures.md`).

pub mod aws;
pub mod azure;
pub mod google;

mod ini;

use std::collections::HashMap;
use std::time::Duration;

use crate::base::bounded;
use crate::base::error::chain;
use crate::base::invalid::InvalidInput;
use crate::base::secret::Secret;

/// Maximum size of a response of an identity service, in bytes.
const MAX_RESPONSE_BYTES: usize = 1 << 20;

/// Timeout of a request to an identity service.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Environment variables that define a machine's identity, or override the addresses of the clouds'
/// services.
pub const VARIABLES: [&str; 35] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_PROFILE",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_ENDPOINT_URL_STS",
    "AWS_ENDPOINT_URL_EKS",
    "AWS_ENDPOINT_URL_ECR",
    "AWS_ENDPOINT_URL_ECR_PUBLIC",
    "AWS_EC2_METADATA_DISABLED",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_TENANT_ID",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_AUTHORITY_HOST",
    "AZURE_POD_IDENTITY_AUTHORITY_HOST",
    "IDENTITY_ENDPOINT",
    "IDENTITY_HEADER",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GCE_METADATA_HOST",
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_CONTAINER",
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS",
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_STS",
    "HOME",
];

/// Why there is no key or token. No message contains a credential.
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
    /// A token would go to a host that is not known to be the right one.
    #[error("no token is sent to {host}: {why}")]
    UntrustedEndpoint {
        /// Host of the endpoint.
        host: String,
        /// Why the host is not trusted.
        why: String,
    },
    /// The plan's identity settings cannot be used.
    #[error("the plan's identity cannot be used: {0}")]
    Plan(String),
    /// A file with the machine's identity cannot be used.
    #[error("the machine's identity in {path} cannot be used: {message}")]
    File {
        /// Path of the file.
        path: String,
        /// What is wrong with it.
        message: String,
    },
}

/// A token and its lifetime.
pub struct Token {
    /// The token.
    pub secret: Secret,
    /// How long it works from now on.
    pub lifetime: Duration,
}

/// The environment of the machine's identity, and the HTTP client for the clouds' services. Cheap
/// to clone.
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

    /// Returns an environment variable, if it is one of [`VARIABLES`] and not empty.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// Returns the address of a service, which an environment variable may override, without a
    /// trailing `/`.
    pub fn address(&self, variable: &str, standard: impl Into<String>) -> String {
        let address = self
            .variable(variable)
            .map_or_else(|| standard.into(), str::to_owned);
        address.trim_end_matches('/').to_owned()
    }

    /// Reads the file that a variable names, without white space at its ends; none if the variable
    /// is not set.
    async fn file(&self, name: &str) -> Result<Option<String>, IdentityError> {
        match self.variable(name) {
            Some(path) => read_file(path).await.map(Some),
            None => Ok(None),
        }
    }

    /// Sends a request and returns the text of the response.
    ///
    /// # Errors
    /// [`IdentityError::Service`] and [`IdentityError::Refused`], with the name of the service.
    pub async fn send(
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

/// Reads a small text file of the machine, without white space at its ends.
async fn read_file(path: &str) -> Result<String, IdentityError> {
    let text = tokio::fs::read_to_string(path).await;
    text.map(|text| text.trim().to_owned())
        .map_err(|error| IdentityError::File {
            path: path.to_owned(),
            message: error.to_string(),
        })
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
        Ok(json) => json_error_code(&json)?.to_owned(),
        Err(_) => aws::xml_element(text, "Code")?,
    };
    Some(
        code.chars()
            .filter(|c| c.is_ascii_graphic())
            .take(60)
            .collect(),
    )
}

/// `{"error": CODE}` (OAuth), `{"error": {"status": CODE}}` (Google), `{"__type": CODE}` (AWS), or
/// `{"errors": [{"code": CODE}]}` (registries).
fn json_error_code(json: &serde_json::Value) -> Option<&str> {
    let places = ["/error", "/error/status", "/__type", "/errors/0/code"];
    places
        .into_iter()
        .find_map(|place| json.pointer(place)?.as_str())
}

/// Reads the member of a JSON response that holds a token.
fn token_in(
    service: &'static str,
    json: &serde_json::Value,
    member: &str,
) -> Result<Secret, IdentityError> {
    let missing = || IdentityError::Service {
        service,
        message: "its response contains no token".into(),
    };
    json.get(member)
        .and_then(serde_json::Value::as_str)
        .map(Secret::from)
        .ok_or_else(missing)
}

/// Reads an OAuth token response (RFC 6749, section 5.1). `expires_in` is a number, and a text in
/// responses of Azure's metadata service; without it, five minutes are assumed.
fn oauth_token(service: &'static str, text: &str) -> Result<Token, IdentityError> {
    let json: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    let seconds = json
        .get("expires_in")
        .and_then(|value| value.as_u64().or_else(|| value.as_str()?.parse().ok()));
    Ok(Token {
        secret: token_in(service, &json, "access_token")?,
        lifetime: Duration::from_secs(seconds.unwrap_or(300)),
    })
}
