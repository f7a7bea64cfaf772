//! The clouds' services that give passwords for registries, and the hosts that these registries
//! have.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;

use super::{Password, Scheme};
use crate::cloud::aws::{AwsIdentity, SignedPost, host, split_scheme};
use crate::cloud::google::{CLOUD_PLATFORM_SCOPE, GoogleIdentity};
use crate::cloud::{IdentityError, Machine, azure};
use crate::plan::cloud::{AwsAuth, AzureAuth, Cloud, GoogleAuth};

const ECR: &str = "AWS ECR";
const ACR: &str = "the registry's token exchange";

/// Host of ECR Public, whose API is in one region only.
const ECR_PUBLIC: &str = "public.ecr.aws";
const ECR_PUBLIC_REGION: &str = "us-east-1";

/// ECR passwords last 12 hours (ECR API reference, `GetAuthorizationToken`).
const ECR_LIFETIME: Duration = Duration::from_secs(12 * 3600);

/// ACR's refresh tokens last 3 hours; an hour is assumed.
const ACR_LIFETIME: Duration = Duration::from_secs(3600);

/// User name for ACR's refresh tokens (Azure Container Registry, "az acr login with --expose-token").
const ACR_USER: &str = "00000000-0000-0000-0000-000000000000";

/// User name for Google's access tokens (Artifact Registry, "Set up authentication for Docker").
const GOOGLE_USER: &str = "oauth2accesstoken";

/// Resource of Azure's public cloud.
const AZURE_PUBLIC: &str = "https://management.azure.com";

/// Domains of ACR, and the resource that tokens for them are requested for.
const ACR_DOMAINS: [(&str, &str); 3] = [
    (".azurecr.io", AZURE_PUBLIC),
    (".azurecr.us", "https://management.usgovcloudapi.net"),
    (".azurecr.cn", "https://management.chinacloudapi.cn"),
];

/// Gets a password for a registry.
pub(super) async fn login(
    identity: &Cloud,
    host: &str,
    scheme: Scheme,
    machine: &Machine,
    now: Timestamp,
) -> Result<Password, IdentityError> {
    match identity {
        Cloud::Aws(auth) => ecr(auth, host, machine, now).await,
        Cloud::Azure(auth) => acr(auth, host, scheme, machine).await,
        Cloud::Google(auth) => google(auth, machine, now).await,
    }
}

/// Returns true for hosts of ECR: `ACCOUNT.dkr.ecr.REGION.amazonaws.com`, its FIPS, China and
/// dual-stack forms, and ECR Public.
pub(super) fn is_ecr(host: &str) -> bool {
    host == ECR_PUBLIC || ecr_region(host).is_some()
}

/// Returns the region in a private registry's host.
fn ecr_region(host: &str) -> Option<&str> {
    let suffixes = [".amazonaws.com", ".amazonaws.com.cn", ".on.aws"];
    let rest = suffixes
        .iter()
        .find_map(|suffix| host.strip_suffix(suffix))?;
    let (account, rest) = rest.split_once('.')?;
    let services = ["dkr.ecr.", "dkr.ecr-fips.", "dkr-ecr.", "dkr-ecr-fips."];
    let region = services
        .iter()
        .find_map(|service| rest.strip_prefix(service))?;
    let is_account = !account.is_empty() && account.chars().all(|c| c.is_ascii_digit());
    (is_account && !region.contains('.')).then_some(region)
}

/// Returns true for hosts of ACR.
pub(super) fn is_acr(host: &str) -> bool {
    ACR_DOMAINS.iter().any(|(domain, _)| host.ends_with(domain))
}

/// Returns true for hosts of Artifact Registry and Container Registry.
pub(super) fn is_google(host: &str) -> bool {
    host == "gcr.io" || host.ends_with(".gcr.io") || host.ends_with(".pkg.dev")
}

async fn ecr(
    auth: &AwsAuth,
    registry: &str,
    machine: &Machine,
    now: Timestamp,
) -> Result<Password, IdentityError> {
    let is_public = registry == ECR_PUBLIC;
    let public = AwsAuth {
        region: ECR_PUBLIC_REGION.into(),
        ..auth.clone()
    };
    let identity = AwsIdentity {
        machine,
        auth: if is_public { &public } else { auth },
        region: ecr_region(registry),
        trusted_role: None,
        now,
    };
    let signer = identity.signer().await?;
    let (service, target, variable) = match is_public {
        true => (
            "ecr-public",
            "SpencerFrontendService",
            "AWS_ENDPOINT_URL_ECR_PUBLIC",
        ),
        false => (
            "ecr",
            "AmazonEC2ContainerRegistry_V20150921",
            "AWS_ENDPOINT_URL_ECR",
        ),
    };
    let standard = format!(
        "https://{}",
        host(&format!("api.{service}"), &signer.region)
    );
    let address = machine.address(variable, standard);
    let (_, api) = split_scheme(&address);
    let body = "{}";
    let request = SignedPost {
        service,
        host: api,
        query: "",
        headers: &[
            ("content-type", "application/x-amz-json-1.1"),
            ("x-amz-target", &format!("{target}.GetAuthorizationToken")),
        ],
        body,
    };
    let headers = signer.sign(&request);
    let ask = |http: &reqwest::Client| {
        let request = http.post(format!("{address}/")).body(body);
        headers.iter().fold(request, |request, (name, value)| {
            request.header(name, value)
        })
    };
    read_ecr(&machine.send(ECR, ask).await?)
}

