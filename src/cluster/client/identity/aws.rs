//! EKS: the token is a presigned STS request (`GetCallerIdentity`) for this cluster, as in
//! kubernetes-sigs/aws-iam-authenticator. It is signed with the plan's keys, an assumed role's, or
//! the machine's.
//!
//! Signature Version 4 (query form) is implemented here: the libraries that do it without a whole
//! SDK leave the payload unsigned, which STS refuses.

mod presign;

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use presign::PresignedRequest;
use serde_json::Value;

use crate::cluster::client::identity::{IdentityError, Machine, Token};
use crate::plan::cloud::{AwsAuth, AwsKeys, AwsRole};

const STS: &str = "AWS STS";
const EKS: &str = "AWS EKS";
const METADATA: &str = "the AWS metadata service";

/// Prefix of a token, before the encoded URL.
const PREFIX: &str = "k8s-aws-v1.";

/// Lifetime of a token: EKS accepts a presigned request this long, whatever `X-Amz-Expires` says.
const TOKEN_LIFETIME: Duration = Duration::from_secs(15 * 60);

/// `X-Amz-Expires` of a presigned request in seconds, as in aws-iam-authenticator.
const EXPIRES_SECONDS: u32 = 60;

/// An EKS cluster and the identity that asks for it.
pub struct Eks<'a> {
    /// Provides keys if the plan has none.
    pub machine: &'a Machine,
    /// The identity in the plan.
    pub auth: &'a AwsAuth,
    /// Name of the cluster.
    pub cluster: &'a str,
    /// API server's address in the plan.
    pub endpoint: &'a str,
    /// ARN of a role to assume last, after the plan's roles.
    pub trusted_role: Option<&'a str>,
    /// Time of the signatures.
    pub now: Timestamp,
}

impl Eks<'_> {
    /// Creates a token for the cluster.
    pub async fn token(&self) -> Result<Token, IdentityError> {
        let (region, keys) = self.keys().await?;
        let query = BTreeMap::from([
            ("Action", "GetCallerIdentity".to_owned()),
            ("Version", "2011-06-15".to_owned()),
        ]);
        let headers = &[("x-k8s-aws-id", self.cluster)];
        let signed = PresignedRequest {
            service: "sts",
            host: &host("sts", &region),
            path: "/",
            headers,
        };
        let url = signed.url(&region, query, &keys, self.now);
        let secret = format!(
            "{PREFIX}{}",
            URL_SAFE_NO_PAD.encode(format!("https://{url}"))
        );
        Ok(Token {
            secret: secret.as_str().into(),
            lifetime: TOKEN_LIFETIME,
        })
    }

    /// Returns the cluster's endpoint as EKS reports it (`DescribeCluster`).
    pub async fn reported_endpoint(&self) -> Result<String, IdentityError> {
        let Self {
            machine,
            cluster,
            now,
            ..
        } = *self;
        if cluster.is_empty()
            || !cluster
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        {
            return Err(IdentityError::Plan(
                "the cluster's id is not a valid EKS cluster name".into(),
            ));
        }
        let (region, keys) = self.keys().await?;
        let standard = format!("https://{}", host("eks", &region));
        let root = machine
            .variable("AWS_ENDPOINT_URL_EKS")
            .map_or(standard, str::to_owned);
        let (scheme, host) = root
            .trim_end_matches('/')
            .split_once("://")
            .unwrap_or(("https", &root));
        let path = format!("/clusters/{cluster}");
        let url = PresignedRequest {
            service: "eks",
            host,
            path: &path,
            headers: &[],
        }
        .url(&region, BTreeMap::new(), &keys, now);
        let answer = machine
            .send(EKS, |http| http.get(format!("{scheme}://{url}")))
            .await?;
        let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
        let missing = || IdentityError::Service {
            service: EKS,
            message: "its response contains no endpoint".into(),
        };
        answer
            .pointer("/cluster/endpoint")
            .and_then(Value::as_str)
            .map(str::to_owned)
            .ok_or_else(missing)
    }

    /// Returns the region, and the keys after all roles are assumed.
    async fn keys(&self) -> Result<(String, AwsKeys), IdentityError> {
        let Self {
            machine,
            auth,
            endpoint,
            trusted_role,
            now,
            ..
        } = *self;
        if let Some(profile) = &auth.profile {
            let message = format!(
                "the profile {profile:?} exists only in the AWS configuration of a user's machine; set a role or keys instead"
            );
            return Err(IdentityError::Plan(message));
        }
        let region = region(machine, auth, endpoint)?;
        let mut keys = match &auth.keys {
            Some(keys) => keys.clone(),
            None => machine_keys(machine, &region).await?,
        };
        let trusted = trusted_role.map(|arn| AwsRole {
            arn: arn.to_owned(),
            session_name: "nuon-runner".into(),
            seconds: 3600,
        });
        for role in auth.roles.iter().cloned().chain(trusted) {
            keys = assume_role(machine, &region, &keys, &role, now).await?;
        }
        Ok((region, keys))
    }
}

