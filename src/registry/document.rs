//! Parses manifests and indexes strictly (OCI image specification 1.1, and Docker's image manifest
//! version 2, schema 2).
#![expect(
    clippy::indexing_slicing,
    reason = "a member or item that a JSON value lacks reads as null"
)]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Digest, RegistryError, StoredManifest};
use crate::base::invalid::InvalidInput;

/// Media type of an OCI image manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an OCI index.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// All supported media types, for the `Accept` header.
pub const MEDIA_TYPES: [&str; 4] = [MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_LIST];

/// Maximum size of a manifest or index, in bytes (the distribution specification requires at least
/// 4 MiB).
pub const MAX_MANIFEST_BYTES: u64 = 4 << 20;

/// A reference to content: media type, digest and size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    /// Media type of the content.
    #[serde(rename = "mediaType")]
    pub media_type: String,
    /// Digest of the content.
    pub digest: Digest,
    /// Size in bytes.
    pub size: u64,
    /// Kind of artifact that the content is; only in lists of referrers.
    #[serde(
        default,
        rename = "artifactType",
        skip_serializing_if = "Option::is_none"
    )]
    pub artifact_type: Option<String>,
    /// Annotations by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Platform that the content is for; only in indexes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

/// Platform that an image is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// CPU architecture, such as `amd64`.
    #[serde(default)]
    pub architecture: String,
    /// Operating system, such as `linux`.
    #[serde(default)]
    pub os: String,
    /// Version of the operating system.
    #[serde(default, rename = "os.version")]
    pub os_version: String,
}

/// A parsed document.
#[derive(Debug, Clone)]
pub enum Document {
    /// A manifest: one artifact.
    Manifest(ImageManifest),
    /// An index: descriptors of its children.
    Index(Vec<Descriptor>),
}

/// The manifest of one artifact.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageManifest {
    /// Descriptor of the config; its media type tells the kind of artifact.
    pub config: Descriptor,
    /// Descriptors of the layers, in order.
    pub layers: Vec<Descriptor>,
    /// Annotations by key. Untrusted: only for display and for recognizing the format.
    pub annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// Describes content, which is in memory.
    pub fn of(media_type: &str, content: &[u8]) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest: Digest::of(content),
            size: content.len() as u64,
            artifact_type: None,
            annotations: BTreeMap::new(),
            platform: None,
        }
    }

    /// Returns true for a layer that its publisher does not allow to be passed on, and which
    /// registries need not have.
    pub fn is_foreign(&self) -> bool {
        self.media_type.contains(".foreign.") || self.media_type.contains(".nondistributable.")
    }
}

impl Document {
    /// Parses a document. The media type in the document must equal the one with which it was
    /// served, and it must not be both a manifest and an index.
    ///
    /// # Errors
    /// [`RegistryError::Manifest`] if the document is not valid.
    pub fn parse(stored: &StoredManifest) -> Result<Self, RegistryError> {
        let bad = |why: String| RegistryError::Manifest {
            what: stored.digest.to_string(),
            why,
        };
        let invalid = |error: InvalidInput| bad(error.to_string());
        let value: Value = serde_json::from_slice(&stored.bytes).map_err(|error| {
            bad(format!(
                "it is not JSON (line {}, column {})",
                error.line(),
                error.column()
            ))
        })?;
        if value["schemaVersion"] != 2 {
            return Err(bad("its schemaVersion is not 2".into()));
        }
        if value.get("layers").is_some() && value.get("manifests").is_some() {
            return Err(bad("it has both layers and manifests".into()));
        }
        let declared = value["mediaType"].as_str();
        if let Some(inner) = declared
            && inner != stored.media_type
        {
            return Err(bad(format!(
                "its mediaType is {inner}, but it was served as {}",
                stored.media_type
            )));
        }
        match stored.media_type.as_str() {
            INDEX | DOCKER_LIST => descriptors(&value, "manifests")
                .map(Self::Index)
                .map_err(invalid),
            MANIFEST | DOCKER_MANIFEST => {
                parse_manifest(&value).map(Self::Manifest).map_err(invalid)
            }
            other => Err(bad(format!("its media type {other:?} is not known"))),
        }
    }
}

fn parse_manifest(value: &Value) -> Result<ImageManifest, InvalidInput> {
    let config = value.get("config").ok_or("it has no config")?;
    let annotations = match value.get("annotations") {
        None | Some(Value::Null) => BTreeMap::new(),
        Some(annotations) => serde_json::from_value(annotations.clone())
            .map_err(|_| "its annotations are not a map of strings".to_owned())?,
    };
    Ok(ImageManifest {
        config: serde_json::from_value(config.clone())
            .map_err(|error| format!("its config: {error}"))?,
        layers: descriptors(value, "layers")?,
        annotations,
    })
}

fn descriptors(value: &Value, member: &str) -> Result<Vec<Descriptor>, InvalidInput> {
    match value.get(member) {
        Some(list @ Value::Array(_)) => serde_json::from_value(list.clone())
            .map_err(|error| format!("its {member}: {error}").into()),
        _ => Err(format!("it has no {member}").into()),
    }
}
