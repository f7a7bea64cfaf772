//! Workload identity federation: another provider's token is exchanged for one of Google's (RFC
//! 8693; AIP-4117).

use jiff::Timestamp;
use serde_json::{Value, json};

use super::credentials_file::CredentialsFile;
use super::impersonate_at;
use crate::cloud::aws::{AwsIdentity, SignedPost, host};
use crate::cloud::{IdentityError, Machine, Token, oauth_token, read_file};
use crate::plan::cloud::AwsAuth;

/// Name of the services, for people.
const STS: &str = "the Google token exchange";
const SUBJECT: &str = "the provider of the subject token";

/// Types of subject tokens.
const AWS_TOKEN: &str = "urn:ietf:params:aws:token-type:aws4_request";

/// Gets a token with this scope by a file of type `external_account`, of the account that the file
/// impersonates if it names one.
pub(super) async fn by_account(
    file: &CredentialsFile,
    machine: &Machine,
    scope: &str,
    now: Timestamp,
) -> Result<Token, IdentityError> {
    let account = file.optional("service_account_impersonation_url");
    let exchange = Exchange {
        url: file.text("token_url")?.to_owned(),
        audience: file.text("audience")?,
        token_type: file.text("subject_token_type")?,
        scope: match account {
            Some(_) => super::CLOUD_PLATFORM_SCOPE,
            None => scope,
        },
    };
    let subject = subject(file, machine, exchange.audience, now).await?;
    let own = exchange.send(machine, &subject).await?;
    match account {
        Some(url) => impersonate_at(machine, &own, url.to_owned(), scope).await,
        None => Ok(own),
    }
}

/// Returns the subject token: from a file, a URL, or the machine's AWS identity.
async fn subject(
    file: &CredentialsFile,
    machine: &Machine,
    audience: &str,
    now: Timestamp,
) -> Result<String, IdentityError> {
    let text = if let Some(path) = file.optional("credential_source/file") {
        read_file(path).await?
    } else if file.optional("credential_source/environment_id") == Some("aws1") {
        return aws_subject(machine, audience, now).await;
    } else if let Some(url) = file.optional("credential_source/url") {
        let headers = file.headers("credential_source/headers");
        let ask = |http: &reqwest::Client| {
            headers
                .iter()
                .fold(http.get(url), |request, (name, value)| {
                    request.header(*name, *value)
                })
        };
        machine.send(SUBJECT, ask).await?
    } else {
        return Err(file.unusable("its credential_source is neither a file, a url nor AWS".into()));
    };
    if file.optional("credential_source/format/type") != Some("json") {
        return Ok(text.trim().to_owned());
    }
    let member = file.text("credential_source/format/subject_token_field_name")?;
    let json: Value = serde_json::from_str(&text).unwrap_or_default();
    let token = json.get(member).and_then(Value::as_str).map(str::to_owned);
    token.ok_or_else(|| file.unusable(format!("the subject token has no member {member:?}")))
}

/// Gets a token by the machine's AWS identity, at a provider that a plan names.
pub(super) async fn by_aws(
    machine: &Machine,
    provider: &str,
    scope: &str,
    now: Timestamp,
) -> Result<Token, IdentityError> {
    let provider = provider
        .trim_start_matches("https:")
        .trim_start_matches("//iam.googleapis.com/");
    let is_name = |c: char| c.is_ascii_alphanumeric() || "/-_".contains(c);
    if !provider.starts_with("projects/") || !provider.chars().all(is_name) {
        let message = "WorkloadIdentityProvider is not the name of one (projects/…/providers/…)";
        return Err(IdentityError::Plan(message.into()));
    }
    let audience = format!("//iam.googleapis.com/{provider}");
    let root = machine.address(
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_STS",
        "https://sts.googleapis.com",
    );
    let exchange = Exchange {
        url: format!("{root}/v1/token"),
        audience: &audience,
        token_type: AWS_TOKEN,
        scope,
    };
    let subject = aws_subject(machine, &audience, now).await?;
    exchange.send(machine, &subject).await
}

/// A request to Google's token exchange.
struct Exchange<'a> {
    url: String,
    audience: &'a str,
    token_type: &'a str,
    scope: &'a str,
}

impl Exchange<'_> {
    async fn send(self, machine: &Machine, subject: &str) -> Result<Token, IdentityError> {
        let form = [
            (
                "grant_type",
                "urn:ietf:params:oauth:grant-type:token-exchange",
            ),
            (
                "requested_token_type",
                "urn:ietf:params:oauth:token-type:access_token",
            ),
            ("audience", self.audience),
            ("scope", self.scope),
            ("subject_token_type", self.token_type),
            ("subject_token", subject),
        ];
        let answer = machine
            .send(STS, |http| http.post(self.url).form(&form))
            .await?;
        oauth_token(STS, &answer)
    }
}

/// Returns the machine's AWS identity as a subject token: a signed STS request that Google sends
/// itself. It names the audience, so that it works for no other.
async fn aws_subject(
    machine: &Machine,
    audience: &str,
    now: Timestamp,
) -> Result<String, IdentityError> {
    let identity = AwsIdentity {
        machine,
        auth: &AwsAuth::default(),
        region: None,
        trusted_role: None,
        now,
    };
    let signer = identity.signer().await?;
    let host = host("sts", &signer.region);
    let query = "Action=GetCallerIdentity&Version=2011-06-15";
    let request = SignedPost {
        service: "sts",
        host: &host,
        query,
        headers: &[("x-goog-cloud-target-resource", audience)],
        body: "",
    };
    let headers: Vec<Value> = signer
        .sign(&request)
        .into_iter()
        .chain([("host".to_owned(), host.clone())])
        .map(|(key, value)| json!({"key": key, "value": value}))
        .collect();
    let url = format!("https://{host}?{query}");
    let token = json!({"url": url, "method": "POST", "headers": headers}).to_string();
    Ok(url::form_urlencoded::byte_serialize(token.as_bytes()).collect())
}
