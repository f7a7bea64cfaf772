//! Presigned requests (AWS Signature Version 4).

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::EXPIRES_SECONDS;
use crate::plan::cloud::AwsKeys;

/// A GET request presigned in its query (Signature Version 4).
pub(super) struct PresignedRequest<'a> {
    pub(super) service: &'a str,
    pub(super) host: &'a str,
    pub(super) path: &'a str,
    /// Headers that the request must send, with lower-case names.
    pub(super) headers: &'a [(&'a str, &'a str)],
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
        let (date, time) = (
            now.strftime("%Y%m%d").to_string(),
            now.strftime("%Y%m%dT%H%M%SZ").to_string(),
        );
        let scope = format!("{date}/{region}/{service}/aws4_request");
        let headers: BTreeMap<&str, &str> =
            headers.iter().copied().chain([("host", host)]).collect();
        let signed = headers.keys().copied().collect::<Vec<_>>().join(";");
        query.insert("X-Amz-Algorithm", "AWS4-HMAC-SHA256".into());
        query.insert("X-Amz-Credential", format!("{}/{scope}", keys.id));
        query.insert("X-Amz-Date", time.clone());
        query.insert("X-Amz-Expires", EXPIRES_SECONDS.to_string());
        query.insert("X-Amz-SignedHeaders", signed.clone());
        if let Some(session) = &keys.session_token {
            query.insert("X-Amz-Security-Token", session.expose().to_owned());
        }
        let query: Vec<String> = query
            .iter()
            .map(|(name, value)| format!("{name}={}", percent_encode(value)))
            .collect();
        let query = query.join("&");
        let header_lines: String = headers
            .iter()
            .map(|(name, value)| format!("{name}:{value}\n"))
            .collect();
        let payload = hex::encode(Sha256::digest(b""));
        let canonical = format!("GET\n{path}\n{query}\n{header_lines}\n{signed}\n{payload}");
        let text = format!(
            "AWS4-HMAC-SHA256\n{time}\n{scope}\n{}",
            hex::encode(Sha256::digest(canonical.as_bytes()))
        );
        let start = format!("AWS4{}", keys.secret.expose()).into_bytes();
        let steps = [date.as_str(), region, service, "aws4_request", &text];
        let signature = steps
            .iter()
            .fold(start, |key, step| hmac_sha256(&key, step));
        format!(
            "{host}{path}?{query}&X-Amz-Signature={}",
            hex::encode(signature)
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
