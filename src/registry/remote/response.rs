//! Responses: status, redirects, bodies, and the errors that they mean.

use std::time::Duration;

use bytes::Bytes;
use http::header;
use reqwest::{Response, Url};
use serde_json::Value;

use super::{Call, Remote};
use crate::base::bounded::BodyError;
use crate::base::{bounded, trust};
use crate::registry::RegistryError;

/// Maximum bytes of an error response that are read.
const MAX_ERROR_BYTES: usize = 16 * 1024;

/// Reads at most `limit` bytes. Longer content is cut without an error; the caller checks the
/// length.
async fn read_prefix(response: Response, limit: u64) -> Result<Bytes, BodyError> {
    bounded::prefix(response, usize::try_from(limit).unwrap_or(usize::MAX)).await
}

impl Remote {
    pub(super) async fn follow_redirect(
        &self,
        call: &Call,
        response: &Response,
    ) -> Result<Response, RegistryError> {
        let url = self.location(call, response)?;
        let client = self.client_for(&url, url.as_str())?;
        client
            .get(url)
            .timeout(call.timeout)
            .send()
            .await
            .map_err(|error| self.unreachable(call.action, &error))
    }

    /// Returns the URL in the `Location` header, resolved against the request's URL.
    pub(super) fn location(&self, call: &Call, response: &Response) -> Result<Url, RegistryError> {
        let text = response
            .headers()
            .get(header::LOCATION)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let url = call.url.join(text).ok().filter(|_| !text.is_empty());
        let url = url.ok_or_else(|| self.untrusted_redirect(text, "it is not a URL"))?;
        self.client_for(&url, text)?;
        Ok(url)
    }

    /// Returns the URL of the next page (`Link: <URL>; rel="next"`).
    pub(super) fn next_page(
        &self,
        call: &Call,
        response: &Response,
    ) -> Result<Option<Url>, RegistryError> {
        let links = response.headers().get_all(header::LINK).iter();
        let next = links
            .filter_map(|value| value.to_str().ok())
            .filter(|link| link.contains("rel=\"next\""))
            .find_map(|link| link.split_once('<')?.1.split_once('>'));
        let Some((target, _)) = next else {
            return Ok(None);
        };
        let url = call.url.join(target).ok();
        match url.filter(|url| url.origin() == self.base.origin()) {
            Some(url) => Ok(Some(url)),
            None => Err(self.untrusted_redirect(target, "a list goes on at the same host")),
        }
    }

    pub(super) async fn check_status(
        &self,
        response: Response,
        call: &Call,
    ) -> Result<Response, RegistryError> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let host = self.address.host().to_owned();
        let delay = response
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok());
        let version = call
            .url
            .path()
            .rsplit_once('/')
            .map_or("", |(_, last)| last);
        let what = match version.starts_with("sha256:") {
            true => format!("{}@{version}", self.address),
            false => format!("{}:{version}", self.address),
        };
        let body = read_prefix(response, MAX_ERROR_BYTES as u64)
            .await
            .unwrap_or_default();
        let error_body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let first = &error_body["errors"][0];
        let message = first["message"]
            .as_str()
            .or(first["code"].as_str())
            .unwrap_or_default();
        let message: String = message.chars().take(300).collect();
        let action = call.action;
        Err(match status.as_u16() {
            404 => RegistryError::NotFound(what),
            401 | 403 => RegistryError::Denied {
                host,
                action,
                credential: self.credential.origin(),
                message,
            },
            300..=399 => {
                self.untrusted_redirect("another location", "redirects are followed for blobs only")
            }
            status => RegistryError::Refused {
                host,
                action,
                status,
                message,
                delay: delay.map(Duration::from_secs),
            },
        })
    }

    pub(super) async fn body(
        &self,
        response: Response,
        call: &Call,
        limit: u64,
    ) -> Result<Bytes, RegistryError> {
        // Reading one byte more than expected reveals content that is too large.
        read_prefix(response, limit.saturating_add(1))
            .await
            .map_err(|error| RegistryError::Unreachable {
                host: self.address.host().to_owned(),
                action: call.action,
                message: error.to_string(),
            })
    }

    pub(super) fn unreachable(
        &self,
        action: &'static str,
        error: &reqwest::Error,
    ) -> RegistryError {
        let mut causes =
            std::iter::successors(std::error::Error::source(error), |cause| cause.source());
        // The message leaves out URLs, which may carry a signature.
        let message = causes.next().map_or_else(
            || "the connection failed".to_owned(),
            |first| causes.fold(first.to_string(), |text, cause| format!("{text}: {cause}")),
        );
        let host = self.address.host().to_owned();
        if trust::is_untrusted_certificate(error) {
            RegistryError::Untrusted { host, message }
        } else {
            RegistryError::Unreachable {
                host,
                action,
                message,
            }
        }
    }

    pub(super) fn untrusted_redirect(&self, target: &str, why: &'static str) -> RegistryError {
        let target = target
            .split(['?', '#'])
            .next()
            .unwrap_or_default()
            .chars()
            .take(200)
            .collect();
        RegistryError::UntrustedRedirect {
            host: self.address.host().to_owned(),
            target,
            why,
        }
    }
}
