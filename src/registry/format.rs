//! The artifact: one text of Kubernetes objects inside an OCI image (specification of artifacts,
//! section 12).
//!
//! Written in one of two layouts, read in three: kustomizer's, Flux's, and the archive of the
//! program that is replaced. All that is read is checked to the last byte first.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::document::{self, Descriptor, Document, MANIFEST, Manifest};
use super::{Digest, RegistryError, Repository, Stored, Version};
use crate::workspace::archive::{self, Limits, Links};

/// The largest layer that is read.
pub const LARGEST_LAYER: u64 = 64 << 20;

/// The largest archive that is read, all layers together.
const LARGEST_ARCHIVE: u64 = 4 * LARGEST_LAYER;

/// Layers of an archive: one for each file.
const MAX_LAYERS: usize = 1000;

const FLUX_CONFIG: &str = "application/vnd.cncf.flux.config.v1+json";
const FLUX_CONTENT: &str = "application/vnd.cncf.flux.content.v1";
const FLUX_LAYER: &str = "application/vnd.cncf.flux.content.v1.tar+gzip";
const ARCHIVE_CONFIG: &str = "artifact/nuon";
const ARCHIVE_LAYER: &str = "application/x-yaml";
const ARCHIVE_FILE: &str = "manifest.yaml";
const TITLE: &str = "org.opencontainers.image.title";
const CREATED: &str = "org.opencontainers.image.created";
const SOURCE: &str = "org.opencontainers.image.source";
const REVISION: &str = "org.opencontainers.image.revision";
const KUSTOMIZER_VERSION: &str = "kustomizer.dev/version";
const KUSTOMIZER_CHECKSUM: &str = "kustomizer.dev/checksum";
const KUSTOMIZER_CREATED: &str = "kustomizer.dev/created";
const KUSTOMIZER_ENCRYPTED: &str = "kustomizer.dev/encrypted";

/// Which layout is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Flux's media types with both sets of annotations: read by Flux and by kustomizer.
    Flux,
    /// Read by the program that is replaced.
    Archive,
}

/// What is noted on an artifact. Equal notes and text give equal bytes.
#[derive(Debug, Clone, Default)]
pub struct Notes {
    /// Seconds count; the same job gives the same time.
    pub created: Timestamp,
    /// URL of the source, without user-info.
    pub source: Option<String>,
    /// `REF@sha1:COMMIT`.
    pub revision: Option<String>,
    /// Become `nuon.co/label.KEY`.
    pub labels: Vec<(String, String)>,
}

/// An artifact, ready to be pushed.
#[derive(Debug, Clone)]
pub struct Packed {
    /// Its manifest.
    pub manifest: Stored,
    /// Its config and its layer.
    pub blobs: Vec<(Digest, Bytes)>,
    /// Its manifest's notes.
    pub annotations: BTreeMap<String, String>,
    /// The config's media type.
    pub artifact_type: &'static str,
}

/// Packs a text.
///
/// # Errors
/// [`RegistryError::Layout`] never; [`RegistryError::Archive`] never in practice: all is in memory.
pub fn pack(text: &str, layout: Layout, notes: &Notes) -> Result<Packed, RegistryError> {
    let created = notes.created.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let mut annotations = BTreeMap::from([
        (CREATED.to_owned(), created.clone()),
        (KUSTOMIZER_CREATED.to_owned(), created.clone()),
        (KUSTOMIZER_CHECKSUM.to_owned(), checksum(text.as_bytes())),
        (
            KUSTOMIZER_VERSION.to_owned(),
            concat!("nuon-runner/", env!("CARGO_PKG_VERSION")).to_owned(),
        ),
    ]);
    annotations.extend(
        notes
            .source
            .clone()
            .map(|source| (SOURCE.to_owned(), source)),
    );
    annotations.extend(
        notes
            .revision
            .clone()
            .map(|revision| (REVISION.to_owned(), revision)),
    );
    annotations.extend(
        notes
            .labels
            .iter()
            .map(|(key, value)| (format!("nuon.co/label.{key}"), value.clone())),
    );
    let (config_type, config, layer_type, layer, layer_annotations) = match layout {
        Layout::Flux => {
            let layer = archive::pack("all.yaml", text.as_bytes())
                .map_err(archive::ArchiveError::Broken)?;
            let tar = archive::expand(&layer, u64::MAX - 1)?;
            let config = json!({
                "created": created, "architecture": "", "os": "", "config": {},
                "rootfs": {"type": "layers", "diff_ids": [Digest::of(&tar)]},
                "history": [{"created": created}],
            });
            (
                FLUX_CONFIG,
                config.to_string(),
                FLUX_LAYER,
                layer,
                BTreeMap::new(),
            )
        }
        Layout::Archive => {
            let title = BTreeMap::from([(TITLE.to_owned(), ARCHIVE_FILE.to_owned())]);
            (
                ARCHIVE_CONFIG,
                "{}".to_owned(),
                ARCHIVE_LAYER,
                text.as_bytes().to_vec(),
                title,
            )
        }
    };
    let config = Bytes::from(config);
    let layer = Bytes::from(layer);
    let describe = |media_type: &str, bytes: &Bytes, annotations| Descriptor {
        media_type: media_type.to_owned(),
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
        annotations,
        platform: None,
    };
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
        manifest: Stored {
            digest: Digest::of(&bytes),
            media_type: MANIFEST.to_owned(),
            bytes,
        },
        blobs: vec![
            (config_descriptor.digest, config),
            (layer_descriptor.digest, layer),
        ],
        annotations,
        artifact_type: config_type,
    })
}