/// Reads `authorizationData`: a list for ECR, an object for ECR Public.
fn read_ecr(text: &str) -> Result<Password, IdentityError> {
    let json: Value = serde_json::from_str(text).unwrap_or_default();
    let places = [
        "/authorizationData/0/authorizationToken",
        "/authorizationData/authorizationToken",
    ];
    let packed = places
        .iter()
        .find_map(|place| json.pointer(place)?.as_str());
    let decoded = packed
        .and_then(|packed| STANDARD.decode(packed).ok())
        .and_then(|bytes| String::from_utf8(bytes).ok());
    let pair = decoded.as_deref().and_then(|pair| pair.split_once(':'));
    let missing = || IdentityError::Service {
        service: ECR,
        message: "its response contains no token".into(),
    };
    let (username, password) = pair.ok_or_else(missing)?;
    Ok(Password {
        username: username.to_owned(),
        secret: password.into(),
        lifetime: ECR_LIFETIME,
    })
}

async fn acr(
    auth: &AzureAuth,
    registry: &str,
    scheme: Scheme,
    machine: &Machine,
) -> Result<Password, IdentityError> {
    let tenant = auth.tenant.as_deref();
    let resource = ACR_DOMAINS
        .iter()
        .find(|(domain, _)| registry.ends_with(domain))
        .map_or(AZURE_PUBLIC, |(_, resource)| resource);
    let entra = azure::token(machine, tenant, resource).await?;
    let mut form = vec![
        ("grant_type", "access_token"),
        ("service", registry),
        ("access_token", entra.secret.expose()),
    ];
    let tenant = tenant.or_else(|| machine.variable("AZURE_TENANT_ID"));
    form.extend(tenant.map(|tenant| ("tenant", tenant)));
    let url = format!("{}://{registry}/oauth2/exchange", scheme.as_str());
    let answer = machine.send(ACR, |http| http.post(url).form(&form)).await?;
    let json: Value = serde_json::from_str(&answer).unwrap_or_default();
    let missing = || IdentityError::Service {
        service: ACR,
        message: "its response contains no refresh_token".into(),
    };
    let token = json.get("refresh_token").and_then(Value::as_str);
    Ok(Password {
        username: ACR_USER.into(),
        secret: token.ok_or_else(missing)?.into(),
        lifetime: ACR_LIFETIME,
    })
}

async fn google(
    auth: &GoogleAuth,
    machine: &Machine,
    now: Timestamp,
) -> Result<Password, IdentityError> {
    let identity = GoogleIdentity {
        machine,
        impersonate: auth.impersonate.as_deref(),
        provider: auth.provider.as_deref(),
        now,
    };
    let token = identity.token(CLOUD_PLATFORM_SCOPE).await?;
    Ok(Password {
        username: GOOGLE_USER.into(),
        secret: token.secret,
        lifetime: token.lifetime,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hosts_of_the_cloud_itself_belong_to_it() {
        for (host, region) in [
            ("012345678901.dkr.ecr.us-east-1.amazonaws.com", "us-east-1"),
            (
                "1.dkr.ecr-fips.us-gov-west-1.amazonaws.com",
                "us-gov-west-1",
            ),
            ("1.dkr.ecr.cn-north-1.amazonaws.com.cn", "cn-north-1"),
            ("1.dkr-ecr.eu-west-1.on.aws", "eu-west-1"),
        ] {
            assert_eq!(ecr_region(host), Some(region), "{host}");
        }
        for host in [
            "dkr.ecr.us-east-1.amazonaws.com",
            "1.dkr.ecr.us-east-1.amazonaws.com.evil.example",
            "x.dkr.ecr.us-east-1.amazonaws.com",
            "1.dkr.ecr.a.us-east-1.amazonaws.com",
            "1.dkr.ecr.us-east-1.evil.on.aws",
            "1.s3.us-east-1.amazonaws.com",
        ] {
            assert!(!is_ecr(host), "{host}");
        }
        assert!(is_ecr("public.ecr.aws") && !is_ecr("x.public.ecr.aws"));
        assert!(is_acr("install.azurecr.io") && !is_acr("azurecr.io"));
        assert!(is_google("eu.gcr.io") && is_google("r-docker.pkg.dev"));
        assert!(!is_google("notgcr.io") && !is_google("gcr.io.evil.example"));
    }
}
