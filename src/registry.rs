//! OCI registries and their artifacts: references, digests, credentials, pull, push, copy, and
//! image layouts on disk.
//!
//! Parsing is separate from transport: [`document`] and [`format`](mod@format) convert between
//! bytes and manifests or artifacts without a server; [`remote`] sends requests. No content is used
//! before its digest and size have been checked. Credentials are sent only to the registry's own
//! host and to the token service that it names, never along a redirect.
//!
//! The reference grammar is that of `oci-client` (the successor of oci-distribution). Its transfers
//! are not used: it does not retry, uploads in chunks that ECR corrupts, and cannot copy.

pub mod address;
mod blob;
pub mod copy;
pub mod credentials;
pub mod digest;
pub mod document;
pub mod format;
pub mod layout;
pub mod login;
pub mod reference;
pub mod remote;
pub mod scheme;

mod challenge;
mod referrer;

pub use address::{Address, Version};
use blob::{BlobStream, OpenBlob};
pub use credentials::Credential;
pub use digest::Digest;
pub use document::{Descriptor, Document};
use futures_util::future::BoxFuture;
use layout::ImageLayout;
pub use remote::Remote;
use remote::Stored;
pub use scheme::Scheme;

/// Why a registry operation failed. No message contains a credential.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The text is not a valid address, tag or digest.
    #[error("{0:?} is not the address of an artifact: HOST/NAME is expected")]
    Address(String),
    /// The plan names a directory as a registry, which only `dev` allows.
    #[error("a registry of type oci_layout is allowed in dev only")]
    LocalOnly,
    /// A cloud identity gives no password for the registry.
    #[error("there is no access to the registry")]
    Login(#[from] crate::cloud::IdentityError),
    /// The manifest or blob does not exist.
    #[error("{0} does not exist in the registry")]
    NotFound(String),
    /// The registry rejected the credentials (status 401 or 403).
    #[error("the registry {host} refused {action}{}: check that {credential} may do it", in_parentheses(.message))]
    Denied {
        /// Host of the registry.
        host: String,
        /// What was requested, as a noun phrase.
        action: &'static str,
        /// Origin of the credentials, for people.
        credential: &'static str,
        /// The registry's message; may be empty.
        message: String,
    },
    /// The registry returned another error status.
    #[error("the registry {host} answered {action} with {status}{}", in_parentheses(.message))]
    Refused {
        /// Host of the registry.
        host: String,
        /// What was requested, as a noun phrase.
        action: &'static str,
        /// HTTP status.
        status: u16,
        /// The registry's message; may be empty.
        message: String,
        /// The delay that `Retry-After` asked for.
        delay: Option<std::time::Duration>,
    },
    /// There was no response, or it was incomplete.
    #[error("the registry {host} could not be reached for {action}: {message}")]
    Unreachable {
        /// Host of the registry.
        host: String,
        /// What was requested, as a noun phrase.
        action: &'static str,
        /// The transport's error, without the URL.
        message: String,
    },
    /// The registry's certificate is not trusted.
    #[error(
        "the certificate of the registry {host} is not trusted: {message}; if it is the right registry, add its CA to tls.ca_file"
    )]
    Untrusted {
        /// Host of the registry.
        host: String,
        /// What is wrong with the certificate.
        message: String,
    },
    /// The SSRF guard does not allow the registry's address.
    #[error("the registry cannot be used")]
    Guard(#[from] crate::base::guard::SsrfError),
    /// The registry, or someone in between, points to an address that must not be used.
    #[error("the registry {host} points to {target}, which is refused: {why}")]
    UntrustedRedirect {
        /// Host of the registry.
        host: String,
        /// The address, without its query.
        target: String,
        /// Why it must not be used.
        why: &'static str,
    },
    /// The content does not have the expected digest, size or checksum.
    #[error("{what} does not match its {property}: expected {expected}, got {got}")]
    Mismatch {
        /// The content, for people.
        what: String,
        /// `digest`, `size` or `checksum`.
        property: &'static str,
        /// The value in the descriptor or annotation.
        expected: String,
        /// The value of the received content.
        got: String,
    },
    /// The content is larger than allowed.
    #[error("{what} is larger than {limit} bytes")]
    TooLarge {
        /// The content, for people.
        what: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// A manifest or index is not valid.
    #[error("{what} is not a usable manifest: {why}")]
    Manifest {
        /// Its digest.
        what: String,
        /// What is wrong, as a clause ("it has no config").
        why: String,
    },
    /// The artifact has a format that is not supported.
    #[error("the artifact cannot be read: {0}")]
    Format(String),
    /// The artifact's archive is not valid.
    #[error("the artifact's archive cannot be read")]
    Archive(#[from] crate::workspace::archive::ArchiveError),
    /// An image layout on disk cannot be read or written.
    #[error("cannot read or write the image layout {path}")]
    Layout {
        /// Directory of the layout.
        path: std::path::PathBuf,
        /// The file system's error.
        #[source]
        source: std::io::Error,
    },
}

fn in_parentheses(message: &str) -> String {
    if message.is_empty() {
        String::new()
    } else {
        format!(" ({message})")
    }
}

impl RegistryError {
    /// Returns true if the same request may succeed later.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { status, .. } => matches!(status, 408 | 429 | 500..=599),
            _ => false,
        }
    }
}

