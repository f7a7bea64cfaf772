//! Simple signing: a signed JSON payload that names the digest (containers/image,
//! "container-signature(5)"; sigstore/cosign, "SIGNATURE_SPEC").

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::identity::{Identity, Signer};
use super::key::PublicKey;
use crate::registry::{Descriptor, StoredManifest};

/// Media type of a layer that is a payload.
pub(super) const MEDIA_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

/// Annotation of such a layer with the signature, as base64.
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";

/// Annotation with the signer's certificate in PEM.
const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";

/// `critical.type` of a payload.
const TYPE: &str = "cosign container image signature";

/// A payload with its signature.
pub(super) struct SignedPayload {
    payload: Vec<u8>,
    signature: Vec<u8>,
    identity: Option<Identity>,
}

impl SignedPayload {
    /// Reads a layer and its content.
    pub(super) fn read(layer: &Descriptor, payload: &[u8]) -> Result<Self, String> {
        let text = layer
            .annotations
            .get(SIGNATURE)
            .ok_or_else(|| format!("it has no annotation {SIGNATURE}"))?;
        let signature = STANDARD
            .decode(text)
            .map_err(|_| format!("its annotation {SIGNATURE} is not base64"))?;
        Ok(Self {
            payload: payload.to_vec(),
            signature,
            identity: layer
                .annotations
                .get(CERTIFICATE)
                .and_then(|text| pem::parse(text).ok())
                .and_then(|block| Identity::from_der(block.contents())),
        })
    }

    /// Returns the identity in its certificate.
    pub(super) fn signer(&self) -> Signer {
        Signer {
            key: String::new(),
            identity: self.identity.clone(),
        }
    }

    /// Returns which key has signed it, if it is for the artifact.
    pub(super) fn key(
        &self,
        artifact: &StoredManifest,
        keys: &[PublicKey],
    ) -> Result<usize, String> {
        let signer = keys
            .iter()
            .position(|key| key.has_signed(&self.payload, &self.signature))
            .ok_or("it is not of a trusted key")?;
        let payload: Value =
            serde_json::from_slice(&self.payload).map_err(|_| "its payload is not JSON")?;
        let text = |place: &str| payload.pointer(place).and_then(Value::as_str);
        if text("/critical/type") != Some(TYPE) {
            return Err(format!("its payload is not a {TYPE}"));
        }
        match text("/critical/image/docker-manifest-digest") {
            Some(digest) if digest == artifact.digest.as_str() => Ok(signer),
            _ => Err("it is for another digest".into()),
        }
    }
}
