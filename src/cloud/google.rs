//! Google Cloud: access tokens of the machine's account, or of one that it impersonates.
//!
//! The order of the machine's sources is that of Google's libraries ("How Application Default
//! Credentials works"): the file that `GOOGLE_APPLICATION_CREDENTIALS` names, the one that gcloud
//! writes, the metadata service.

mod credentials_file;
mod federation;
mod grant;

use std::time::Duration;

use credentials_file::CredentialsFile;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cloud::{IdentityError, Machine, Token, oauth_token, token_in};

const METADATA: &str = "the Google metadata service";
const CREDENTIALS: &str = "the Google IAM credentials service";

/// Scope for Google's own APIs and registries.
pub const CLOUD_PLATFORM_SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

/// Requested lifetime of an impersonated token.
const TOKEN_LIFETIME: Duration = Duration::from_secs(3600);

/// An identity to ask for tokens with.
pub struct GoogleIdentity<'a> {
    /// Has the first token.
    pub machine: &'a Machine,
    /// Email address of a service account to impersonate.
    pub impersonate: Option<&'a str>,
    /// A workload identity provider (`projects/N/locations/global/workloadIdentityPools/P/providers/
    /// X`) that takes the machine's AWS identity.
    pub provider: Option<&'a str>,
    /// Time of signatures.
    pub now: Timestamp,
}

impl GoogleIdentity<'_> {
    /// Gets an access token with this scope.
    ///
    /// # Errors
    /// [`IdentityError`] if the machine has no identity, or Google gives no token.
    pub async fn token(&self, scope: &str) -> Result<Token, IdentityError> {
        match self.impersonate {
            None => self.own_token(scope).await,
            Some(account) => {
                let own = self.own_token(CLOUD_PLATFORM_SCOPE).await?;
                impersonate(self.machine, &own, account, scope).await
            }
        }
    }

    /// The token of the machine itself, before an account is impersonated.
    async fn own_token(&self, scope: &str) -> Result<Token, IdentityError> {
        if let Some(provider) = self.provider {
            return federation::by_aws(self.machine, provider, scope, self.now).await;
        }
        match credentials_file::read(self.machine).await? {
            Some(file) => self.token_of(&file, scope).await,
            None => instance_token(self.machine, scope).await,
        }
    }

    /// The token that a credentials file gives.
    async fn token_of(&self, file: &CredentialsFile, scope: &str) -> Result<Token, IdentityError> {
        let Self { machine, now, .. } = *self;
        match file.text("type")? {
            "service_account" => grant::by_key(file, machine, scope, now).await,
            "authorized_user" => grant::by_refresh_token(file, machine).await,
            "external_account" => federation::by_account(file, machine, scope, now).await,
            kind => {
                let kind: String = kind.chars().take(40).collect();
                Err(file.unusable(format!(
                    "its type {kind:?} is not supported; known are service_account, \
                     external_account and authorized_user"
                )))
            }
        }
    }
}

/// Exchanges a token for one of a service account.
async fn impersonate(
    machine: &Machine,
    own: &Token,
    account: &str,
    scope: &str,
) -> Result<Token, IdentityError> {
    if !account
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "@.-_".contains(c))
    {
        let message = "the service account to impersonate is not an e-mail address";
        return Err(IdentityError::Plan(message.into()));
    }
    let root = machine.address(
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS",
        "https://iamcredentials.googleapis.com",
    );
    let url = format!("{root}/v1/projects/-/serviceAccounts/{account}:generateAccessToken");
    impersonate_at(machine, own, url, scope).await
}

async fn impersonate_at(
    machine: &Machine,
    own: &Token,
    url: String,
    scope: &str,
) -> Result<Token, IdentityError> {
    let lifetime = format!("{}s", TOKEN_LIFETIME.as_secs());
    let body = json!({"scope": [scope], "lifetime": lifetime});
    let ask = |http: &reqwest::Client| http.post(url).bearer_auth(own.secret.expose()).json(&body);
    let answer: Value =
        serde_json::from_str(&machine.send(CREDENTIALS, ask).await?).unwrap_or_default();
    Ok(Token {
        secret: token_in(CREDENTIALS, &answer, "accessToken")?,
        lifetime: TOKEN_LIFETIME,
    })
}

async fn instance_token(machine: &Machine, scope: &str) -> Result<Token, IdentityError> {
    let host = machine
        .variable("GCE_METADATA_HOST")
        .unwrap_or("metadata.google.internal");
    let url = format!("http://{host}/computeMetadata/v1/instance/service-accounts/default/token");
    let ask = |http: &reqwest::Client| {
        http.get(url)
            .query(&[("scopes", scope)])
            .header("metadata-flavor", "Google")
    };
    let answer = machine.send(METADATA, ask).await;
    let answer = answer.map_err(|error| IdentityError::NoIdentity {
        cloud: "Google",
        message: error.to_string(),
    })?;
    oauth_token(METADATA, &answer)
}