/// A repository on a server or in an image layout on disk.
pub enum Repository {
    /// On a server.
    Remote(Box<Remote>),
    /// In an image layout on disk.
    Layout(ImageLayout),
}

/// A manifest or index with its exact bytes, which determine its digest.
#[derive(Debug, Clone)]
pub struct StoredManifest {
    /// Digest of the bytes.
    pub digest: Digest,
    /// Media type with which it was served or listed, otherwise the one in the document; empty if
    /// there is none.
    pub media_type: String,
    /// The document as received.
    pub bytes: bytes::Bytes,
}

impl Repository {
    /// Returns the address or path, for people.
    pub fn name(&self) -> String {
        match self {
            Self::Remote(remote) => remote.address().to_string(),
            Self::Layout(layout) => layout.path().display().to_string(),
        }
    }

    /// Reads a manifest or index. If `version` is a digest, the content is checked against it.
    ///
    /// # Errors
    /// Fails if the document does not exist, cannot be read, or does not match the digest.
    pub async fn manifest(&self, version: &Version) -> Result<StoredManifest, RegistryError> {
        let stored = match self {
            Self::Remote(remote) => remote.manifest(version).await?,
            Self::Layout(layout) => layout.manifest(version)?,
        };
        if let Version::Digest(expected) = version {
            expected.check(&format!("the manifest {expected}"), &stored.bytes)?;
        }
        Ok(stored)
    }

    /// Reads a blob and checks its size and digest against the descriptor.
    ///
    /// # Errors
    /// Fails if the blob is larger than `limit`, cannot be read, or does not match the descriptor.
    pub async fn blob(
        &self,
        descriptor: &Descriptor,
        limit: u64,
    ) -> Result<bytes::Bytes, RegistryError> {
        let what = format!("the blob {}", descriptor.digest);
        if descriptor.size > limit {
            return Err(RegistryError::TooLarge { what, limit });
        }
        let bytes = match self {
            Self::Remote(remote) => remote.blob(descriptor).await?,
            Self::Layout(layout) => layout.blob(descriptor)?,
        };
        if bytes.len() as u64 != descriptor.size {
            let (expected, got) = (descriptor.size.to_string(), bytes.len().to_string());
            return Err(RegistryError::Mismatch {
                what,
                property: "size",
                expected,
                got,
            });
        }
        descriptor.digest.check(&what, &bytes)?;
        Ok(bytes)
    }

    /// Stores a blob, unless it exists.
    pub async fn put_blob(
        &self,
        blob: &Descriptor,
        bytes: bytes::Bytes,
    ) -> Result<(), RegistryError> {
        match self {
            Self::Remote(remote) => remote.upload(blob, &bytes, None).await.map(drop),
            Self::Layout(layout) => layout.put_blob(&blob.digest, &bytes),
        }
    }

