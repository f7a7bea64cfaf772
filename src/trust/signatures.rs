//! Finds the signatures of an artifact.

use std::collections::VecDeque;

use super::bundle::{self, Bundle};
use super::identity::Signer;
use super::key::PublicKey;
use super::payload::{self, SignedPayload};
use crate::registry::document::ImageManifest;
use crate::registry::{
    Descriptor, Digest, Document, RegistryError, Repository, StoredManifest, Version,
};

/// Maximum size of a payload or bundle, in bytes. A bundle with its certificates and log entries has
/// some ten thousand.
const MAX_SIGNATURE_BYTES: u64 = 1 << 20;

/// Artifact type of the referrers in which cosign 2 keeps payloads.
const COSIGN_SIGNATURE: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";

/// A signature that was found.
pub struct Signature {
    /// Where it is, for people.
    pub place: String,
    content: Content,
}

enum Content {
    Payload(SignedPayload),
    Bundle(Bundle),
}

impl Signature {
    /// Returns which of the keys made it, if it is for the artifact.
    ///
    /// # Errors
    /// Returns the reason why it is not accepted, with its place.
    pub fn key(&self, artifact: &StoredManifest, keys: &[PublicKey]) -> Result<usize, String> {
        let signer = match &self.content {
            Content::Payload(signed) => signed.key(artifact, keys),
            Content::Bundle(bundle) => bundle.key(artifact, keys),
        };
        signer.map_err(|reason| format!("{}: {reason}", self.place))
    }

    /// Returns who has made it, as it says itself.
    pub fn signer(&self) -> Signer {
        match &self.content {
            Content::Payload(signed) => signed.signer(),
            Content::Bundle(bundle) => bundle.signer(),
        }
    }

    /// Returns the predicate type of the statement in a bundle.
    pub fn predicate_type(&self) -> Option<String> {
        match &self.content {
            Content::Payload(_) => None,
            Content::Bundle(bundle) => bundle.predicate_type(),
        }
    }
}

/// A signature, or why what should be one is none, with its place.
pub type Candidate = Result<Signature, String>;

/// The signatures of an artifact, bundles first. They are read one after the other.
pub struct Found<'a> {
    repository: &'a Repository,
    digest: &'a Digest,
    /// Referrers that are not yet read; `None` before they are listed.
    referrers: Option<VecDeque<Descriptor>>,
    /// Whether the tag of older versions of cosign was looked at.
    has_tag: bool,
    /// Layers of the document at hand, and its place.
    layers: VecDeque<Descriptor>,
    place: String,
}

impl<'a> Found<'a> {
    /// Looks for the signatures of this digest. Sends nothing yet.
    pub fn of(repository: &'a Repository, digest: &'a Digest) -> Self {
        Self {
            repository,
            digest,
            referrers: None,
            has_tag: false,
            layers: VecDeque::new(),
            place: String::new(),
        }
    }

    /// Returns the next signature.
    ///
    /// # Errors
    /// Fails if the registry cannot be read. What is malformed is a candidate with a reason.
    pub async fn next(&mut self) -> Result<Option<Candidate>, RegistryError> {
        loop {
            while let Some(layer) = self.layers.pop_front() {
                if let Some(candidate) = self.read(&layer).await? {
                    return Ok(Some(candidate));
                }
            }
            if self.referrers.is_none() {
                self.referrers = Some(self.list().await?);
            }
            let next = self.referrers.as_mut().and_then(VecDeque::pop_front);
            let (version, place) = match next {
                Some(referrer) => {
                    let place = format!("the referrer {}", referrer.digest);
                    (Version::Digest(referrer.digest), place)
                }
                None if self.has_tag => return Ok(None),
                None => {
                    self.has_tag = true;
                    let tag = format!("sha256-{}.sig", self.digest.hex());
                    let place = format!("the tag {tag}");
                    (Version::Tag(tag), place)
                }
            };
            if let Some(candidate) = self.open(&version, place).await? {
                return Ok(Some(candidate));
            }
        }
    }

    /// Lists the referrers that may hold signatures, bundles first.
    async fn list(&self) -> Result<VecDeque<Descriptor>, RegistryError> {
        let all = self.repository.referrers(self.digest).await?;
        let of = |kind: &str| {
            let is_meant = |one: &&Descriptor| one.artifact_type.as_deref() == Some(kind);
            all.iter().filter(is_meant).cloned().collect::<Vec<_>>()
        };
        Ok([of(bundle::MEDIA_TYPE), of(COSIGN_SIGNATURE)]
            .concat()
            .into())
    }

    /// Reads a document with signatures; its layers are looked at next. Returns what is wrong with
    /// it. A document that does not exist has none: a list may name what was deleted.
    async fn open(
        &mut self,
        version: &Version,
        place: String,
    ) -> Result<Option<Candidate>, RegistryError> {
        let stored = match self.repository.manifest(version).await {
            Err(RegistryError::NotFound(_)) => return Ok(None),
            Err(error @ RegistryError::Mismatch { .. }) => {
                return Ok(Some(Err(format!("{place}: {error}"))));
            }
            stored => stored?,
        };
        match Document::parse(&stored) {
            Ok(Document::Manifest(ImageManifest { layers, .. })) => {
                self.layers = layers.into();
                self.place = place;
                Ok(None)
            }
            Ok(Document::Index(_)) => Ok(Some(Err(format!("{place}: it is an index")))),
            Err(error) => Ok(Some(Err(format!("{place}: {error}")))),
        }
    }

    /// Reads a layer. `None` if it is of another kind.
    async fn read(&self, layer: &Descriptor) -> Result<Option<Candidate>, RegistryError> {
        let is_bundle = match layer.media_type.as_str() {
            bundle::MEDIA_TYPE => true,
            payload::MEDIA_TYPE => false,
            _ => return Ok(None),
        };
        let place = self.place.clone();
        let told = |reason: String| Ok(Some(Err(format!("{place}: {reason}"))));
        let content = match self.repository.blob(layer, MAX_SIGNATURE_BYTES).await {
            Ok(content) => content,
            Err(error) if error.is_temporary() => return Err(error),
            Err(error) => return told(error.to_string()),
        };
        let content = match is_bundle {
            true => Bundle::read(&content).map(Content::Bundle),
            false => SignedPayload::read(layer, &content).map(Content::Payload),
        };
        match content {
            Ok(content) => Ok(Some(Ok(Signature { place, content }))),
            Err(reason) => told(reason),
        }
    }
}
