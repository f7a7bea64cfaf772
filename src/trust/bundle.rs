//! Sigstore bundles (sigstore/protobuf-specs, `sigstore_bundle.proto`, version 0.3): a signed
//! in-toto statement in a DSSE envelope (secure-systems-lab/dsse), or the signature of the artifact
//! itself.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::identity::{Identity, Signer};
use super::key::PublicKey;
use crate::registry::StoredManifest;

/// Media type of a bundle, and artifact type of a referrer that holds one.
pub(super) const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// Type of the payload of an envelope.
pub(super) const STATEMENT: &str = "application/vnd.in-toto+json";

/// Types of a statement (in-toto attestation framework, "Statement").
pub(super) const STATEMENT_TYPES: [&str; 2] = [
    "https://in-toto.io/Statement/v1",
    "https://in-toto.io/Statement/v0.1",
];

/// The predicate of a signature. Other predicates are claims about an artifact, such as its SBOM:
/// who signs those does not say that the artifact may run.
pub(super) const SIGNATURE: &str = "https://sigstore.dev/cosign/sign/v1";

/// A bundle.
pub(super) struct Bundle(Value);

impl Bundle {
    /// Reads a bundle.
    pub(super) fn read(content: &[u8]) -> Result<Self, String> {
        let bundle: Value =
            serde_json::from_slice(content).map_err(|_| "its bundle is not JSON")?;
        match bundle.get("mediaType").and_then(Value::as_str) {
            Some(MEDIA_TYPE) => Ok(Self(bundle)),
            _ => Err(format!("its bundle is not of the media type {MEDIA_TYPE}")),
        }
    }

    /// Returns which key has signed it, if it is for the artifact.
    pub(super) fn key(
        &self,
        artifact: &StoredManifest,
        keys: &[PublicKey],
    ) -> Result<usize, String> {
        match (self.0.get("dsseEnvelope"), self.0.get("messageSignature")) {
            (Some(envelope), None) => of_envelope(envelope, artifact, keys),
            (None, Some(signature)) => of_message(signature, artifact, keys),
            _ => Err("its bundle has not exactly one of dsseEnvelope and messageSignature".into()),
        }
    }

    /// Returns the hint at the key that has signed it, and the identity in its certificate.
    pub(super) fn signer(&self) -> Signer {
        let material = self.0.get("verificationMaterial");
        let text = |place: &str| material?.pointer(place)?.as_str();
        let certificate = text("/certificate/rawBytes")
            .or_else(|| text("/x509CertificateChain/certificates/0/rawBytes"));
        Signer {
            key: text("/publicKey/hint").unwrap_or_default().to_owned(),
            identity: certificate
                .and_then(|packed| STANDARD.decode(packed).ok())
                .and_then(|der| Identity::from_der(&der)),
        }
    }

    /// Returns the predicate type of the statement, signed by whom it may be.
    pub(super) fn predicate_type(&self) -> Option<String> {
        let envelope = self.0.get("dsseEnvelope")?;
        let payload = decoded(envelope, "payload").ok()?;
        let statement: Value = serde_json::from_slice(&payload).ok()?;
        Some(statement.get("predicateType")?.as_str()?.to_owned())
    }
}

fn of_envelope(
    envelope: &Value,
    artifact: &StoredManifest,
    keys: &[PublicKey],
) -> Result<usize, String> {
    let kind = envelope.get("payloadType").and_then(Value::as_str);
    if kind != Some(STATEMENT) {
        return Err(format!("its payload is not of the type {STATEMENT}"));
    }
    let payload = decoded(envelope, "payload")?;
    let message = pre_authentication(&payload);
    let signatures = envelope.get("signatures").and_then(Value::as_array);
    let signatures: Vec<Vec<u8>> = signatures
        .into_iter()
        .flatten()
        .filter_map(|signature| decoded(signature, "sig").ok())
        .collect();
    let signer = keys
        .iter()
        .position(|key| signatures.iter().any(|one| key.has_signed(&message, one)))
        .ok_or("it is not of a trusted key")?;
    let statement: Value =
        serde_json::from_slice(&payload).map_err(|_| "its statement is not JSON")?;
    let text = |member: &str| statement.get(member).and_then(Value::as_str);
    if !text("_type").is_some_and(|kind| STATEMENT_TYPES.contains(&kind)) {
        return Err("its payload is not an in-toto statement".into());
    }
    match text("predicateType") {
        Some(SIGNATURE) => {}
        Some(other) => {
            let other: String = other.chars().take(100).collect();
            return Err(format!(
                "it is a statement of type {other}, not a signature"
            ));
        }
        None => return Err("its statement has no predicateType".into()),
    }
    let subjects = statement.get("subject").and_then(Value::as_array);
    let is_meant = subjects.into_iter().flatten().any(|subject| {
        let digest = subject.pointer("/digest/sha256").and_then(Value::as_str);
        digest == Some(artifact.digest.hex())
    });
    match is_meant {
        true => Ok(signer),
        false => Err("it is for another digest".into()),
    }
}

/// Returns the bytes that an envelope's signatures are of (DSSE, "PAE").
pub(super) fn pre_authentication(statement: &[u8]) -> Vec<u8> {
    let (kind, length) = (STATEMENT, statement.len());
    let head = format!("DSSEv1 {} {kind} {length} ", kind.len());
    [head.as_bytes(), statement].concat()
}

/// A signature of the artifact's manifest itself.
fn of_message(
    message: &Value,
    artifact: &StoredManifest,
    keys: &[PublicKey],
) -> Result<usize, String> {
    let signature = decoded(message, "signature")?;
    keys.iter()
        .position(|key| key.has_signed(&artifact.bytes, &signature))
        .ok_or_else(|| "it is not of a trusted key, or for another artifact".into())
}

pub(super) fn decoded(holder: &Value, member: &str) -> Result<Vec<u8>, String> {
    let text = holder.get(member).and_then(Value::as_str);
    text.and_then(|text| STANDARD.decode(text).ok())
        .ok_or_else(|| format!("{member} is not base64"))
}