    /// Stores a manifest or index under its digest and, if given, under a tag. If it has a subject,
    /// it is listed among that one's referrers.
    pub async fn put_manifest(
        &self,
        tag: Option<&str>,
        stored: &StoredManifest,
    ) -> Result<(), RegistryError> {
        let is_listed = self.put_document(tag, stored).await?;
        let Some(subject) = referrer::subject_of(stored).filter(|_| !is_listed) else {
            return Ok(());
        };
        let tag = referrer::list_tag(&subject);
        let list = match self.manifest(&Version::Tag(tag.clone())).await {
            Err(RegistryError::NotFound(_)) => None,
            list => Some(list?),
        };
        // Some registries take the tag for the digest that it is made of.
        if list.as_ref().is_some_and(|list| list.digest == subject) {
            return Ok(());
        }
        match referrer::added_to(list.as_ref(), stored)? {
            Some(list) => self.put_document(Some(&tag), &list).await.map(drop),
            None => Ok(()),
        }
    }

    /// Stores a document. Returns true if the registry lists it as a referrer itself.
    async fn put_document(
        &self,
        tag: Option<&str>,
        stored: &StoredManifest,
    ) -> Result<bool, RegistryError> {
        match self {
            Self::Remote(remote) => remote.put_manifest(tag, stored).await,
            Self::Layout(layout) => layout.put_manifest(tag, stored).map(|()| false),
        }
    }

    /// Returns the digest of the manifest or index at `version`; `None` if it does not exist.
    ///
    /// # Errors
    /// Fails if the registry cannot be asked, or the layout cannot be read.
    pub async fn resolve(&self, version: &Version) -> Result<Option<Digest>, RegistryError> {
        match self {
            Self::Remote(remote) => remote.resolve(version).await,
            Self::Layout(layout) => match layout.manifest(version) {
                Ok(stored) => Ok(Some(stored.digest)),
                Err(RegistryError::NotFound(_)) => Ok(None),
                Err(error) => Err(error),
            },
        }
    }

    /// Returns all tags.
    ///
    /// # Errors
    /// Fails if they cannot be listed.
    pub async fn tags(&self) -> Result<Vec<String>, RegistryError> {
        match self {
            Self::Remote(remote) => remote.tags().await,
            Self::Layout(layout) => layout.tags(),
        }
    }

    /// Lists the documents that have `subject` as their subject.
    ///
    /// # Errors
    /// Fails if the list cannot be read, or is none.
    pub async fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, RegistryError> {
        if let Self::Remote(remote) = self
            && let Some(listed) = remote.referrers(subject).await?
        {
            return Ok(listed);
        }
        let tag = Version::Tag(referrer::list_tag(subject));
        let list = match self.manifest(&tag).await {
            Err(RegistryError::NotFound(_)) => return Ok(Vec::new()),
            list => list?,
        };
        match Document::parse(&list)? {
            Document::Index(listed) => Ok(listed),
            Document::Manifest(_) => Ok(Vec::new()),
        }
    }

    /// Stores a blob of another repository, unless it exists. It is not held in memory.
    ///
    /// # Errors
    /// Fails if the blob cannot be read or stored, or does not match the descriptor.
    async fn store_blob(
        &self,
        descriptor: &Descriptor,
        from: &Self,
    ) -> Result<Stored, RegistryError> {
        let near = match from {
            Self::Remote(remote) => Some(&**remote),
            Self::Layout(_) => None,
        };
        match (self, near) {
            (Self::Remote(remote), near) => remote.upload(descriptor, from, near).await,
            (Self::Layout(layout), None) => layout.store(descriptor, from).await,
            (Self::Layout(layout), Some(remote)) => {
                remote.retrying(|| layout.store(descriptor, from)).await
            }
        }
    }
}

impl OpenBlob for Repository {
    fn open<'a>(
        &'a self,
        descriptor: &'a Descriptor,
    ) -> BoxFuture<'a, Result<BlobStream, RegistryError>> {
        Box::pin(async {
            match self {
                Self::Remote(remote) => remote.open_blob(descriptor).await,
                Self::Layout(layout) => layout.open_blob(descriptor).await,
            }
        })
    }
}