/// Returns the host of a service in a region. China has its own domain.
fn host(service: &str, region: &str) -> String {
    let suffix = if region.starts_with("cn-") { ".cn" } else { "" };
    format!("{service}.{region}.amazonaws.com{suffix}")
}

/// Returns the plan's region, else the one in the endpoint (`….REGION.eks.amazonaws.com`), else the
/// machine's.
fn region(machine: &Machine, auth: &AwsAuth, endpoint: &str) -> Result<String, IdentityError> {
    let host = endpoint
        .trim_start_matches("https://")
        .split(['/', ':'])
        .next()
        .unwrap_or_default();
    let endpoint_region = host
        .split_once(".eks.amazonaws.com")
        .and_then(|(before, _)| before.rsplit('.').next());
    let region = Some(auth.region.as_str())
        .filter(|region| !region.is_empty())
        .or(endpoint_region);
    let region = region
        .or_else(|| machine.variable("AWS_REGION"))
        .unwrap_or_default();
    let is_valid = !region.is_empty()
        && region
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-');
    let missing = || {
        IdentityError::Plan("it has no valid region; set region in aws_auth, or AWS_REGION".into())
    };
    is_valid.then(|| region.to_owned()).ok_or_else(missing)
}

/// Returns the machine's keys: from the environment, a web identity (IRSA), a pod identity, or the
/// instance, in this order.
async fn machine_keys(machine: &Machine, region: &str) -> Result<AwsKeys, IdentityError> {
    if let (Some(id), Some(secret)) = (
        machine.variable("AWS_ACCESS_KEY_ID"),
        machine.variable("AWS_SECRET_ACCESS_KEY"),
    ) {
        let session = machine.variable("AWS_SESSION_TOKEN").map(Into::into);
        return Ok(AwsKeys {
            id: id.to_owned(),
            secret: secret.into(),
            session_token: session,
        });
    }
    if let (Some(arn), Some(token)) = (
        machine.variable("AWS_ROLE_ARN"),
        machine.file("AWS_WEB_IDENTITY_TOKEN_FILE", STS).await?,
    ) {
        let form = [
            ("Action", "AssumeRoleWithWebIdentity"),
            ("Version", "2011-06-15"),
            ("RoleArn", arn),
            ("RoleSessionName", "nuon-runner"),
            ("WebIdentityToken", &token),
        ];
        let url = sts_url(machine, region);
        return keys_from_xml(&machine.send(STS, |http| http.post(url).form(&form)).await?);
    }
    if let Some(uri) = machine.variable("AWS_CONTAINER_CREDENTIALS_FULL_URI") {
        let token = machine
            .file("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", METADATA)
            .await?
            .unwrap_or_default();
        return keys_from_json(
            &machine
                .send(METADATA, |http| {
                    http.get(uri).header("authorization", token)
                })
                .await?,
        );
    }
    instance_keys(machine).await
}

/// Returns the instance's keys, by IMDSv2.
async fn instance_keys(machine: &Machine) -> Result<AwsKeys, IdentityError> {
    let root = machine
        .variable("AWS_EC2_METADATA_SERVICE_ENDPOINT")
        .unwrap_or("http://169.254.169.254");
    let root = root.trim_end_matches('/');
    let ttl = ("x-aws-ec2-metadata-token-ttl-seconds", "300");
    let session = machine
        .send(METADATA, |http| {
            http.put(format!("{root}/latest/api/token"))
                .header(ttl.0, ttl.1)
        })
        .await;
    let session = session.map_err(|error| IdentityError::NoIdentity {
        cloud: "AWS",
        message: format!(
            "there are no keys in the environment, no web identity, no pod identity, and {error}"
        ),
    })?;
    let ask = |path: String| {
        let session = session.clone();
        async move {
            let url = format!("{root}/latest/meta-data/iam/security-credentials/{path}");
            machine
                .send(METADATA, |http| {
                    http.get(url).header("x-aws-ec2-metadata-token", session)
                })
                .await
        }
    };
    let role = ask(String::new()).await?;
    keys_from_json(&ask(role.lines().next().unwrap_or_default().trim().to_owned()).await?)
}

