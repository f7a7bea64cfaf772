//! Manifests, indexes and tags.

use http::{Method, header};
use serde_json::Value;

use super::Remote;
use crate::registry::document::{MAX_MANIFEST_BYTES, MEDIA_TYPES};
use crate::registry::{Digest, RegistryError, StoredManifest, Version};

/// Maximum pages of a list of tags; registries put 100 to 10,000 tags on one.
const MAX_PAGES: usize = 200;

/// Header with the digest of a manifest.
const CONTENT_DIGEST: &str = "docker-content-digest";

/// Header of registries that keep lists of referrers.
const SUBJECT: &str = "oci-subject";

impl Remote {
    pub(in crate::registry) async fn manifest(
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

    /// Returns the digest of the manifest or index at `version`; `None` if it does not exist.
    ///
    /// # Errors
    /// Fails if the registry cannot be asked.
    pub(in crate::registry) async fn resolve(
        &self,
        version: &Version,
    ) -> Result<Option<Digest>, RegistryError> {
        let mut call = self.call(
            "the check for a manifest",
            Method::HEAD,
            &format!("manifests/{version}"),
        )?;
        call.accept = Some(MEDIA_TYPES.join(", "));
        let response = match self.send(&call, true).await {
            Ok(response) => response,
            Err(RegistryError::NotFound(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let told = response.headers().get(CONTENT_DIGEST);
        match told.and_then(|value| value.to_str().ok()?.parse().ok()) {
            Some(digest) => Ok(Some(digest)),
            None => Ok(Some(self.manifest(version).await?.digest)),
        }
    }

    /// Returns the repository's tags.
    ///
    /// # Errors
    /// Fails if the list cannot be read, or has too many pages. A page that is not valid JSON counts
    /// as empty.
    pub async fn tags(&self) -> Result<Vec<String>, RegistryError> {
        let mut call = self.call("the list of tags", Method::GET, "tags/list")?;
        let mut all = Vec::new();
        for _ in 0..MAX_PAGES {
            let response = self.send(&call, true).await?;
            let next = self.next_page(&call, &response)?;
            let body = self.body(response, &call, MAX_MANIFEST_BYTES).await?;
            let page: Value = serde_json::from_slice(&body).unwrap_or_default();
            let tags = page["tags"].as_array().into_iter().flatten();
            all.extend(tags.filter_map(|tag| tag.as_str().map(str::to_owned)));
            match next {
                Some(url) => call.url = url,
                None => return Ok(all),
            }
        }
        Err(RegistryError::Manifest {
            what: format!("the list of tags of {}", self.address),
            why: format!("it has more than {MAX_PAGES} pages"),
        })
    }

    /// Stores a manifest or index. Returns true if the registry lists it among the referrers of its
    /// subject.
    pub(in crate::registry) async fn put_manifest(
        &self,
        tag: Option<&str>,
        stored: &StoredManifest,
    ) -> Result<bool, RegistryError> {
        let version = tag.unwrap_or(stored.digest.as_str());
        let mut call = self.call(
            "the push of a manifest",
            Method::PUT,
            &format!("manifests/{version}"),
        )?;
        call.content_type = Some(stored.media_type.clone());
        call.body = Some(stored.bytes.clone());
        let response = self.send(&call, true).await?;
        Ok(response.headers().contains_key(SUBJECT))
    }
}
