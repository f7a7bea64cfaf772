//! Azure: Microsoft Entra tokens of the machine's identity for one resource.

use crate::cloud::{IdentityError, Machine, Token, oauth_token};

const ENTRA: &str = "Entra";
const METADATA: &str = "the Azure metadata service";

/// Returns a token for a resource (an application's id, or its URL without a trailing `/`), by the
/// first of these: the client secret in the environment (service principal), the federated token
/// (workload identity), the managed identity. `tenant` counts before the environment's.
///
/// # Errors
/// [`IdentityError`] if the machine has no identity, or Entra gives no token.
pub async fn token(
    machine: &Machine,
    tenant: Option<&str>,
    resource: &str,
) -> Result<Token, IdentityError> {
    if let Some(secret) = machine.variable("AZURE_CLIENT_SECRET") {
        let form = [("client_secret", secret)];
        return entra_token(machine, tenant, resource, "AZURE_CLIENT_SECRET", &form).await;
    }
    if let Some(assertion) = machine.file("AZURE_FEDERATED_TOKEN_FILE").await? {
        let form = [
            (
                "client_assertion_type",
                "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            ),
            ("client_assertion", assertion.as_str()),
        ];
        let source = "AZURE_FEDERATED_TOKEN_FILE";
        return entra_token(machine, tenant, resource, source, &form).await;
    }
    managed_identity(machine, resource).await
}

/// Requests a token by the client credentials grant. `proof` is what shows who the client is;
/// `source` names the variable that it came from.
async fn entra_token(
    machine: &Machine,
    tenant: Option<&str>,
    resource: &str,
    source: &str,
    proof: &[(&str, &str)],
) -> Result<Token, IdentityError> {
    let tenant = tenant.or_else(|| machine.variable("AZURE_TENANT_ID"));
    let (Some(client), Some(tenant)) = (machine.variable("AZURE_CLIENT_ID"), tenant) else {
        return Err(IdentityError::NoIdentity {
            cloud: "Azure",
            message: format!("{source} is set, but AZURE_CLIENT_ID or AZURE_TENANT_ID is not"),
        });
    };
    if !tenant
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "-.".contains(c))
    {
        return Err(IdentityError::Plan("its tenant is not an id".into()));
    }
    let host = machine.address("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.com");
    let url = format!("{host}/{tenant}/oauth2/v2.0/token");
    let scope = format!("{resource}/.default");
    let mut form = vec![
        ("client_id", client),
        ("grant_type", "client_credentials"),
        ("scope", &scope),
    ];
    form.extend_from_slice(proof);
    let answer = machine
        .send(ENTRA, |http| http.post(url).form(&form))
        .await?;
    oauth_token(ENTRA, &answer)
}

/// Requests a token of the managed identity: of the app (App Service, Container Apps), else of the
/// instance. `AZURE_CLIENT_ID` chooses among several identities.
async fn managed_identity(machine: &Machine, resource: &str) -> Result<Token, IdentityError> {
    let client = machine.variable("AZURE_CLIENT_ID");
    let app = (
        machine.variable("IDENTITY_ENDPOINT"),
        machine.variable("IDENTITY_HEADER"),
    );
    let (url, version, header) = match app {
        (Some(url), Some(secret)) => (url.to_owned(), "2019-08-01", ("x-identity-header", secret)),
        _ => {
            let standard = "http://169.254.169.254";
            let host = machine.address("AZURE_POD_IDENTITY_AUTHORITY_HOST", standard);
            let url = format!("{host}/metadata/identity/oauth2/token");
            (url, "2018-02-01", ("metadata", "true"))
        }
    };
    let mut query = vec![("api-version", version), ("resource", resource)];
    query.extend(client.map(|client| ("client_id", client)));
    let answer = machine
        .send(METADATA, |http| {
            http.get(url).query(&query).header(header.0, header.1)
        })
        .await;
    let missing = |error: IdentityError| IdentityError::NoIdentity {
        cloud: "Azure",
        message: format!("there is no client secret, no federated token, and {error}"),
    };
    oauth_token(METADATA, &answer.map_err(missing)?)
}
