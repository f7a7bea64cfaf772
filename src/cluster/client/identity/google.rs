//! GKE: an access token of the machine's service account, or of one that it may impersonate.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::client::identity::{IdentityError, Machine, Token};
use crate::plan::cloud::GoogleAuth;

const METADATA: &str = "the metadata service of Google";
const CREDENTIALS: &str = "the credentials service of Google";
const CONTAINER: &str = "the Kubernetes Engine service of Google";

/// For Google's own services.
const PLATFORM: &str = "https://www.googleapis.com/auth/cloud-platform";

/// For a cluster, which has to know only who asks (GKE, "Authenticate to the Kubernetes API server").
const EMAIL: &str = "https://www.googleapis.com/auth/userinfo.email";

/// How long an impersonated token lasts.
const LASTS: Duration = Duration::from_secs(3600);

pub async fn token(machine: &Machine, auth: &GoogleAuth) -> Result<Token, IdentityError> {
    let Some(email) = &auth.impersonate else {
        return machine_token(machine, EMAIL).await;
    };
    let own = machine_token(machine, PLATFORM).await?;
    if !email
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "@.-_".contains(c))
    {
        return Err(IdentityError::Plan(
            "impersonate_service_account is no e-mail address".into(),
        ));
    }
    let root = machine.variable("CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS");
    let root = root
        .unwrap_or("https://iamcredentials.googleapis.com/")
        .trim_end_matches('/');
    let url = format!("{root}/v1/projects/-/serviceAccounts/{email}:generateAccessToken");
    let body = json!({"scope": [EMAIL], "lifetime": format!("{}s", LASTS.as_secs())});
    let ask = |http: &reqwest::Client| http.post(url).bearer_auth(own.secret.expose()).json(&body);
    let answer: Value =
        serde_json::from_str(&machine.ask(CREDENTIALS, ask).await?).unwrap_or_default();
    let missing = || IdentityError::Service {
        service: CREDENTIALS,
        message: "its answer holds no token".into(),
    };
    let secret = answer
        .get("accessToken")
        .and_then(Value::as_str)
        .ok_or_else(missing)?;
    Ok(Token {
        secret: secret.into(),
        lasts: LASTS,
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
    let answer = machine.ask(METADATA, ask).await;
    let answer = answer.map_err(|error| IdentityError::None {
        cloud: "Google",
        message: error.to_string(),
    })?;
    let json: Value = serde_json::from_str(&answer).unwrap_or_default();
    let missing = || IdentityError::Service {
        service: METADATA,
        message: "its answer holds no token".into(),
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
        lasts: Duration::from_secs(seconds),
    })
}

/// Where a cluster is, as Google says: every address and name of its control plane.
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
            "project_id, region or the cluster's name is none".into(),
        ));
    }
    let own = machine_token(machine, PLATFORM).await?;
    let root = machine.variable("CLOUDSDK_API_ENDPOINT_OVERRIDES_CONTAINER");
    let root = root
        .unwrap_or("https://container.googleapis.com/")
        .trim_end_matches('/');
    let url = format!("{root}/v1/projects/{project}/locations/{region}/clusters/{cluster}");
    let answer = machine
        .ask(CONTAINER, |http| {
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
