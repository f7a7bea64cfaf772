//! Downloads of blobs.

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::Method;
use reqwest::Response;

use super::retry::with_retries;
use super::{ATTEMPT_TIMEOUT, Call, Remote, transfer_timeout};
use crate::base::error::chain;
use crate::registry::blob::{BlobStream, checked};
use crate::registry::{Descriptor, RegistryError};

/// Maximum redirects for one blob.
const MAX_REDIRECTS: usize = 3;

impl Remote {
    pub(in crate::registry) async fn blob(
        &self,
        descriptor: &Descriptor,
    ) -> Result<Bytes, RegistryError> {
        let call = self.blob_call(descriptor)?;
        let read = || async {
            let response = self.open(&call).await?;
            self.body(response, &call, descriptor.size).await
        };
        with_retries(&self.connections.clock, read).await
    }

    /// Opens a blob. What it holds is checked on its way.
    pub(in crate::registry) async fn open_blob(
        &self,
        descriptor: &Descriptor,
    ) -> Result<BlobStream, RegistryError> {
        let call = self.blob_call(descriptor)?;
        let response = self.open(&call).await?;
        let (host, action) = (self.address.host().to_owned(), call.action);
        let broken = move |message: String| RegistryError::Unreachable {
            host: host.clone(),
            action,
            message,
        };
        let clock = self.connections.clock.clone();
        let parts = response.bytes_stream();
        let content =
            stream::try_unfold((parts, clock, broken), |(mut parts, clock, broken)| async {
                match clock.timeout(ATTEMPT_TIMEOUT, parts.next()).await {
                    Ok(Some(Ok(part))) => Ok(Some((part, (parts, clock, broken)))),
                    Ok(Some(Err(error))) => Err(broken(chain(&error.without_url()))),
                    Ok(None) => Ok(None),
                    Err(_) => Err(broken("its content does not arrive any more".to_owned())),
                }
            });
        Ok(checked(content.boxed(), descriptor.clone()))
    }

    /// Makes attempts until one succeeds, as requests to the registry are made.
    pub(in crate::registry) async fn retrying<T, F: Future<Output = Result<T, RegistryError>>>(
        &self,
        attempt: impl FnMut() -> F,
    ) -> Result<T, RegistryError> {
        with_retries(&self.connections.clock, attempt).await
    }

    fn blob_call(&self, descriptor: &Descriptor) -> Result<Call, RegistryError> {
        let path = format!("blobs/{}", descriptor.digest);
        Ok(Call {
            timeout: transfer_timeout(descriptor.size),
            ..self.call("a blob", Method::GET, &path)?
        })
    }

    /// Asks for a blob, and follows redirects.
    async fn open(&self, call: &Call) -> Result<Response, RegistryError> {
        let mut response = self.send_once(call).await?;
        for _ in 0..MAX_REDIRECTS {
            if !response.status().is_redirection() {
                break;
            }
            response = self.follow_redirect(call, &response).await?;
        }
        self.check_status(response, call).await
    }
}
