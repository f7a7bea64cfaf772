//! Public keys: ECDSA on P-256 and P-384, RSA from 2048 bits, and Ed25519.

use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ED25519,
    RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};
use x509_cert::der::asn1::BitString;
use x509_cert::der::{Any, Decode as _};
use x509_cert::spki::{ObjectIdentifier, SubjectPublicKeyInfo};

use crate::registry::Digest;

const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EDWARDS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// Algorithms of which a signature may be any.
type Algorithms = &'static [&'static dyn VerificationAlgorithm];

static ON_P256: [&dyn VerificationAlgorithm; 1] = [&ECDSA_P256_SHA256_ASN1];
static ON_P384: [&dyn VerificationAlgorithm; 2] =
    [&ECDSA_P384_SHA256_ASN1, &ECDSA_P384_SHA384_ASN1];
static BY_RSA: [&dyn VerificationAlgorithm; 1] = [&RSA_PKCS1_2048_8192_SHA256];
static ON_EDWARDS: [&dyn VerificationAlgorithm; 1] = [&ED25519];

/// Label of a PEM block with a public key (RFC 7468, section 13).
const LABEL: &str = "PUBLIC KEY";

type Info = SubjectPublicKeyInfo<Any, BitString>;

/// Why a text is no usable public key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text is not PEM of a public key.
    #[error("it is not a public key: a PEM block \"{}\" is expected", LABEL)]
    Format,
    /// The key is a private one.
    #[error("it is a private key, which does not belong here; use the public key")]
    Private,
    /// The text is not a private key that can sign.
    #[error(
        "it is not a private key: ECDSA on P-256 in PEM is expected, \"PRIVATE KEY\", not encrypted"
    )]
    NoPrivateKey,
    /// The algorithm is not supported.
    #[error("its algorithm is not supported; known are ECDSA P-256 and P-384, RSA and Ed25519")]
    Algorithm,
}

/// A public key.
#[derive(Clone)]
pub struct PublicKey {
    algorithms: Algorithms,
    key: Vec<u8>,
    fingerprint: Digest,
}

impl PublicKey {
    /// Reads a key in PEM (`PUBLIC KEY`, RFC 7468, section 13).
    ///
    /// # Errors
    /// [`KeyError`] tells what is wrong with it.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let block = pem::parse(text.trim()).map_err(|_| KeyError::Format)?;
        if block.tag().contains("PRIVATE") {
            return Err(KeyError::Private);
        }
        if block.tag() != LABEL {
            return Err(KeyError::Format);
        }
        Self::from_der(block.contents())
    }

    /// Reads a key in DER (RFC 5280, `SubjectPublicKeyInfo`).
    pub(super) fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        let info = Info::from_der(der).map_err(|_| KeyError::Format)?;
        let curve = info.algorithm.parameters.as_ref();
        let curve = curve.and_then(|curve| curve.decode_as::<ObjectIdentifier>().ok());
        let algorithms: Algorithms = match (info.algorithm.oid, curve) {
            (EC, Some(P256)) => &ON_P256,
            (EC, Some(P384)) => &ON_P384,
            (RSA, _) => &BY_RSA,
            (EDWARDS, _) => &ON_EDWARDS,
            _ => return Err(KeyError::Algorithm),
        };
        Ok(Self {
            algorithms,
            key: info.subject_public_key.raw_bytes().to_vec(),
            fingerprint: Digest::of(der),
        })
    }

    /// Returns the SHA-256 digest of the key's DER form.
    pub fn fingerprint(&self) -> &Digest {
        &self.fingerprint
    }

    /// Returns true if the key made this signature of the message.
    pub fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        self.algorithms.iter().any(|algorithm| {
            UnparsedPublicKey::new(*algorithm, &self.key)
                .verify(message, signature)
                .is_ok()
        })
    }
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PublicKey({})", self.fingerprint)
    }
}
