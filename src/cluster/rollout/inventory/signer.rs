//! Inventories are signed with a key of the runner's journal: whoever may write ConfigMaps must not be able to say what
//! a runner deletes.

use std::fmt;
use std::sync::Arc;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// Bytes of a signature that name the key.
const NAME: usize = 8;

/// Signs with a key. Cheap to clone.
#[derive(Clone)]
pub struct Signer(Arc<[u8]>);

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer(***)")
    }
}

/// What a signature says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signature {
    /// It is there, and right.
    Good,
    /// There is none, or it is of another key.
    None,
    /// It is of this key, and not of this text.
    Bad,
}

impl Signer {
    /// A signer whose key is made of the journal's.
    pub fn new(key: &[u8]) -> Self {
        Self(mac(key, "inventories").into())
    }

    /// `KEY:MAC`, both in hexadecimal.
    pub(super) fn sign(&self, text: &str) -> String {
        format!("{}:{}", self.name(), hex::encode(mac(&self.0, text)))
    }

    pub(super) fn check(&self, text: &str, signature: &str) -> Signature {
        match signature.split_once(':') {
            Some((name, _)) if name != self.name() => Signature::None,
            None => Signature::None,
            Some((_, code)) => {
                let Ok(mut known) = Hmac::<Sha256>::new_from_slice(&self.0) else {
                    return Signature::Bad;
                };
                known.update(text.as_bytes());
                let is_right =
                    hex::decode(code).is_ok_and(|code| known.verify_slice(&code).is_ok());
                if is_right {
                    Signature::Good
                } else {
                    Signature::Bad
                }
            }
        }
    }

    fn name(&self) -> String {
        hex::encode(mac(&self.0, "name").get(..NAME).unwrap_or_default())
    }
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    // A key of any length is one.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return Vec::new();
    };
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}
