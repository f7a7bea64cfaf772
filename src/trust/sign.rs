//! Signs an artifact: a Sigstore bundle with a signed statement, as a referrer of the artifact.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::json;

use super::bundle::{MEDIA_TYPE, SIGNATURE, STATEMENT, STATEMENT_TYPES, pre_authentication};
use super::key::{KeyError, PublicKey};
use super::{TrustError, verify};
use crate::registry::document::{Descriptor, MANIFEST};
use crate::registry::{Digest, Repository, StoredManifest};

/// Media type of an empty config (OCI image specification, "Guidance for an Empty Descriptor").
const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// DER of a public key on P-256, before the point (RFC 5480).
const P256_HEADER: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// A private key, ECDSA on P-256.
pub struct SigningKey {
    pair: EcdsaKeyPair,
    public: PublicKey,
}

impl SigningKey {
    /// Reads a key in PEM (`PRIVATE KEY`, PKCS #8, not encrypted).
    ///
    /// # Errors
    /// [`KeyError`] if it is none.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let block = pem::parse(text.trim()).map_err(|_| KeyError::NoPrivateKey)?;
        if block.tag() != "PRIVATE KEY" {
            return Err(KeyError::NoPrivateKey);
        }
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, block.contents(), &random)
            .map_err(|_| KeyError::NoPrivateKey)?;
        let der = [P256_HEADER.as_slice(), pair.public_key().as_ref()].concat();
        let public = PublicKey::from_der(&der)?;
        Ok(Self { pair, public })
    }

    /// Returns the public key.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }
}

/// Signs an artifact, unless it has a signature of this key. Returns true if it has signed.
///
/// # Errors
/// Fails if the signatures cannot be read, or this one cannot be stored.
pub async fn sign(
    repository: &Repository,
    artifact: &StoredManifest,
    key: &SigningKey,
) -> Result<bool, TrustError> {
    match verify(repository, artifact, std::slice::from_ref(key.public())).await {
        Ok(_) => return Ok(false),
        Err(error @ TrustError::Registry(_)) => return Err(error),
        Err(_) => {}
    }
    let bundle = bundle(&artifact.digest, key)?;
    let layer = Descriptor::of(MEDIA_TYPE, &bundle);
    let config = Descriptor::of(EMPTY, b"{}");
    let document = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": MEDIA_TYPE,
        "config": config,
        "layers": [layer],
        "subject": {
            "mediaType": artifact.media_type,
            "digest": artifact.digest,
            "size": artifact.bytes.len(),
        },
        "annotations": {
            "dev.sigstore.bundle.content": "dsse-envelope",
            "dev.sigstore.bundle.predicateType": SIGNATURE,
        },
    });
    let document = Bytes::from(document.to_string());
    let stored = StoredManifest {
        digest: Digest::of(&document),
        media_type: MANIFEST.to_owned(),
        bytes: document,
    };
    let empty = Bytes::from_static(b"{}");
    repository.put_blob(&config, empty).await?;
    repository.put_blob(&layer, bundle).await?;
    repository.put_manifest(None, &stored).await?;
    Ok(true)
}

fn bundle(digest: &Digest, key: &SigningKey) -> Result<Bytes, TrustError> {
    let [statement_type, _] = STATEMENT_TYPES;
    let statement = json!({
        "_type": statement_type,
        "subject": [{"digest": {"sha256": digest.hex()}}],
        "predicateType": SIGNATURE,
        "predicate": {},
    });
    let statement = statement.to_string().into_bytes();
    let message = pre_authentication(&statement);
    let signature = key.pair.sign(&SystemRandom::new(), &message);
    let signature = signature.map_err(|_| TrustError::Random)?;
    // cosign names a key by the digest of its DER form.
    let hint = hex::decode(key.public.fingerprint().hex()).unwrap_or_default();
    let bundle = json!({
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": {"publicKey": {"hint": STANDARD.encode(hint)}},
        "dsseEnvelope": {
            "payload": STANDARD.encode(&statement),
            "payloadType": STATEMENT,
            "signatures": [{"sig": STANDARD.encode(signature)}],
        },
    });
    Ok(Bytes::from(bundle.to_string()))
}