/// Pushes a packed artifact under a tag: what it consists of first, so that no tag ever points to
/// something incomplete.
///
/// # Errors
/// [`RegistryError`].
pub async fn push(
    repository: &Repository,
    tag: &str,
    packed: &Packed,
) -> Result<(), RegistryError> {
    for (digest, bytes) in &packed.blobs {
        repository.put_blob(digest, bytes.clone()).await?;
    }
    repository.put_manifest(Some(tag), &packed.manifest).await
}

/// An artifact that was read.
#[derive(Debug, Clone)]
pub struct Artifact {
    /// The digest of what the reference pointed to.
    pub digest: Digest,
    /// The layout it has.
    pub kind: Kind,
    /// What it holds.
    pub content: Content,
    /// Notes on it, from outside.
    pub annotations: BTreeMap<String, String>,
}

/// The layout of an artifact that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// kustomizer's, or ours.
    Kustomizer,
    /// Flux's.
    Flux,
    /// That of the program that is replaced.
    Archive,
}

/// What an artifact holds.
#[derive(Debug, Clone)]
pub enum Content {
    /// One text of objects.
    Text(Vec<u8>),
    /// A tree of files.
    Files(Vec<(String, Vec<u8>)>),
}

/// Pulls an artifact and checks all of it.
///
/// # Errors
/// [`RegistryError`].
pub async fn pull(repository: &Repository, version: &Version) -> Result<Artifact, RegistryError> {
    let stored = repository.manifest(version).await?;
    let digest = stored.digest.clone();
    let manifest = match Document::read(&stored)? {
        Document::Manifest(manifest) => manifest,
        Document::Index(children) => child_manifest(repository, &digest, &children).await?,
    };
    let kind = recognise(&manifest)?;
    let content = match kind {
        Kind::Kustomizer => pull_kustomizer(repository, &manifest).await?,
        Kind::Flux => pull_flux(repository, &manifest).await?,
        Kind::Archive => pull_archive(repository, &manifest).await?,
    };
    Ok(Artifact {
        digest,
        kind,
        content,
        annotations: manifest.annotations,
    })
}

/// Of an index only the child that is marked as a kustomizer artifact is meant for us.
async fn child_manifest(
    repository: &Repository,
    index: &Digest,
    children: &[Descriptor],
) -> Result<Manifest, RegistryError> {
    let is_ours = |child: &&Descriptor| {
        child.platform.as_ref().is_some_and(|platform| {
            platform.os == "kustomizer"
                && platform.architecture == "yaml"
                && platform.os_version == "v2"
        })
    };
    let bad = |why: &str| RegistryError::Manifest {
        what: index.to_string(),
        why: why.to_owned(),
    };
    let child = children
        .iter()
        .find(is_ours)
        .ok_or_else(|| bad("no child of the index is for kustomizer/yaml v2"))?;
    let stored = repository
        .manifest(&Version::Digest(child.digest.clone()))
        .await?;
    if stored.media_type != child.media_type || stored.bytes.len() as u64 != child.size {
        return Err(bad(
            "a child has another media type or size than the index says",
        ));
    }
    match Document::read(&stored)? {
        Document::Manifest(manifest) => Ok(manifest),
        Document::Index(_) => Err(bad("a child of the index is an index")),
    }
}

fn recognise(manifest: &Manifest) -> Result<Kind, RegistryError> {
    let first = manifest
        .layers
        .first()
        .map(|layer| layer.media_type.as_str())
        .unwrap_or_default();
    if manifest.config.media_type == ARCHIVE_CONFIG {
        return Ok(Kind::Archive);
    }
    if [KUSTOMIZER_VERSION, KUSTOMIZER_CHECKSUM, KUSTOMIZER_CREATED]
        .iter()
        .any(|key| manifest.annotations.contains_key(*key))
    {
        return Ok(Kind::Kustomizer);
    }
    if manifest.config.media_type == FLUX_CONFIG || first.starts_with(FLUX_CONTENT) {
        return Ok(Kind::Flux);
    }
    Err(RegistryError::Format(format!(
        "it is neither a kustomizer, a Flux nor an archive artifact (config {}, first layer \
         {first})",
        manifest.config.media_type
    )))
}

