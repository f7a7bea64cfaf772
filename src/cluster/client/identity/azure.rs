//! AKS: a Microsoft Entra token of the machine's identity for the AKS server application.

use std::time::Duration;

use serde_json::Value;

use crate::cluster::client::identity::{IdentityError, Machine, Token};
use crate::plan::cloud::AzureAuth;

const ENTRA: &str = "Entra";
const METADATA: &str = "the Azure metadata service";

/// Application ID of the AKS server, the same for all clusters with Entra integration.
const AKS_SERVER_APP_ID: &str = "6dae42f8-4368-4678-94ff-3960e28e3630";

/// Returns a token by the machine's federated token (workload identity) if it has one, else by its
/// managed identity.
// Long: one way to a token after the other.
pub async fn token(machine: &Machine, auth: &AzureAuth) -> Result<Token, IdentityError> {
    if let Some(assertion) = machine.file("AZURE_FEDERATED_TOKEN_FILE", ENTRA).await? {
        let tenant = auth
            .tenant
            .as_deref()
            .or_else(|| machine.variable("AZURE_TENANT_ID"));
        let (Some(client), Some(tenant)) = (machine.variable("AZURE_CLIENT_ID"), tenant) else {
            let message =
                "AZURE_FEDERATED_TOKEN_FILE is set, but AZURE_CLIENT_ID or AZURE_TENANT_ID is not"
                    .into();
            return Err(IdentityError::NoIdentity {
                cloud: "Azure",
                message,
            });
        };
        let host = machine
            .variable("AZURE_AUTHORITY_HOST")
            .unwrap_or("https://login.microsoftonline.com");
        let url = format!("{}/{tenant}/oauth2/v2.0/token", host.trim_end_matches('/'));
        let scope = format!("{AKS_SERVER_APP_ID}/.default");
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
        return parse_token(
            ENTRA,
            &machine
                .send(ENTRA, |http| http.post(url).form(&form))
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
    let mut query = vec![
        ("api-version", "2018-02-01"),
        ("resource", AKS_SERVER_APP_ID),
    ];
    query.extend(
        machine
            .variable("AZURE_CLIENT_ID")
            .map(|client| ("client_id", client)),
    );
    let answer = machine
        .send(METADATA, |http| {
            http.get(url).query(&query).header("metadata", "true")
        })
        .await;
    let missing = |error: IdentityError| IdentityError::NoIdentity {
        cloud: "Azure",
        message: format!("there is no federated token, and {error}"),
    };
    parse_token(METADATA, &answer.map_err(missing)?)
}

/// Reads a token response. `expires_in` is a number from Entra, and a string from the metadata
/// service.
fn parse_token(service: &'static str, text: &str) -> Result<Token, IdentityError> {
    let json: Value = serde_json::from_str(text).unwrap_or_default();
    let seconds = json.get("expires_in");
    let seconds = seconds
        .and_then(|value| value.as_u64().or_else(|| value.as_str()?.parse().ok()))
        .unwrap_or(300);
    let missing = || IdentityError::Service {
        service,
        message: "its response contains no token".into(),
    };
    let secret = json
        .get("access_token")
        .and_then(Value::as_str)
        .ok_or_else(missing)?;
    Ok(Token {
        secret: secret.into(),
        lifetime: Duration::from_secs(seconds),
    })
}
