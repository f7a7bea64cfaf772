//! Whether an artifact is signed by one of the keys that are trusted.
//!
//! Signatures are those of cosign, in both forms: bundles among the artifact's referrers (Sigstore
//! bundle 0.3, `docs/trust.md`), and payloads under the tag `sha256-HEX.sig`, or among the referrers
//! as cosign 2 wrote them there ("simple signing"). A signature is for a digest: who verifies a tag
//! resolves it first, and uses the artifact of that digest afterwards.
//!
//! Trust is a public key. Certificates of an identity provider ("keyless") and transparency logs are
//! not looked at.

pub mod claims;

mod bundle;
mod identity;
mod key;
mod payload;
mod policy;
mod sign;
mod signatures;

pub use identity::{Identity, Signer};
pub use key::{KeyError, PublicKey};
pub use policy::{Demand, TrustPolicy};
pub use sign::{SigningKey, sign};
pub use signatures::{Found, Signature};

use crate::registry::{Digest, RegistryError, Repository, StoredManifest};

/// Maximum number of signatures of one artifact that are looked at.
const MAX_SIGNATURES: usize = 1000;

/// Maximum number of reasons in an error.
const MAX_REASONS: usize = 5;

/// Why an artifact is not trusted.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// There is no key to verify with.
    #[error("there is no key to verify {0} with")]
    NoKeys(Digest),
    /// A file with a key cannot be used.
    #[error("the key {path}: {message}")]
    KeyFile {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// The artifact has no signature at all.
    #[error("{0} is not signed")]
    NotSigned(Digest),
    /// No signature is of a trusted key and for this artifact.
    #[error("no signature of {digest} is accepted: {}", reasons.join("; "))]
    NotAccepted {
        /// Digest of the artifact.
        digest: Digest,
        /// Why the signatures are not accepted, the first of them.
        reasons: Vec<String>,
    },
    /// The artifact has more signatures than are looked at, and none of those is accepted.
    #[error(
        "{0} has more than {MAX_SIGNATURES} signatures, of which no trusted one is among the first"
    )]
    TooMany(Digest),
    /// The system gives no random numbers to sign with.
    #[error("the system gives no random numbers")]
    Random,
    /// The signatures cannot be read.
    #[error("the signatures cannot be read")]
    Registry(#[from] RegistryError),
}

/// An accepted signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Which of the keys made it, from 0.
    pub key: usize,
    /// Where it is, for people.
    pub place: String,
}

/// Looks for a signature of the artifact by one of the keys.
///
/// # Errors
/// [`TrustError`] with the reason if there is none, or the signatures cannot be read.
pub async fn verify(
    repository: &Repository,
    artifact: &StoredManifest,
    keys: &[PublicKey],
) -> Result<Verified, TrustError> {
    let digest = &artifact.digest;
    if keys.is_empty() {
        return Err(TrustError::NoKeys(digest.clone()));
    }
    let mut reasons = Vec::new();
    let mut found = Found::of(repository, digest);
    let mut looked_at = 0;
    while let Some(signature) = found.next().await? {
        if looked_at == MAX_SIGNATURES {
            return Err(TrustError::TooMany(digest.clone()));
        }
        looked_at += 1;
        match signature.and_then(|signature| {
            let key = signature.key(artifact, keys)?;
            let place = signature.place;
            Ok(Verified { key, place })
        }) {
            Ok(verified) => return Ok(verified),
            Err(reason) if reasons.len() < MAX_REASONS => reasons.push(reason),
            Err(_) => {}
        }
    }
    let digest = digest.clone();
    match reasons.is_empty() {
        true => Err(TrustError::NotSigned(digest)),
        false => Err(TrustError::NotAccepted { digest, reasons }),
    }
}
