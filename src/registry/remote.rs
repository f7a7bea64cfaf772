//! A repository on a server (OCI distribution specification 1.1).
//!
//! Manifests are small and held in memory; blobs are streamed, or held if their reader limits them.
#![expect(
    clippy::indexing_slicing,
    reason = "a member or item that a JSON value lacks reads as null"
)]

mod authorization;
mod download;
mod manifests;
mod referrers;
mod response;
mod retry;
mod upload;

use std::sync::Arc;
use std::time::Duration;

use authorization::Authorization;
use bytes::Bytes;
use http::{Method, StatusCode, header};
use reqwest::{RequestBuilder, Response};
use retry::with_retries;
use tokio::sync::Mutex;
pub(super) use upload::Stored;
use url::Url;

use super::challenge::{self};
use super::{Address, Credential, RegistryError, Scheme};
use crate::base::clock::Clock;
use crate::base::guard::{Reach, SsrfGuard};

/// Timeout of one attempt, beside the time for the content of a blob.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(60);

/// A blob that takes longer than at this rate, in bytes per second, is given up.
const MIN_RATE: u64 = 64 << 10;

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
    timeout: Duration,
}

impl Call {
    fn new(action: &'static str, method: Method, url: Url) -> Self {
        Self {
            action,
            method,
            url,
            accept: None,
            content_type: None,
            body: None,
            timeout: ATTEMPT_TIMEOUT,
        }
    }
}

/// Returns the timeout of an attempt that transfers a blob of this size in bytes.
fn transfer_timeout(size: u64) -> Duration {
    ATTEMPT_TIMEOUT + Duration::from_secs(size / MIN_RATE)
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
        Ok(Call::new(action, method, url))
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
        if response.status() == StatusCode::UNAUTHORIZED && self.renew(call, &response).await? {
            return self.attempt(call).await;
        }
        Ok(response)
    }

    /// Gets new credentials after a response with status 401. Returns false if there are none.
    async fn renew(&self, call: &Call, response: &Response) -> Result<bool, RegistryError> {
        let headers = response.headers().get_all(header::WWW_AUTHENTICATE).iter();
        let challenge = headers
            .filter_map(|value| value.to_str().ok())
            .find_map(challenge::parse);
        let Some(challenge) = challenge else {
            return Ok(false);
        };
        let sent = self.token.lock().await.clone();
        if let (Some(Authorization::Basic(..)), Credential::Login(login)) = (sent, &self.credential)
            && !login.discard().await
        {
            return Ok(false);
        }
        let Some(authorization) = self.authorize(call, &challenge).await? else {
            return Ok(false);
        };
        *self.token.lock().await = Some(authorization);
        Ok(true)
    }

    async fn attempt(&self, call: &Call) -> Result<Response, RegistryError> {
        let mut request = self.request(call).await?;
        if let Some(body) = &call.body {
            request = request.body(body.clone());
        } else if call.method == Method::POST {
            request = request.header(header::CONTENT_LENGTH, 0);
        }
        request
            .send()
            .await
            .map_err(|error| self.unreachable(call.action, &error))
    }

    /// Makes a request, without its body. The credentials are for the registry only and are never
    /// sent to another origin.
    async fn request(&self, call: &Call) -> Result<RequestBuilder, RegistryError> {
        let is_registry = call.url.origin() == self.base.origin();
        let client = if is_registry {
            &self.connections.registry
        } else {
            self.client_for(&call.url, call.url.as_str())?
        };
        let mut request = client
            .request(call.method.clone(), call.url.clone())
            .timeout(call.timeout);
        if let Some(accept) = &call.accept {
            request = request.header(header::ACCEPT, accept);
        }
        if let Some(content_type) = &call.content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
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
        Ok(request)
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
