//! GKE: an access token of the machine's service account, or of one that it impersonates.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::client::identity::{IdentityError, Machine, Token};
use crate::plan::cloud::GoogleAuth;

const METADATA: &str = "the Google metadata service";
const CREDENTIALS: &str = "the Google IAM credentials service";
const CONTAINER: &str = "the Google Kubernetes Engine API";

/// Scope for Google's own APIs.
const CLOUD_PLATFORM_SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

/// Scope for a cluster, which needs only the caller's identity (GKE, "Authenticate to the
/// Kubernetes API server").
const EMAIL_SCOPE: &str = "https://www.googleapis.com/auth/userinfo.email";

/// Requested lifetime of an impersonated token.
const TOKEN_LIFETIME: Duration = Duration::from_secs(3600);

pub async fn token(machine: &Machine, auth: &GoogleAuth) -> Result<Token, IdentityError> {
    let Some(email) = &auth.impersonate else {
        return machine_token(machine, EMAIL_SCOPE).await;
    };
    let own = machine_token(machine, CLOUD_PLATFORM_SCOPE).await?;
    if !email
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "@.-_".contains(c))
    {
        return Err(IdentityError::Plan(
            "impersonate_service_account is not an e-mail address".into(),
        ));
    }
    let root = machine.variable("CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS");
    let root = root
        .unwrap_or("https://iamcredentials.googleapis.com/")
        .trim_end_matches('/');
    let url = format!("{root}/v1/projects/-/serviceAccounts/{email}:generateAccessToken");
    let body =
        json!({"scope": [EMAIL_SCOPE], "lifetime": format!("{}s", TOKEN_LIFETIME.as_secs())});
    let ask = |http: &reqwest::Client| http.post(url).bearer_auth(own.secret.expose()).json(&body);
    let answer: Value =
        serde_json::from_str(&machine.send(CREDENTIALS, ask).await?).unwrap_or_default();
    let missing = || IdentityError::Service {
        service: CREDENTIALS,
        message: "its response contains no token".into(),
    };
    let secret = answer
        .get("accessToken")
        .and_then(Value::as_str)
        .ok_or_else(missing)?;
    Ok(Token {
        secret: secret.into(),
        lifetime: TOKEN_LIFETIME,
    })
}

async fn machine_token(machine: &Machine, scope: &str) -> Result<Token, IdentityError> {
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
    let json: Value = serde_json::from_str(&answer).unwrap_or_default();
    let missing = || IdentityError::Service {
        service: METADATA,
        message: "its response contains no token".into(),
    };
    let secret = json
        .get("access_token")
        .and_then(Value::as_str)
        .ok_or_else(missing)?;
    let seconds = json
        .get("expires_in")
        .and_then(Value::as_u64)
        .unwrap_or(300);
    Ok(Token {
        secret: secret.into(),
        lifetime: Duration::from_secs(seconds),
    })
}

/// Returns all addresses and names of a cluster's control plane, as the GKE API reports them.
pub async fn endpoints(
    machine: &Machine,
    project: &str,
    region: &str,
    cluster: &str,
) -> Result<Vec<String>, IdentityError> {
    let is_name = |text: &str| {
        !text.is_empty()
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_.:".contains(c))
    };
    if ![project, region, cluster].into_iter().all(is_name) {
        return Err(IdentityError::Plan(
            "project_id, region or the cluster's name is missing or malformed".into(),
        ));
    }
    let own = machine_token(machine, CLOUD_PLATFORM_SCOPE).await?;
    let root = machine.variable("CLOUDSDK_API_ENDPOINT_OVERRIDES_CONTAINER");
    let root = root
        .unwrap_or("https://container.googleapis.com/")
        .trim_end_matches('/');
    let url = format!("{root}/v1/projects/{project}/locations/{region}/clusters/{cluster}");
    let answer = machine
        .send(CONTAINER, |http| {
            http.get(url).bearer_auth(own.secret.expose())
        })
        .await?;
    let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
    let places = [
        "/endpoint",
        "/privateClusterConfig/privateEndpoint",
        "/privateClusterConfig/publicEndpoint",
        "/controlPlaneEndpointsConfig/dnsEndpointConfig/endpoint",
        "/controlPlaneEndpointsConfig/ipEndpointsConfig/privateEndpoint",
        "/controlPlaneEndpointsConfig/ipEndpointsConfig/publicEndpoint",
    ];
    Ok(places
        .into_iter()
        .filter_map(|place| answer.pointer(place)?.as_str().map(str::to_owned))
        .collect())
}
