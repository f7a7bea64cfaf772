//! EKS: the token is a presigned STS request (`GetCallerIdentity`) for this cluster, as in
//! kubernetes-sigs/aws-iam-authenticator.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::Value;

use crate::cloud::aws::{AwsIdentity, PresignedRequest, Signer, host, split_scheme};
use crate::cloud::{IdentityError, Machine, Token};
use crate::plan::cloud::AwsAuth;

const EKS: &str = "AWS EKS";

/// Prefix of a token, before the encoded URL.
const PREFIX: &str = "k8s-aws-v1.";

/// Lifetime of a token: EKS accepts a presigned request this long, whatever `X-Amz-Expires` says.
const TOKEN_LIFETIME: Duration = Duration::from_secs(15 * 60);

/// An EKS cluster and the identity that asks for it.
pub(super) struct Eks<'a> {
    /// Provides keys if the plan has none.
    pub(super) machine: &'a Machine,
    /// The identity in the plan.
    pub(super) auth: &'a AwsAuth,
    /// Name of the cluster.
    pub(super) cluster: &'a str,
    /// API server's address in the plan.
    pub(super) endpoint: &'a str,
    /// ARN of a role to assume last, after the plan's roles.
    pub(super) trusted_role: Option<&'a str>,
    /// Time of the signatures.
    pub(super) now: Timestamp,
}

impl Eks<'_> {
    /// Creates a token for the cluster.
    pub(super) async fn token(&self) -> Result<Token, IdentityError> {
        let signer = self.signer().await?;
        let query = BTreeMap::from([
            ("Action", "GetCallerIdentity".to_owned()),
            ("Version", "2011-06-15".to_owned()),
        ]);
        let request = PresignedRequest {
            service: "sts",
            host: &host("sts", &signer.region),
            path: "/",
            headers: &[("x-k8s-aws-id", self.cluster)],
        };
        let url = format!("https://{}", signer.presign(&request, query));
        let secret = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(url));
        Ok(Token {
            secret: secret.into(),
            lifetime: TOKEN_LIFETIME,
        })
    }

    /// Returns the cluster's endpoint as EKS reports it (`DescribeCluster`).
    pub(super) async fn reported_endpoint(&self) -> Result<String, IdentityError> {
        let cluster = self.cluster;
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if cluster.is_empty() || !cluster.chars().all(is_name) {
            return Err(IdentityError::Plan(
                "the cluster's id is not a valid EKS cluster name".into(),
            ));
        }
        let signer = self.signer().await?;
        let standard = format!("https://{}", host("eks", &signer.region));
        let address = self.machine.address("AWS_ENDPOINT_URL_EKS", standard);
        let (scheme, host) = split_scheme(&address);
        let request = PresignedRequest {
            service: "eks",
            host,
            path: &format!("/clusters/{cluster}"),
            headers: &[],
        };
        let signed = signer.presign(&request, BTreeMap::new());
        let url = format!("{scheme}://{signed}");
        let answer = self.machine.send(EKS, |http| http.get(url)).await?;
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

    async fn signer(&self) -> Result<Signer, IdentityError> {
        let identity = AwsIdentity {
            machine: self.machine,
            auth: self.auth,
            region: region_of(self.endpoint),
            trusted_role: self.trusted_role,
            now: self.now,
        };
        identity.signer().await
    }
}

/// Returns the region in an endpoint (`….REGION.eks.amazonaws.com`).
fn region_of(endpoint: &str) -> Option<&str> {
    let host = endpoint
        .trim_start_matches("https://")
        .split(['/', ':'])
        .next()?;
    let (before, _) = host.split_once(".eks.amazonaws.com")?;
    before.rsplit('.').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endpoint_names_the_region() {
        let of = |endpoint: &'static str| region_of(endpoint);
        assert_eq!(
            of("https://ABC.gr7.us-east-2.eks.amazonaws.com"),
            Some("us-east-2")
        );
        assert_eq!(of("https://127.0.0.1:1"), None);
    }
}
