//! Bearer tokens for clusters, made of cloud identities in this process: no helper programs, and nothing is
//! written into the environment. A token is made anew before it ends, so long waits outlive it.
//!
//! The machine's own identity is found by the variables that the clouds' own tools know; they are handed in.

mod aws;
mod azure;
mod binding;
mod google;

use std::collections::HashMap;
use std::time::Duration;

use aws::Eks;
use tokio::sync::Mutex;

use crate::base::bounded;
use crate::base::clock::Clock;
use crate::base::error::chain;
use crate::base::secret::Secret;
use crate::plan::cloud::{AwsAuth, Cloud};

/// A token is made anew so long before it ends.
const BEFORE_ITS_END: Duration = Duration::from_secs(120);

/// The most bytes of an answer of an identity service.
const MAX_ANSWER: usize = 1 << 20;

/// No token is believed to be good for longer.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// The longest that an identity service may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Variables by which machines tell of their identity, and by which the services are found elsewhere.
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

/// Why there is no token. No text of it holds a credential.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The machine has no identity of this kind.
    #[error("this machine has no identity in {cloud}: {message}")]
    None {
        /// The cloud.
        cloud: &'static str,
        /// Where it was looked for.
        message: String,
    },
    /// A service refused, or did not answer.
    #[error("{service} gave no token: {message}")]
    Service {
        /// Which.
        service: &'static str,
        /// Why.
        message: String,
    },
    /// A service refused with a status, in its own form.
    #[error("{service} answered {status}{}", code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default())]
    Refused {
        /// Which.
        service: &'static str,
        /// Its HTTP status.
        status: u16,
        /// Its word for what went wrong.
        code: Option<String>,
    },
    /// The cluster is not where the plan says, or nobody can tell.
    #[error("no token is sent to {host}: {why}")]
    Unbound {
        /// The host of the plan's endpoint.
        host: String,
        /// Why it is not believed to be the cluster.
        why: String,
    },
    /// The plan's identity cannot be used.
    #[error("the plan's identity cannot be used: {0}")]
    Plan(String),
}

/// What tells of the machine's identity, and how services are asked.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    variables: HashMap<&'static str, String>,
    http: Option<reqwest::Client>,
}

impl Machine {
    /// `variable` looks up the process's environment; `http` asks the clouds' services.
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

    /// The text of a file that a variable names.
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

    /// Sends a request and gives the answer's text.
    async fn ask(
        &self,
        service: &'static str,
        request: impl FnOnce(&reqwest::Client) -> reqwest::RequestBuilder,
    ) -> Result<String, IdentityError> {
        let failed = |message: String| IdentityError::Service { service, message };
        let http = self
            .http
            .as_ref()
            .ok_or_else(|| failed("there is no HTTP client".into()))?;
        // An error of the library may quote the URL, which may hold a signature.
        let answer = request(http).timeout(PATIENCE).send().await;
        let answer = answer.map_err(|error| failed(chain(&error.without_url())))?;
        let status = answer.status();
        let text = text(answer).await;
        if status.is_success() {
            return text.map_err(failed);
        }
        let code = text.ok().and_then(|text| error_code(&text));
        Err(IdentityError::Refused {
            service,
            status: status.as_u16(),
            code,
        })
    }
}

/// The text of an answer.
async fn text(answer: reqwest::Response) -> Result<String, String> {
    let bytes = bounded::read(answer, MAX_ANSWER)
        .await
        .map_err(|error| error.to_string())?;
    String::from_utf8(bytes.into()).map_err(|_| "its answer is no text".to_owned())
}

/// The word for what went wrong in an answer of any of the services.
fn error_code(text: &str) -> Option<String> {
    let word = match serde_json::from_str::<serde_json::Value>(text) {
        Ok(json) => {
            let error = json.get("error")?;
            error
                .as_str()
                .or_else(|| error.get("status")?.as_str())?
                .to_owned()
        }
        Err(_) => aws::element(text, "Code")?,
    };
    Some(
        word.chars()
            .filter(|c| c.is_ascii_graphic())
            .take(60)
            .collect(),
    )
}

/// A token, and how long it is good for.
struct Token {
    secret: Secret,
    lasts: Duration,
}

/// Tokens for one cluster.
pub struct Tokens {
    cloud: Cloud,
    cluster: String,
    endpoint: String,
    trusted_role: Option<String>,
    machine: Machine,
    clock: Clock,
    /// The token, and when on the clock's count it is made anew.
    current: Mutex<Option<(Secret, Duration)>>,
}

impl Tokens {
    /// Tokens by a cloud identity for a cluster, which EKS wants by name.
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

    /// Makes sure that the plan's endpoint is that of the cluster that it names: only there do tokens go.
    ///
    /// # Errors
    /// [`IdentityError::Unbound`]; or why it cannot be found out.
    pub async fn bind(&self, allowed: &[String]) -> Result<(), IdentityError> {
        binding::check(self, allowed).await
    }

    /// A token that is good for a while.
    ///
    /// # Errors
    /// [`IdentityError`].
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
        let until = self.clock.elapsed() + token.lasts.min(LONGEST).saturating_sub(BEFORE_ITS_END);
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

    /// Lets the next token be a new one: the cluster does not take this one.
    pub async fn forget(&self) {
        *self.current.lock().await = None;
    }
}
