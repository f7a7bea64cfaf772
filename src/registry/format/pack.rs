//! Packs objects into an artifact.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::{
    ARCHIVE_CONFIG, ARCHIVE_FILE, ARCHIVE_LAYER, CREATED, FLUX_CONFIG, FLUX_FILE, FLUX_LAYER,
    KUSTOMIZER_CHECKSUM, KUSTOMIZER_CREATED, KUSTOMIZER_VERSION, REVISION, SOURCE, TITLE, UNPACK,
};
use crate::registry::document::{Descriptor, MANIFEST};
use crate::registry::{Digest, RegistryError, Repository, StoredManifest};
use crate::workspace::archive;

/// Layout in which an artifact is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputLayout {
    /// Flux's media types, with Flux's and kustomizer's annotations: readable by both.
    Flux,
    /// Archive of the Go runner: a layer for each directory, here only that of the root.
    Archive,
}

/// Metadata of an artifact, written as annotations. Equal metadata and content give equal bytes.
#[derive(Debug, Clone, Default)]
pub struct ArtifactMetadata {
    /// Creation time, written in whole seconds. The same job gives the same time.
    pub created: Timestamp,
    /// URL of the source, without user information.
    pub source: Option<String>,
    /// Revision of the source: `REF@sha1:COMMIT`.
    pub revision: Option<String>,
    /// Labels; written as annotations `nuon.co/label.KEY`.
    pub labels: Vec<(String, String)>,
}

/// An artifact that can be pushed.
#[derive(Debug, Clone)]
pub struct Packed {
    /// The manifest.
    pub manifest: StoredManifest,
    /// The config and the layer.
    pub blobs: Vec<(Descriptor, Bytes)>,
    /// Annotations of the manifest.
    pub annotations: BTreeMap<String, String>,
    /// Media type of the config.
    pub artifact_type: &'static str,
    /// Name of the file that holds the objects.
    pub file: &'static str,
}

/// Packs a YAML stream into an artifact.
///
/// # Errors
/// Does not fail in practice: everything is in memory.
pub fn pack(
    text: &str,
    layout: OutputLayout,
    metadata: &ArtifactMetadata,
) -> Result<Packed, RegistryError> {
    let created = metadata.created.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let annotations = annotations(text, &created, metadata);
    let file = match layout {
        OutputLayout::Flux => FLUX_FILE,
        OutputLayout::Archive => ARCHIVE_FILE,
    };
    let (config_type, config, layer_type, layer, layer_annotations) = match layout {
        OutputLayout::Flux => {
            let layer = archive::pack(file, text.as_bytes(), 0o600)
                .map_err(archive::ArchiveError::Broken)?;
            let tar = archive::expand(&layer, u64::MAX - 1)?;
            let config = json!({
                "created": created, "architecture": "", "os": "", "config": {},
                "rootfs": {"type": "layers", "diff_ids": [Digest::of(&tar)]},
                "history": [{"created": created}],
            });
            let config = config.to_string();
            (FLUX_CONFIG, config, FLUX_LAYER, layer, BTreeMap::new())
        }
        OutputLayout::Archive => {
            let layer = archive::pack(file, text.as_bytes(), 0o644)
                .map_err(archive::ArchiveError::Broken)?;
            // Without these the Go runner does not unpack it.
            let marks = [(TITLE, "."), (UNPACK, "true")];
            let marks = marks.map(|(key, value)| (key.to_owned(), value.to_owned()));
            let config = "{}".to_owned();
            (ARCHIVE_CONFIG, config, ARCHIVE_LAYER, layer, marks.into())
        }
    };
    let config = Bytes::from(config);
    let layer = Bytes::from(layer);
    let config_descriptor = describe(config_type, &config, BTreeMap::new());
    let layer_descriptor = describe(layer_type, &layer, layer_annotations);
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config_descriptor,
        "layers": [layer_descriptor],
        "annotations": annotations,
    });
    let bytes = Bytes::from(manifest.to_string());
    Ok(Packed {
        manifest: StoredManifest {
            digest: Digest::of(&bytes),
            media_type: MANIFEST.to_owned(),
            bytes,
        },
        blobs: vec![(config_descriptor, config), (layer_descriptor, layer)],
        annotations,
        artifact_type: config_type,
        file,
    })
}

/// Returns the annotations of the manifest.
fn annotations(text: &str, created: &str, metadata: &ArtifactMetadata) -> BTreeMap<String, String> {
    let version = concat!("nuon-runner/", env!("CARGO_PKG_VERSION"));
    let mut annotations = BTreeMap::from([
        (CREATED.to_owned(), created.to_owned()),
        (KUSTOMIZER_CREATED.to_owned(), created.to_owned()),
        (KUSTOMIZER_CHECKSUM.to_owned(), checksum(text.as_bytes())),
        (KUSTOMIZER_VERSION.to_owned(), version.to_owned()),
    ]);
    for (key, value) in [(SOURCE, &metadata.source), (REVISION, &metadata.revision)] {
        annotations.extend(value.clone().map(|value| (key.to_owned(), value)));
    }
    let labels = metadata.labels.iter();
    annotations.extend(labels.map(|(key, value)| (format!("nuon.co/label.{key}"), value.clone())));
    annotations
}

fn describe(media_type: &str, bytes: &Bytes, annotations: BTreeMap<String, String>) -> Descriptor {
    Descriptor {
        annotations,
        ..Descriptor::of(media_type, bytes)
    }
}

/// Pushes an artifact under a tag. The blobs come first, so that the tag never points to an
/// incomplete artifact.
///
/// # Errors
/// Fails if a blob or the manifest cannot be stored.
pub async fn push(
    repository: &Repository,
    tag: &str,
    packed: &Packed,
) -> Result<(), RegistryError> {
    for (blob, bytes) in &packed.blobs {
        repository.put_blob(blob, bytes.clone()).await?;
    }
    repository.put_manifest(Some(tag), &packed.manifest).await
}

pub(super) fn checksum(text: &[u8]) -> String {
    hex::encode(Sha256::digest(text))
}