async fn assume_role(
    machine: &Machine,
    region: &str,
    keys: &AwsKeys,
    role: &AwsRole,
    now: Timestamp,
) -> Result<AwsKeys, IdentityError> {
    let query = BTreeMap::from([
        ("Action", "AssumeRole".to_owned()),
        ("Version", "2011-06-15".to_owned()),
        ("RoleArn", role.arn.clone()),
        ("RoleSessionName", role.session_name.clone()),
        ("DurationSeconds", role.seconds.to_string()),
    ]);
    let url = sts_url(machine, region);
    let host = url
        .split("://")
        .nth(1)
        .unwrap_or_default()
        .trim_end_matches('/')
        .to_owned();
    let scheme = url.split("://").next().unwrap_or("https");
    let signed = PresignedRequest {
        service: "sts",
        host: &host,
        path: "/",
        headers: &[],
    }
    .url(region, query, keys, now);
    keys_from_xml(
        &machine
            .send(STS, |http| http.get(format!("{scheme}://{signed}")))
            .await?,
    )
}

fn sts_url(machine: &Machine, region: &str) -> String {
    let standard = format!("https://{}/", host("sts", region));
    machine
        .variable("AWS_ENDPOINT_URL_STS")
        .map_or(standard, str::to_owned)
}

/// Reads the keys in an STS response.
fn keys_from_xml(xml: &str) -> Result<AwsKeys, IdentityError> {
    let part = |name: &str| xml_element(xml, name);
    match (part("AccessKeyId"), part("SecretAccessKey")) {
        (Some(id), Some(secret)) => {
            let session = part("SessionToken").map(|token| token.as_str().into());
            Ok(AwsKeys {
                id,
                secret: secret.as_str().into(),
                session_token: session,
            })
        }
        _ => Err(IdentityError::Service {
            service: STS,
            message: "its response contains no keys".into(),
        }),
    }
}

/// Returns the text of the first element with this name. Keys and codes contain no character that
/// XML escapes, except `&amp;`.
pub(super) fn xml_element(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    Some(text.trim().replace("&amp;", "&"))
}

fn keys_from_json(text: &str) -> Result<AwsKeys, IdentityError> {
    let json: Value = serde_json::from_str(text).unwrap_or_default();
    let part = |name: &str| json.get(name).and_then(Value::as_str);
    match (part("AccessKeyId"), part("SecretAccessKey")) {
        (Some(id), Some(secret)) => Ok(AwsKeys {
            id: id.to_owned(),
            secret: secret.into(),
            session_token: part("Token").map(Into::into),
        }),
        _ => Err(IdentityError::Service {
            service: METADATA,
            message: "its response contains no keys".into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected signature was computed with Python's hmac and hashlib, by the steps in the AWS
    /// documentation.
    #[test]
    fn a_request_is_presigned() {
        let keys = AwsKeys {
            id: "AKIDEXAMPLE".into(),
            secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
            session_token: None,
        };
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let query = BTreeMap::from([
            ("Action", "GetCallerIdentity".to_owned()),
            ("Version", "2011-06-15".to_owned()),
        ]);
        let (host, headers) = ("sts.us-east-1.amazonaws.com", &[("x-k8s-aws-id", "shop")]);
        let url = PresignedRequest {
            service: "sts",
            host,
            path: "/",
            headers,
        }
        .url("us-east-1", query, &keys, now);
        assert_eq!(
            url,
            "sts.us-east-1.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15&\
             X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20260102%2Fus-east-1%\
             2Fsts%2Faws4_request&X-Amz-Date=20260102T030405Z&X-Amz-Expires=60&\
             X-Amz-SignedHeaders=host%3Bx-k8s-aws-id&\
             X-Amz-Signature=c20f4e474823bfa758294e66c131414ddf10bb9269c110323eeb1afc78599e56"
        );
    }

    #[test]
    fn the_region_is_the_plans_else_the_endpoints() {
        let machine = Machine::default();
        let of = |region: &str, endpoint: &str| region_of(&machine, region, endpoint);
        assert_eq!(
            of("eu-west-1", "https://x.gr7.us-east-2.eks.amazonaws.com").unwrap(),
            "eu-west-1"
        );
        assert_eq!(
            of("", "https://ABC.gr7.us-east-2.eks.amazonaws.com").unwrap(),
            "us-east-2"
        );
        assert!(of("", "https://127.0.0.1:1").is_err());
        assert!(of("evil.example/", "").is_err());
    }

    fn region_of(machine: &Machine, region: &str, endpoint: &str) -> Result<String, IdentityError> {
        super::region(
            machine,
            &AwsAuth {
                region: region.into(),
                ..AwsAuth::default()
            },
            endpoint,
        )
    }
}
