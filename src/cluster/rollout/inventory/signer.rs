//! Signs inventories with a key derived from the journal's key. Permission to write ConfigMaps must
//! not be enough to decide what a runner deletes.

use std::fmt;
use std::sync::Arc;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// Bytes of the key id in a signature.
const KEY_ID_LENGTH: usize = 8;

/// Signs and verifies inventories. Cheap to clone.
#[derive(Clone)]
pub struct Signer(Arc<[u8]>);

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer(***)")
    }
}

/// Result of verifying a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureStatus {
    /// The signature is valid.
    Valid,
    /// There is no signature, or it was made with another key.
    Missing,
    /// The signature was made with this key, but for another text.
    Invalid,
}

impl Signer {
    /// Derives the signing key from the journal's key.
    pub fn new(key: &[u8]) -> Self {
        Self(mac(key, "inventories").into())
    }

    /// Returns `KEY_ID:MAC`, both in hexadecimal.
    pub(super) fn sign(&self, text: &str) -> String {
        format!("{}:{}", self.key_id(), hex::encode(mac(&self.0, text)))
    }

    pub(super) fn check(&self, text: &str, signature: &str) -> SignatureStatus {
        match signature.split_once(':') {
            Some((name, _)) if name != self.key_id() => SignatureStatus::Missing,
            None => SignatureStatus::Missing,
            Some((_, code)) => {
                let Ok(mut known) = Hmac::<Sha256>::new_from_slice(&self.0) else {
                    return SignatureStatus::Invalid;
                };
                known.update(text.as_bytes());
                let is_right =
                    hex::decode(code).is_ok_and(|code| known.verify_slice(&code).is_ok());
                if is_right {
                    SignatureStatus::Valid
                } else {
                    SignatureStatus::Invalid
                }
            }
        }
    }

    fn key_id(&self) -> String {
        hex::encode(
            mac(&self.0, "name")
                .get(..KEY_ID_LENGTH)
                .unwrap_or_default(),
        )
    }
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    // HMAC accepts keys of any length, so this cannot fail.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return Vec::new();
    };
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}
