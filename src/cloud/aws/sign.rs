//! Requests signed by AWS Signature Version 4: GET requests in their query, POST requests in their
//! headers.
//!
//! Source of the rules: AWS Identity and Access Management User Guide, "Create a signed AWS API
//! request".

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::plan::cloud::AwsKeys;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// `X-Amz-Expires` of a presigned request in seconds, as in aws-iam-authenticator.
const EXPIRES_SECONDS: u32 = 60;

/// A GET request that is signed in its query.
pub struct PresignedRequest<'a> {
    /// Name of the service, such as `sts`.
    pub service: &'a str,
    /// Host, with a port if it has one.
    pub host: &'a str,
    /// Absolute path, percent-encoded.
    pub path: &'a str,
    /// Headers that the request must send, with lower-case names.
    pub headers: &'a [(&'a str, &'a str)],
}

impl PresignedRequest<'_> {
    /// Returns host, path and signed query, without the scheme.
    pub(super) fn url(
        &self,
        region: &str,
        mut query: BTreeMap<&str, String>,
        keys: &AwsKeys,
        now: Timestamp,
    ) -> String {
        let Self {
            service,
            host,
            path,
            headers,
        } = *self;
        let scope = Scope::new(region, service, now);
        let headers: BTreeMap<&str, &str> =
            headers.iter().copied().chain([("host", host)]).collect();
        query.insert("X-Amz-Algorithm", ALGORITHM.into());
        query.insert("X-Amz-Credential", format!("{}/{}", keys.id, scope.name()));
        query.insert("X-Amz-Date", scope.time.clone());
        query.insert("X-Amz-Expires", EXPIRES_SECONDS.to_string());
        query.insert("X-Amz-SignedHeaders", names(&headers));
        if let Some(session) = &keys.session_token {
            query.insert("X-Amz-Security-Token", session.expose().to_owned());
        }
        let query: Vec<String> = query
            .iter()
            .map(|(name, value)| format!("{name}={}", percent_encode(value)))
            .collect();
        let query = query.join("&");
        let signature = scope.signature(&["GET", path, &query], &headers, b"", keys);
        format!("{host}{path}?{query}&X-Amz-Signature={signature}")
    }
}

/// A POST request that is signed in its headers.
pub struct SignedPost<'a> {
    /// Name of the service, such as `ecr`.
    pub service: &'a str,
    /// Host, with a port if it has one.
    pub host: &'a str,
    /// Query, percent-encoded and sorted.
    pub query: &'a str,
    /// Further headers to sign, with lower-case names.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body.
    pub body: &'a str,
}

impl SignedPost<'_> {
    /// Returns all headers that the request to the path `/` must send, besides `host`.
    pub(super) fn headers(
        &self,
        region: &str,
        keys: &AwsKeys,
        now: Timestamp,
    ) -> Vec<(String, String)> {
        let scope = Scope::new(region, self.service, now);
        let mut headers: BTreeMap<&str, &str> = self.headers.iter().copied().collect();
        headers.extend([("host", self.host), ("x-amz-date", &scope.time)]);
        if let Some(session) = &keys.session_token {
            headers.insert("x-amz-security-token", session.expose());
        }
        let body = self.body.as_bytes();
        let signature = scope.signature(&["POST", "/", self.query], &headers, body, keys);
        let authorization = format!(
            "{ALGORITHM} Credential={}/{}, SignedHeaders={}, Signature={signature}",
            keys.id,
            scope.name(),
            names(&headers)
        );
        let sent = headers.iter().filter(|(name, _)| **name != "host");
        sent.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .chain([("authorization".to_owned(), authorization)])
            .collect()
    }
}

/// Returns the names of headers, in order.
fn names(headers: &BTreeMap<&str, &str>) -> String {
    headers.keys().copied().collect::<Vec<_>>().join(";")
}

/// What a signature is valid for.
struct Scope<'a> {
    date: String,
    time: String,
    region: &'a str,
    service: &'a str,
}

impl<'a> Scope<'a> {
    fn new(region: &'a str, service: &'a str, now: Timestamp) -> Self {
        Self {
            date: now.strftime("%Y%m%d").to_string(),
            time: now.strftime("%Y%m%dT%H%M%SZ").to_string(),
            region,
            service,
        }
    }

    fn name(&self) -> String {
        let Self {
            date,
            region,
            service,
            ..
        } = self;
        format!("{date}/{region}/{service}/aws4_request")
    }

    /// Signs a request; `line` is its method, path and query.
    fn signature(
        &self,
        line: &[&str; 3],
        headers: &BTreeMap<&str, &str>,
        body: &[u8],
        keys: &AwsKeys,
    ) -> String {
        let [method, path, query] = line;
        let header_lines: String = headers
            .iter()
            .map(|(name, value)| format!("{name}:{value}\n"))
            .collect();
        let signed = names(headers);
        let payload = hex::encode(Sha256::digest(body));
        let canonical = format!("{method}\n{path}\n{query}\n{header_lines}\n{signed}\n{payload}");
        let text = format!(
            "{ALGORITHM}\n{}\n{}\n{}",
            self.time,
            self.name(),
            hex::encode(Sha256::digest(canonical.as_bytes()))
        );
        let start = format!("AWS4{}", keys.secret.expose()).into_bytes();
        let steps = [&self.date, self.region, self.service, "aws4_request", &text];
        hex::encode(
            steps
                .iter()
                .fold(start, |key, step| hmac_sha256(&key, step)),
        )
    }
}

fn hmac_sha256(key: &[u8], text: &str) -> Vec<u8> {
    // HMAC accepts keys of any length, so this never fails.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return Vec::new();
    };
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn percent_encode(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
            char::from(byte).to_string()
        }
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> AwsKeys {
        AwsKeys {
            id: "AKIDEXAMPLE".into(),
            secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
            session_token: None,
        }
    }

    /// The expected signature was computed with Python's hmac and hashlib, by the steps in the AWS
    /// documentation.
    #[test]
    fn a_request_is_presigned() {
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
        .url("us-east-1", query, &keys(), now);
        assert_eq!(
            url,
            "sts.us-east-1.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15&\
             X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20260102%2Fus-east-1%\
             2Fsts%2Faws4_request&X-Amz-Date=20260102T030405Z&X-Amz-Expires=60&\
             X-Amz-SignedHeaders=host%3Bx-k8s-aws-id&\
             X-Amz-Signature=c20f4e474823bfa758294e66c131414ddf10bb9269c110323eeb1afc78599e56"
        );
    }

    /// `post-vanilla` and `post-x-www-form-urlencoded` of the AWS Signature Version 4 test suite.
    #[test]
    fn a_post_is_signed() {
        let now: Timestamp = "2015-08-30T12:36:00Z".parse().unwrap();
        let signature = |headers: &[(&str, &str)], body: &str| {
            let request = SignedPost {
                service: "service",
                host: "example.amazonaws.com",
                query: "",
                headers,
                body,
            };
            let signed = request.headers("us-east-1", &keys(), now);
            let (_, value) = signed
                .iter()
                .find(|(name, _)| name == "authorization")
                .unwrap();
            value.rsplit('=').next().unwrap().to_owned()
        };
        assert_eq!(
            signature(&[], ""),
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"
        );
        let form = ("content-type", "application/x-www-form-urlencoded");
        assert_eq!(
            signature(&[form], "Param1=value1"),
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"
        );
    }
}
