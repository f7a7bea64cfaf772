//! Content digests. Only SHA-256 is supported: nothing weaker is accepted, and nothing else is in
//! use.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::RegistryError;

/// A digest: `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

/// The text is not a digest.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a digest: sha256: and 64 lower-case hexadecimal digits are expected")]
pub struct NotADigest(String);

impl Digest {
    /// Computes the digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self::of_hash(&Sha256::digest(bytes))
    }

    /// Returns the digest that a SHA-256 hash, of 32 bytes, means.
    pub(super) fn of_hash(hash: &[u8]) -> Self {
        Self(format!("sha256:{}", hex::encode(hash)))
    }

    /// Returns the digest as text, with the `sha256:` prefix.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the hexadecimal digits.
    pub fn hex(&self) -> &str {
        self.0.strip_prefix("sha256:").unwrap_or_default()
    }

    /// Checks that `bytes` have this digest; `what` names them in the error.
    ///
    /// # Errors
    /// [`RegistryError::Mismatch`] if they do not.
    pub fn check(&self, what: &str, bytes: &[u8]) -> Result<(), RegistryError> {
        let got = Self::of(bytes);
        if got == *self {
            return Ok(());
        }
        Err(RegistryError::Mismatch {
            what: what.to_owned(),
            property: "digest",
            expected: self.0.clone(),
            got: got.0,
        })
    }
}

impl TryFrom<String> for Digest {
    type Error = NotADigest;

    fn try_from(text: String) -> Result<Self, NotADigest> {
        let digits = text.strip_prefix("sha256:").unwrap_or_default();
        let fits = digits.len() == 64
            && digits
                .bytes()
                .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if fits {
            Ok(Self(text))
        } else {
            Err(NotADigest(text.chars().take(100).collect()))
        }
    }
}

impl std::str::FromStr for Digest {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        text.to_owned().try_into()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.0
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
