//! A repository on a server (OCI distribution specification 1.1).
//!
//! Uploads are monolithic: ECR silently drops all chunks but the first, and Google's registry
//! accepts no chunks. A failed upload starts over. Manifests are small and blobs are bounded, so
//! both are held in memory.
#![expect(
    clippy::indexing_slicing,
    reason = "a member or item that a JSON value lacks reads as null"
)]

mod authorization;
mod response;
mod retry;

use std::sync::Arc;
use std::time::Duration;

use authorization::Authorization;
use bytes::Bytes;
use http::{Method, StatusCode, header};
use reqwest::Response;
use retry::with_retries;
use serde_json::Value;
use tokio::sync::Mutex;
use url::Url;

use super::challenge::{self};
use super::document::{MAX_MANIFEST_BYTES, MEDIA_TYPES};
use super::{
    Address, Credential, Descriptor, Digest, RegistryError, Scheme, StoredManifest, Version,
};
use crate::base::clock::Clock;
use crate::base::guard::{Reach, SsrfGuard};

/// Timeout of one attempt.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(60);

/// Maximum redirects for one blob.
const MAX_REDIRECTS: usize = 3;

/// HTTP clients for registries and for the hosts that they name. Cheap to clone.
#[derive(Clone)]
pub struct RegistryClients {
    /// For the registry itself.
    registry: reqwest::Client,
    /// Which addresses the registry itself may have, depending on who names it.
    reach: Reach,
    /// For hosts that a registry names ([`Reach::Author`]).
    external: reqwest::Client,
    guard: SsrfGuard,
    clock: Clock,
}

impl RegistryClients {
    /// Creates clients for registries that plans name. `builder` is called once for each client.
    ///
    /// # Errors
    /// Fails if `builder` fails or a client cannot be built.
    pub fn new<E: From<reqwest::Error>>(
        builder: impl Fn() -> Result<reqwest::ClientBuilder, E>,
        guard: &SsrfGuard,
        clock: Clock,
    ) -> Result<Self, E> {
        let client = |reach| Ok::<_, E>(builder()?.dns_resolver(guard.resolver(reach)).build()?);
        let (own, foreign) = (client(Reach::Endpoint)?, client(Reach::Author)?);
        Ok(Self {
            registry: own,
            reach: Reach::Endpoint,
            external: foreign,
            guard: guard.clone(),
            clock,
        })
    }

    /// Returns clients for registries that the authors of components name.
    #[must_use]
    pub fn for_authors(&self) -> Self {
        Self {
            registry: self.external.clone(),
            reach: Reach::Author,
            ..self.clone()
        }
    }

    /// How a registry is spoken to, as far as it may be asked.
    ///
    /// # Errors
    /// [`RegistryError::Guard`] if it may not be reached.
    pub async fn scheme(
        &self,
        address: &Address,
        insecure: &[String],
    ) -> Result<Scheme, RegistryError> {
        if let Ok(url) = Url::parse(&format!("https://{}/", address.host())) {
            self.guard.check(&url, self.reach)?;
        }
        Ok(Scheme::detect(address, insecure, &self.registry).await)
    }
}

/// A repository on a server.
pub struct Remote {
    address: Address,
    base: Url,
    credential: Credential,
    connections: RegistryClients,
    token: Arc<Mutex<Option<Authorization>>>,
}

/// A request to the registry.
struct Call {
    action: &'static str,
    method: Method,
    url: Url,
    accept: Option<String>,
    content_type: Option<String>,
    body: Option<Bytes>,
}

impl Remote {
    /// Creates a repository handle. Sends nothing.
    ///
    /// # Errors
    /// Fails if the address does not form a URL, or if the guard does not allow it.
    pub fn new(
        address: Address,
        credential: Credential,
        connections: RegistryClients,
        scheme: Scheme,
    ) -> Result<Self, RegistryError> {
        let base = Url::parse(&format!(
            "{}://{}/v2/{}/",
            scheme.as_str(),
            address.host(),
            address.name()
        ))
        .map_err(|_| RegistryError::Address(address.to_string()))?;
        connections.guard.check(&base, connections.reach)?;
        Ok(Self {
            address,
            base,
            credential,
            connections,
            token: Arc::default(),
        })
    }

