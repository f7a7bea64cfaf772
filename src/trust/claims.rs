//! What is claimed of an image: by signatures, attestations and SBOMs that refer to it. Nothing is
//! verified here.

use std::collections::BTreeSet;

use serde_json::Value;

use super::bundle::SIGNATURE;
use super::identity::Signer;
use super::signatures::Found;
use crate::registry::{Descriptor, Document, RegistryError, Repository, StoredManifest, Version};

/// Maximum number of claims of one image that are looked at.
const MAX_CLAIMS: usize = 1000;

/// Annotation with the predicate type of an attestation in a layer (BuildKit).
const PREDICATE_TYPE: &str = "in-toto.io/predicate-type";

/// The same, as cosign writes it.
const COSIGN_PREDICATE_TYPE: &str = "predicateType";

/// Annotation that marks an attestation manifest in an index (BuildKit).
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";

/// What is claimed of an image.
#[derive(Debug, Clone, Default)]
pub struct Claims {
    /// Who has signed it.
    pub signatures: Vec<Signer>,
    /// Predicate types of the attestations.
    pub attestations: BTreeSet<String>,
    /// Whether there is an SBOM, in which format.
    pub sbom: Option<&'static str>,
}

/// Returns true for the entry of an attestation manifest in an index.
pub fn is_attestation(child: &Descriptor) -> bool {
    child
        .annotations
        .get(REFERENCE_TYPE)
        .is_some_and(|kind| kind == "attestation-manifest")
}

/// Returns the predicate type of an attestation in a layer, as its descriptor says it.
pub fn predicate_type(layer: &Descriptor) -> Option<&str> {
    [PREDICATE_TYPE, COSIGN_PREDICATE_TYPE]
        .iter()
        .find_map(|key| layer.annotations.get(*key))
        .map(String::as_str)
}

impl Claims {
    /// Looks for everything that is claimed of an image.
    ///
    /// # Errors
    /// Fails if the registry cannot be read.
    pub async fn of(
        repository: &Repository,
        image: &StoredManifest,
    ) -> Result<Self, RegistryError> {
        let mut claims = Self::default();
        let mut found = Found::of(repository, &image.digest);
        while let Some(candidate) = found.next().await? {
            let Ok(signature) = candidate else { continue };
            match signature.predicate_type() {
                Some(kind) if kind != SIGNATURE => claims.add(&kind),
                _ => claims.signatures.push(signature.signer()),
            }
            if claims.signatures.len() + claims.attestations.len() >= MAX_CLAIMS {
                break;
            }
        }
        for referrer in repository.referrers(&image.digest).await? {
            if let Some(kind) = predicate_type(&referrer).or(referrer.artifact_type.as_deref()) {
                claims.note_sbom(kind);
            }
        }
        for suffix in [".att", ".sbom"] {
            let tag = Version::Tag(format!("sha256-{}{suffix}", image.digest.hex()));
            match repository.manifest(&tag).await {
                Ok(stored) => claims.add_layers(&stored),
                Err(RegistryError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(claims)
    }

    /// Adds what the layers of an attestation manifest claim.
    pub fn add_layers(&mut self, stored: &StoredManifest) {
        if let Ok(Document::Manifest(manifest)) = Document::parse(stored) {
            for layer in &manifest.layers {
                match predicate_type(layer) {
                    Some(kind) => self.add(kind),
                    None => self.note_sbom(&layer.media_type),
                }
            }
        }
    }

    fn add(&mut self, predicate_type: &str) {
        self.note_sbom(predicate_type);
        self.attestations.insert(predicate_type.to_owned());
    }

    /// Notes an SBOM if a predicate, artifact or media type is that of one.
    fn note_sbom(&mut self, kind: &str) {
        let kind = kind.to_ascii_lowercase();
        let formats = ["spdx", "cyclonedx"];
        let format = formats.into_iter().find(|format| kind.contains(format));
        self.sbom = self.sbom.or(format);
    }
}

/// Reads the statement of an attestation: an in-toto statement, or one in a DSSE envelope.
pub fn statement(content: &[u8]) -> Option<Value> {
    let json: Value = serde_json::from_slice(content).ok()?;
    match json.get("payload") {
        Some(_) => serde_json::from_slice(&super::bundle::decoded(&json, "payload").ok()?).ok(),
        None => Some(json),
    }
}
