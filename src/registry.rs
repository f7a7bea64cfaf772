//! OCI registries and the artifacts in them: references, digests, credentials, pull, push, copy,
//! and image layouts on disk.
//!
//! Knowing is apart from sending: [`document`] and [`format`](mod@format) turn bytes into manifests
//! and artifacts and back without a server; [`remote`] sends. Nothing is used before its digest and
//! size were checked. Credentials go to the registry's own host and to the token service that it
//! names, never along a redirect.
//!
//! The reference grammar is `oci-client`'s (the successor of oci-distribution). Its transfers are
//! not used: it retries nothing, uploads in chunks that ECR corrupts, and cannot copy.

pub mod address;
pub mod channel;
pub mod copy;
pub mod credentials;
pub mod digest;
pub mod document;
pub mod format;
pub mod layout;
pub mod remote;

mod challenge;

pub use address::{Address, Version};
pub use channel::Channel;
pub use credentials::Credential;
pub use digest::Digest;
pub use document::{Descriptor, Document};
use layout::Layout;
pub use remote::Remote;

/// Why a registry did not do what it was asked for. No text of it holds a credential.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// An address that cannot be one.
    #[error("{0:?} is not the address of an artifact: HOST/NAME is expected")]
    Address(String),
    /// A kind of registry that this version cannot enter.
    #[error(
        "registries of type {0} are not supported yet; use private_oci with a user name and \
         password"
    )]
    Unsupported(&'static str),
    /// It is not there.
    #[error("{0} does not exist in the registry")]
    NotFound(String),
    /// The registry wants other credentials.
    #[error("the registry {host} refused {action}{}: check that {credential} may do it", reason(.message))]
    Denied {
        /// Which registry.
        host: String,
        /// What was tried.
        action: &'static str,
        /// With which credentials.
        credential: &'static str,
        /// The registry's words.
        message: String,
    },
    /// The registry refused for another reason.
    #[error("the registry {host} answered {action} with {status}{}", reason(.message))]
    Refused {
        /// Which registry.
        host: String,
        /// What was tried.
        action: &'static str,
        /// Its status.
        status: u16,
        /// The registry's words.
        message: String,
        /// What it asked us to wait.
        delay: Option<std::time::Duration>,
    },
    /// There was no answer, or not all of it.
    #[error("the registry {host} could not be reached for {action}: {message}")]
    Unreachable {
        /// Which registry.
        host: String,
        /// What was tried.
        action: &'static str,
        /// What happened.
        message: String,
    },
    /// The registry's certificate is not trusted.
    #[error(
        "the registry {host} is not trusted: {message}; name its authority in tls.ca_file if it \
         is the right one"
    )]
    Untrusted {
        /// Which registry.
        host: String,
        /// What is wrong with the certificate.
        message: String,
    },
    /// The registry is where input must not lead.
    #[error("the registry cannot be used")]
    Guard(#[from] crate::base::guard::SsrfError),
    /// The registry, or somebody on the way, sends us where we must not go.
    #[error("the registry {host} points to {target}, which is refused: {why}")]
    Misled {
        /// Which registry.
        host: String,
        /// Where to.
        target: String,
        /// Why not.
        why: &'static str,
    },
    /// What was sent is not what its digest or size says.
    #[error("{what} does not match its {property}: expected {expected}, got {got}")]
    Mismatch {
        /// What.
        what: String,
        /// Digest, size, media type or checksum.
        property: &'static str,
        /// What was promised.
        expected: String,
        /// What came.
        got: String,
    },
    /// More bytes than may be taken.
    #[error("{what} is larger than {limit} bytes")]
    TooLarge {
        /// What.
        what: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// A manifest or index that is none.
    #[error("{what} is not a usable manifest: {why}")]
    Manifest {
        /// Which.
        what: String,
        /// Why not.
        why: String,
    },
    /// An artifact in a form that is not read.
    #[error("the artifact cannot be read: {0}")]
    Format(String),
    /// Its archive is wrong.
    #[error("the artifact's archive cannot be read")]
    Archive(#[from] crate::workspace::archive::ArchiveError),
    /// A layout on disk failed.
    #[error("the image layout {path} failed")]
    Layout {
        /// Where.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

fn reason(message: &str) -> String {
    if message.is_empty() {
        String::new()
    } else {
        format!(" ({message})")
    }
}

impl RegistryError {
    /// Whether the same may succeed later.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { status, .. } => matches!(status, 408 | 429 | 500..=599),
            _ => false,
        }
    }
}

/// A repository: on a server, or on this disk.
pub enum Repository {
    /// On a server.
    Remote(Box<Remote>),
    /// On this disk.
    Layout(Layout),
}

/// A manifest or index as it was stored: its bytes decide its digest, so they are kept.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Its digest.
    pub digest: Digest,
    /// Its media type.
    pub media_type: String,
    /// Its bytes.
    pub bytes: bytes::Bytes,
}

impl Repository {
    /// What people call it.
    pub fn name(&self) -> String {
        match self {
            Self::Remote(remote) => remote.address().to_string(),
            Self::Layout(layout) => layout.path().display().to_string(),
        }
    }

    /// Reads a manifest or index; by digest it is checked against it.
    ///
    /// # Errors
    /// [`RegistryError`], as for every operation.
    pub async fn manifest(&self, version: &Version) -> Result<Stored, RegistryError> {
        let stored = match self {
            Self::Remote(remote) => remote.manifest(version).await?,
            Self::Layout(layout) => layout.manifest(version)?,
        };
        if let Version::Digest(expected) = version {
            expected.check(&format!("the manifest {expected}"), &stored.bytes)?;
        }
        Ok(stored)
    }

    /// Reads a blob and checks it against its descriptor before a byte of it is used.
    ///
    /// # Errors
    /// [`RegistryError`].
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

    /// Stores a blob, unless it is there.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn put_blob(
        &self,
        digest: &Digest,
        bytes: bytes::Bytes,
    ) -> Result<(), RegistryError> {
        match self {
            Self::Remote(remote) => remote.put_blob(digest, bytes).await,
            Self::Layout(layout) => layout.put_blob(digest, &bytes),
        }
    }

    /// Stores a manifest or index under its digest and, if one is given, a tag.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn put_manifest(
        &self,
        tag: Option<&str>,
        stored: &Stored,
    ) -> Result<(), RegistryError> {
        match self {
            Self::Remote(remote) => remote.put_manifest(tag, stored).await,
            Self::Layout(layout) => layout.put_manifest(tag, stored),
        }
    }
}
