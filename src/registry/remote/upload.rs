//! Uploads of blobs. They are monolithic: ECR silently drops all chunks but the first, and Google's
//! registry accepts no chunks. A failed upload is in an unknown state, so each attempt starts over.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt as _;
use http::{Method, StatusCode, header};
use reqwest::Body;
use url::Url;

use super::retry::with_retries;
use super::{Call, Remote, transfer_timeout};
use crate::registry::blob::{BlobStream, OpenBlob};
use crate::registry::{Descriptor, Digest, RegistryError};

/// How a blob came into a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// It was there.
    Existing,
    /// The registry took it from another repository of its own.
    Mounted,
    /// It was sent.
    Uploaded,
}

impl Remote {
    /// Stores a blob, unless it exists. If it is in `near`, a repository of the same registry, it is not
    /// sent.
    ///
    /// # Errors
    /// Fails if the blob cannot be read or stored.
    pub(in crate::registry) async fn upload(
        &self,
        blob: &Descriptor,
        source: &dyn OpenBlob,
        near: Option<&Self>,
    ) -> Result<Stored, RegistryError> {
        if self.has_blob(&blob.digest).await? {
            return Ok(Stored::Existing);
        }
        let near = near.filter(|near| near.base.origin() == self.base.origin());
        let attempt = || async {
            let session = match near {
                Some(near) => self.mount(&blob.digest, near).await?,
                None => Some(self.start_upload().await?),
            };
            let Some(session) = session else {
                return Ok(Stored::Mounted);
            };
            let content = source.open(blob).await?;
            self.send_blob(session, blob, content).await?;
            Ok(Stored::Uploaded)
        };
        with_retries(&self.connections.clock, attempt).await
    }

    async fn has_blob(&self, digest: &Digest) -> Result<bool, RegistryError> {
        let head = self.call(
            "the check for a blob",
            Method::HEAD,
            &format!("blobs/{digest}"),
        )?;
        match self.send(&head, true).await {
            Ok(_) => Ok(true),
            Err(RegistryError::NotFound(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn start_upload(&self) -> Result<Url, RegistryError> {
        let call = self.call("the start of an upload", Method::POST, "blobs/uploads/")?;
        let response = self.send(&call, false).await?;
        self.location(&call, &response)
    }

    /// Asks the registry to take the blob from another repository of its own. Returns the session
    /// of an upload if it does not; `None` if it does.
    async fn mount(&self, digest: &Digest, near: &Self) -> Result<Option<Url>, RegistryError> {
        let mut call = self.call("the mount of a blob", Method::POST, "blobs/uploads/")?;
        call.url
            .query_pairs_mut()
            .append_pair("mount", digest.as_str())
            .append_pair("from", near.address.name());
        match self.send(&call, false).await {
            Ok(response) if response.status() == StatusCode::CREATED => Ok(None),
            Ok(response) => self.location(&call, &response).map(Some),
            // Not every registry knows mounts, and not everybody may read there.
            Err(error) if !error.is_temporary() => self.start_upload().await.map(Some),
            Err(error) => Err(error),
        }
    }

    /// Sends the content of a blob in one request.
    async fn send_blob(
        &self,
        mut session: Url,
        blob: &Descriptor,
        content: BlobStream,
    ) -> Result<(), RegistryError> {
        session
            .query_pairs_mut()
            .append_pair("digest", blob.digest.as_str());
        let call = Call {
            timeout: transfer_timeout(blob.size),
            content_type: Some("application/octet-stream".into()),
            ..Call::new("an upload", Method::PUT, session)
        };
        let (content, fault) = watched(content);
        let request = self.request(&call).await?;
        let sent = request
            .header(header::CONTENT_LENGTH, blob.size)
            .body(Body::wrap_stream(content))
            .send()
            .await;
        let response = sent.map_err(|error| {
            let fault = fault.lock().unwrap_or_else(PoisonError::into_inner).take();
            fault.unwrap_or_else(|| self.unreachable(call.action, &error))
        })?;
        if response.status() == StatusCode::UNAUTHORIZED && self.renew(&call, &response).await? {
            // The content is gone; the next attempt has the new credentials.
            return Err(RegistryError::Unreachable {
                host: self.address.host().to_owned(),
                action: call.action,
                message: "the credentials have ended in mid-transfer".into(),
            });
        }
        self.check_status(response, &call).await.map(drop)
    }
}

/// Returns the stream, and a place for its error: the HTTP client does not return it.
fn watched(content: BlobStream) -> (BlobStream, Arc<Mutex<Option<RegistryError>>>) {
    let fault = Arc::new(Mutex::new(None));
    let place = fault.clone();
    let content = content.map(move |part| {
        part.map_err(|error| {
            let copy = RegistryError::Format("its content is not right".into());
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            copy
        })
    });
    (content.boxed(), fault)
}