async fn pull_kustomizer(
    repository: &Repository,
    manifest: &Manifest,
) -> Result<Content, RegistryError> {
    let annotation = |key: &str| {
        let value = manifest.annotations.get(key);
        value.ok_or_else(|| RegistryError::Format(format!("'{key}' annotation not found")))
    };
    annotation(KUSTOMIZER_VERSION)?;
    annotation(KUSTOMIZER_CREATED)?;
    let expected = annotation(KUSTOMIZER_CHECKSUM)?;
    if manifest.annotations.contains_key(KUSTOMIZER_ENCRYPTED) {
        return Err(RegistryError::Format(
            "it is encrypted, and encrypted artifacts are not supported yet".into(),
        ));
    }
    let layer = first_layer(repository, manifest).await?;
    let files = unpack(layer, Links::Refuse).await?;
    let text: Vec<u8> = files.into_iter().flat_map(|(_, file)| file).collect();
    let got = checksum(&text);
    if got != *expected {
        let (what, expected) = ("the artifact's content".into(), expected.clone());
        return Err(RegistryError::Mismatch {
            what,
            property: "checksum",
            expected,
            got,
        });
    }
    Ok(Content::Text(text))
}

/// The files of a layer, unpacked beside everything else.
async fn unpack(layer: Bytes, links: Links) -> Result<Vec<(String, Vec<u8>)>, RegistryError> {
    let unpacked = tokio::task::spawn_blocking(move || {
        let tar = archive::expand(&layer, LARGEST_LAYER)?;
        archive::files(&tar, Limits::default(), links)
    });
    let failed = |error| archive::ArchiveError::Broken(std::io::Error::other(error));
    Ok(unpacked.await.map_err(failed)??)
}

async fn pull_flux(repository: &Repository, manifest: &Manifest) -> Result<Content, RegistryError> {
    let layer = first_layer(repository, manifest).await?;
    let media_type = manifest
        .layers
        .first()
        .map(|layer| layer.media_type.as_str())
        .unwrap_or_default();
    if !layer.starts_with(&[0x1f, 0x8b]) {
        // A static layer is the file itself; only its extension is known.
        let extension = media_type.strip_prefix(FLUX_CONTENT).unwrap_or_default();
        return match extension {
            ".yaml" | ".yml" => Ok(Content::Text(layer.to_vec())),
            other => Err(RegistryError::Format(format!(
                "it is a single file of type {other:?}, not YAML"
            ))),
        };
    }
    let files = unpack(layer, Links::Skip).await?;
    if !files.iter().any(|(name, _)| is_yaml(name)) {
        return Err(RegistryError::Format("it holds no YAML file".into()));
    }
    Ok(Content::Files(files))
}

async fn pull_archive(
    repository: &Repository,
    manifest: &Manifest,
) -> Result<Content, RegistryError> {
    let mut found = None;
    let bytes = manifest
        .layers
        .iter()
        .fold(0_u64, |sum, layer| sum.saturating_add(layer.size));
    if bytes > LARGEST_ARCHIVE || manifest.layers.len() > MAX_LAYERS {
        return Err(RegistryError::TooLarge {
            what: "the artifact".into(),
            limit: LARGEST_ARCHIVE,
        });
    }
    for layer in &manifest.layers {
        let title = layer
            .annotations
            .get(TITLE)
            .map(String::as_str)
            .unwrap_or_default();
        let leaves = title.starts_with('/')
            || title.contains('\\')
            || title.split('/').any(|part| part == "..");
        if leaves {
            return Err(RegistryError::Format(format!(
                "a file in it is called {title:?}"
            )));
        }
        // Every layer is checked, also those that are not used.
        let bytes = repository.blob(layer, LARGEST_LAYER).await?;
        if title == ARCHIVE_FILE {
            found = Some(bytes.to_vec());
        }
    }
    found
        .map(Content::Text)
        .ok_or_else(|| RegistryError::Format(format!("it has no {ARCHIVE_FILE}")))
}

async fn first_layer(repository: &Repository, manifest: &Manifest) -> Result<Bytes, RegistryError> {
    let layer = manifest
        .layers
        .first()
        .ok_or_else(|| RegistryError::Format("it has no layers".into()))?;
    repository.blob(layer, LARGEST_LAYER).await
}

/// Whether a file's name says that it is YAML.
pub fn is_yaml(name: &str) -> bool {
    name.ends_with(".yaml") || name.ends_with(".yml")
}

fn checksum(text: &[u8]) -> String {
    hex::encode(Sha256::digest(text))
}

/// The media type of what is pushed.
pub const PUSHED_MEDIA_TYPE: &str = document::MANIFEST;
