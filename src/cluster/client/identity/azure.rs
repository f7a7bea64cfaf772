//! AKS: an Entra token of the machine's identity for the AKS server application.

use std::time::Duration;

use serde_json::Value;

use crate::cluster::client::identity::{IdentityError, Machine, Token};
use crate::plan::cloud::AzureAuth;

const ENTRA: &str = "Entra";
const METADATA: &str = "the metadata service of Azure";

/// The application id of every AKS server that uses Entra.
const SERVER: &str = "6dae42f8-4368-4678-94ff-3960e28e3630";

/// By a federated token, where the machine has one (workload identity), else by the managed identity.
pub async fn token(machine: &Machine, auth: &AzureAuth) -> Result<Token, IdentityError> {
    if let Some(assertion) = machine.file("AZURE_FEDERATED_TOKEN_FILE", ENTRA).await? {
        let tenant = auth
            .tenant
            .as_deref()
            .or_else(|| machine.variable("AZURE_TENANT_ID"));
        let (Some(client), Some(tenant)) = (machine.variable("AZURE_CLIENT_ID"), tenant) else {
            let message = "AZURE_FEDERATED_TOKEN_FILE is set, but not AZURE_CLIENT_ID and \
                           AZURE_TENANT_ID"
                .into();
            return Err(IdentityError::None {
                cloud: "Azure",
                message,
            });
        };
        let host = machine
            .variable("AZURE_AUTHORITY_HOST")
            .unwrap_or("https://login.microsoftonline.com");
        let url = format!("{}/{tenant}/oauth2/v2.0/token", host.trim_end_matches('/'));
        let scope = format!("{SERVER}/.default");
        let form = [
            ("client_id", client),
            ("grant_type", "client_credentials"),
            ("scope", &scope),
            (
                "client_assertion_type",
                "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            ),
            ("client_assertion", &assertion),
        ];
        return read(
            ENTRA,
            &machine
                .ask(ENTRA, |http| http.post(url).form(&form))
                .await?,
        );
    }
    let host = machine
        .variable("AZURE_POD_IDENTITY_AUTHORITY_HOST")
        .unwrap_or("http://169.254.169.254");
    let url = format!(
        "{}/metadata/identity/oauth2/token",
        host.trim_end_matches('/')
    );
    let mut query = vec![("api-version", "2018-02-01"), ("resource", SERVER)];
    query.extend(
        machine
            .variable("AZURE_CLIENT_ID")
            .map(|client| ("client_id", client)),
    );
    let answer = machine
        .ask(METADATA, |http| {
            http.get(url).query(&query).header("metadata", "true")
        })
        .await;
    let missing = |error: IdentityError| IdentityError::None {
        cloud: "Azure",
        message: format!("there is no federated token, and {error}"),
    };
    read(METADATA, &answer.map_err(missing)?)
}

/// Seconds are a number at Entra and a text in the metadata.
fn read(service: &'static str, text: &str) -> Result<Token, IdentityError> {
    let json: Value = serde_json::from_str(text).unwrap_or_default();
    let seconds = json.get("expires_in");
    let seconds = seconds
        .and_then(|value| value.as_u64().or_else(|| value.as_str()?.parse().ok()))
        .unwrap_or(300);
    let missing = || IdentityError::Service {
        service,
        message: "its answer holds no token".into(),
    };
    let secret = json
        .get("access_token")
        .and_then(Value::as_str)
        .ok_or_else(missing)?;
    Ok(Token {
        secret: secret.into(),
        lasts: Duration::from_secs(seconds),
    })
}
