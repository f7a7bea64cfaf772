//! Manifests and indexes: bytes to what they mean, strictly (OCI image specification 1.1; the same
//! for Docker's second schema).
#![expect(
    clippy::indexing_slicing,
    reason = "a member or item that a JSON value lacks reads as null"
)]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Digest, RegistryError, Stored};

/// Media type of an OCI image manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an OCI index.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// Every media type that is read, for `Accept`.
pub const ACCEPTED: [&str; 4] = [MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_LIST];

/// The largest manifest that is read (the distribution specification asks for at least 4 MiB).
pub const LARGEST: u64 = 4 << 20;

/// Points to content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    /// What it is.
    #[serde(rename = "mediaType")]
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Notes on it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Where it is meant to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

/// Where an image is meant to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// Architecture.
    #[serde(default)]
    pub architecture: String,
    /// Operating system.
    #[serde(default)]
    pub os: String,
    /// Its version.
    #[serde(default, rename = "os.version")]
    pub os_version: String,
}

/// What a stored document is.
#[derive(Debug, Clone)]
pub enum Document {
    /// One artifact.
    Manifest(Manifest),
    /// Several.
    Index(Vec<Descriptor>),
}

/// One artifact's manifest.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// Its configuration.
    pub config: Descriptor,
    /// Its layers.
    pub layers: Vec<Descriptor>,
    /// Notes on it. From outside: shown, never trusted.
    pub annotations: BTreeMap<String, String>,
}

impl Document {
    /// Reads a stored document. Its own media type, the one it was served with and the one it was
    /// pointed to with must be equal, and it must not be both a manifest and an index.
    ///
    /// # Errors
    /// [`RegistryError::Manifest`].
    pub fn read(stored: &Stored) -> Result<Self, RegistryError> {
        let bad = |why: String| RegistryError::Manifest {
            what: stored.digest.to_string(),
            why,
        };
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
        let inner = value["mediaType"].as_str();
        if let Some(inner) = inner
            && inner != stored.media_type
        {
            return Err(bad(format!(
                "it calls itself {inner} but was served as {}",
                stored.media_type
            )));
        }
        match stored.media_type.as_str() {
            INDEX | DOCKER_LIST => descriptors(&value, "manifests")
                .map(Self::Index)
                .map_err(bad),
            MANIFEST | DOCKER_MANIFEST => read_manifest(&value).map(Self::Manifest).map_err(bad),
            other => Err(bad(format!("its media type {other:?} is not known"))),
        }
    }
}

fn read_manifest(value: &Value) -> Result<Manifest, String> {
    let config = value.get("config").ok_or("it has no config")?;
    let annotations = match value.get("annotations") {
        None | Some(Value::Null) => BTreeMap::new(),
        Some(annotations) => serde_json::from_value(annotations.clone())
            .map_err(|_| "its annotations are not a map of texts".to_owned())?,
    };
    Ok(Manifest {
        config: serde_json::from_value(config.clone())
            .map_err(|error| format!("its config: {error}"))?,
        layers: descriptors(value, "layers")?,
        annotations,
    })
}

fn descriptors(value: &Value, member: &str) -> Result<Vec<Descriptor>, String> {
    match value.get(member) {
        Some(list @ Value::Array(_)) => {
            serde_json::from_value(list.clone()).map_err(|error| format!("its {member}: {error}"))
        }
        _ => Err(format!("it has no {member}")),
    }
}