    /// Returns the address of the repository.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Returns where its credentials came from, for people.
    pub fn credential_origin(&self) -> &'static str {
        self.credential.origin()
    }

    pub(super) async fn manifest(
        &self,
        version: &Version,
    ) -> Result<StoredManifest, RegistryError> {
        let mut call = self.call("the manifest", Method::GET, &format!("manifests/{version}"))?;
        call.accept = Some(MEDIA_TYPES.join(", "));
        let response = self.send(&call, true).await?;
        let served = response
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        let served =
            served.map(|text| text.split(';').next().unwrap_or_default().trim().to_owned());
        let bytes = self.body(response, &call, MAX_MANIFEST_BYTES).await?;
        let declared = || {
            serde_json::from_slice::<Value>(&bytes).ok()?["mediaType"]
                .as_str()
                .map(str::to_owned)
        };
        // Some registries serve manifests as plain JSON; the document's own media type is used
        // then.
        let media_type = match served {
            Some(served) if MEDIA_TYPES.contains(&served.as_str()) => served,
            _ => declared().unwrap_or_default(),
        };
        Ok(StoredManifest {
            digest: Digest::of(&bytes),
            media_type,
            bytes,
        })
    }

    pub(super) async fn blob(&self, descriptor: &Descriptor) -> Result<Bytes, RegistryError> {
        let call = self.call(
            "a blob",
            Method::GET,
            &format!("blobs/{}", descriptor.digest),
        )?;
        let read = || async {
            let mut response = self.send_once(&call).await?;
            for _ in 0..MAX_REDIRECTS {
                if !response.status().is_redirection() {
                    break;
                }
                response = self.follow_redirect(&call, &response).await?;
            }
            let response = self.check_status(response, &call).await?;
            self.body(response, &call, descriptor.size).await
        };
        with_retries(&self.connections.clock, read).await
    }

    /// Returns the repository's tags, only from the first page of the registry's list.
    ///
    /// # Errors
    /// Fails if the list cannot be read; a list that is not valid JSON counts as empty.
    pub async fn tags(&self) -> Result<Vec<String>, RegistryError> {
        let call = self.call("the list of tags", Method::GET, "tags/list")?;
        let response = self.send(&call, true).await?;
        let body = self.body(response, &call, MAX_MANIFEST_BYTES).await?;
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        let tags = answer["tags"].as_array().into_iter().flatten();
        Ok(tags
            .filter_map(|tag| tag.as_str().map(str::to_owned))
            .collect())
    }

    pub(super) async fn put_blob(
        &self,
        digest: &Digest,
        bytes: Bytes,
    ) -> Result<(), RegistryError> {
        let head = self.call(
            "the check for a blob",
            Method::HEAD,
            &format!("blobs/{digest}"),
        )?;
        match self.send(&head, true).await {
            Ok(_) => return Ok(()),
            Err(RegistryError::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
        let start = self.call("the start of an upload", Method::POST, "blobs/uploads/")?;
        let upload = || async {
            // A failed upload is in an unknown state, so each attempt starts a new one.
            let response = self.send(&start, false).await?;
            let mut url = self.location(&start, &response)?;
            url.query_pairs_mut().append_pair("digest", digest.as_str());
            let call = Call {
                action: "an upload",
                method: Method::PUT,
                url,
                accept: None,
                content_type: Some("application/octet-stream".into()),
                body: Some(bytes.clone()),
            };
            self.send(&call, false).await.map(drop)
        };
        with_retries(&self.connections.clock, upload).await
    }

    pub(super) async fn put_manifest(
        &self,
        tag: Option<&str>,
        stored: &StoredManifest,
    ) -> Result<(), RegistryError> {
        let version = tag.unwrap_or(stored.digest.as_str());
        let mut call = self.call(
            "the push of a manifest",
            Method::PUT,
            &format!("manifests/{version}"),
        )?;
        call.content_type = Some(stored.media_type.clone());
        call.body = Some(stored.bytes.clone());
        self.send(&call, true).await.map(drop)
    }

    fn call(
        &self,
        action: &'static str,
        method: Method,
        path: &str,
    ) -> Result<Call, RegistryError> {
        let url = self
            .base
            .join(path)
            .map_err(|_| RegistryError::Address(self.address.to_string()))?;
        Ok(Call {
            action,
            method,
            url,
            accept: None,
            content_type: None,
            body: None,
        })
    }

    /// Sends a request with credentials. Retries temporary errors if `retry` is set.
    async fn send(&self, call: &Call, retry: bool) -> Result<Response, RegistryError> {
        let once = || async { self.check_status(self.send_once(call).await?, call).await };
        if retry {
            with_retries(&self.connections.clock, once).await
        } else {
            once().await
        }
    }

    /// Sends a request. If the registry asks for authentication, gets new credentials and sends it
    /// once more.
    async fn send_once(&self, call: &Call) -> Result<Response, RegistryError> {
        let response = self.attempt(call).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let headers = response.headers().get_all(header::WWW_AUTHENTICATE).iter();
        let challenge = headers
            .filter_map(|value| value.to_str().ok())
            .find_map(challenge::parse);
        let Some(challenge) = challenge else {
            return Ok(response);
        };
        let Some(authorization) = self.authorize(call, &challenge).await? else {
            return Ok(response);
        };
        *self.token.lock().await = Some(authorization);
        self.attempt(call).await
    }

    async fn attempt(&self, call: &Call) -> Result<Response, RegistryError> {
        let is_registry = call.url.origin() == self.base.origin();
        let client = if is_registry {
            &self.connections.registry
        } else {
            self.client_for(&call.url, call.url.as_str())?
        };
        let mut request = client
            .request(call.method.clone(), call.url.clone())
            .timeout(ATTEMPT_TIMEOUT);
        if let Some(accept) = &call.accept {
            request = request.header(header::ACCEPT, accept);
        }
        if let Some(content_type) = &call.content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        if let Some(body) = &call.body {
            request = request.body(body.clone());
        } else if call.method == Method::POST {
            request = request.header(header::CONTENT_LENGTH, 0);
        }
        // The credentials are for the registry only and are never sent to another origin.
        if is_registry {
            request = match self
                .token
                .lock()
                .await
                .clone()
                .unwrap_or(Authorization::None)
            {
                Authorization::None => request,
                Authorization::Basic(user, password) => {
                    request.basic_auth(user, Some(password.expose()))
                }
                Authorization::Bearer(token) => request.bearer_auth(token.expose()),
            };
        }
        request
            .send()
            .await
            .map_err(|error| self.unreachable(call.action, &error))
    }

    /// Returns the client for a URL that the registry names. Its own host is reached as before
    /// (http only if the registry itself is); other hosts only over https and on the public
    /// internet.
    fn client_for(&self, url: &Url, text: &str) -> Result<&reqwest::Client, RegistryError> {
        let is_own = url.host() == self.base.host();
        if url.scheme() != "https"
            && !(is_own && self.base.scheme() == "http" && url.scheme() == "http")
        {
            return Err(self.untrusted_redirect(text, "it is not https"));
        }
        if is_own {
            return Ok(&self.connections.registry);
        }
        self.connections
            .guard
            .check(url, Reach::Author)
            .map_err(|_| self.untrusted_redirect(text, "it is not a public address"))?;
        Ok(&self.connections.external)
    }
}
