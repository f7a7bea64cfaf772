//! The artifact: a YAML stream of Kubernetes objects in an OCI image (see
//! `docs/artifact-format.md`).
//!
//! Written in one of two layouts and read in three: kustomizer's, Flux's, and the legacy archive of
//! the Go runner. All content is checked before it is used.

mod pack;

use std::collections::BTreeMap;

use bytes::Bytes;
use pack::checksum;
pub use pack::{ArtifactMetadata, OutputLayout, Packed, pack, push};

use super::document::{self, Descriptor, Document, ImageManifest};
use super::{Digest, RegistryError, Repository, Version};
use crate::workspace::archive::{self, ArchiveLimits, SymlinkPolicy};

/// Maximum size of a layer, in bytes.
pub const MAX_LAYER_BYTES: u64 = 64 << 20;

/// Maximum size of an archive, all layers together, in bytes.
const MAX_ARCHIVE_BYTES: u64 = 4 * MAX_LAYER_BYTES;

/// Maximum layers of an archive; the older form has one per file.
const MAX_LAYERS: usize = 1000;

const FLUX_CONFIG: &str = "application/vnd.cncf.flux.config.v1+json";
const FLUX_CONTENT: &str = "application/vnd.cncf.flux.content.v1";
const FLUX_LAYER: &str = "application/vnd.cncf.flux.content.v1.tar+gzip";
const FLUX_FILE: &str = "all.yaml";
const ARCHIVE_CONFIG: &str = "artifact/nuon";
const ARCHIVE_LAYER: &str = "application/vnd.nuon.archive.layer.v1.tar+gzip";
const UNPACK: &str = "io.deis.oras.content.unpack";
const ARCHIVE_FILE: &str = "manifest.yaml";
const TITLE: &str = "org.opencontainers.image.title";
const CREATED: &str = "org.opencontainers.image.created";
const SOURCE: &str = "org.opencontainers.image.source";
const REVISION: &str = "org.opencontainers.image.revision";
const KUSTOMIZER_VERSION: &str = "kustomizer.dev/version";
const KUSTOMIZER_CHECKSUM: &str = "kustomizer.dev/checksum";
const KUSTOMIZER_CREATED: &str = "kustomizer.dev/created";
const KUSTOMIZER_ENCRYPTED: &str = "kustomizer.dev/encrypted";

/// An artifact that was pulled and checked.
#[derive(Debug, Clone)]
pub struct Artifact {
    /// Digest of the manifest or index that the reference points to.
    pub digest: Digest,
    /// Format in which it was written.
    pub format: ArtifactFormat,
    /// The objects or files in it.
    pub content: Content,
    /// Annotations of the manifest; untrusted.
    pub annotations: BTreeMap<String, String>,
}

/// Format of a pulled artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArtifactFormat {
    /// kustomizer's format, or ours.
    Kustomizer,
    /// Flux's format.
    Flux,
    /// Archive of the Go runner, in its older or newer form.
    Archive,
}

/// Content of an artifact.
#[derive(Debug, Clone)]
pub enum Content {
    /// One YAML stream of objects.
    Text(Vec<u8>),
    /// Files by path, in archive order.
    Files(Vec<(String, Vec<u8>)>),
}

/// Pulls an artifact and checks all of it.
///
/// # Errors
/// Fails if the artifact cannot be read, does not match its digests, sizes or checksum, or has an
/// unsupported format.
pub async fn pull(repository: &Repository, version: &Version) -> Result<Artifact, RegistryError> {
    let stored = repository.manifest(version).await?;
    let digest = stored.digest.clone();
    let manifest = match Document::parse(&stored)? {
        Document::Manifest(manifest) => manifest,
        Document::Index(children) => child_manifest(repository, &digest, &children).await?,
    };
    let format = detect_format(&manifest)?;
    let content = match format {
        ArtifactFormat::Kustomizer => pull_kustomizer(repository, &manifest).await?,
        ArtifactFormat::Flux => pull_flux(repository, &manifest).await?,
        ArtifactFormat::Archive => pull_archive(repository, &manifest).await?,
    };
    Ok(Artifact {
        digest,
        format,
        content,
        annotations: manifest.annotations,
    })
}

/// Reads the child of an index that is marked as a kustomizer artifact; all others are ignored.
async fn child_manifest(
    repository: &Repository,
    index: &Digest,
    children: &[Descriptor],
) -> Result<ImageManifest, RegistryError> {
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
    match Document::parse(&stored)? {
        Document::Manifest(manifest) => Ok(manifest),
        Document::Index(_) => Err(bad("a child of the index is an index")),
    }
}

fn detect_format(manifest: &ImageManifest) -> Result<ArtifactFormat, RegistryError> {
    let first = manifest
        .layers
        .first()
        .map(|layer| layer.media_type.as_str())
        .unwrap_or_default();
    if manifest.config.media_type == ARCHIVE_CONFIG {
        return Ok(ArtifactFormat::Archive);
    }
    if [KUSTOMIZER_VERSION, KUSTOMIZER_CHECKSUM, KUSTOMIZER_CREATED]
        .iter()
        .any(|key| manifest.annotations.contains_key(*key))
    {
        return Ok(ArtifactFormat::Kustomizer);
    }
    if manifest.config.media_type == FLUX_CONFIG || first.starts_with(FLUX_CONTENT) {
        return Ok(ArtifactFormat::Flux);
    }
    Err(RegistryError::Format(format!(
        "it is neither a kustomizer, a Flux nor an archive artifact (config {}, first layer \
         {first})",
        manifest.config.media_type
    )))
}

async fn pull_kustomizer(
    repository: &Repository,
    manifest: &ImageManifest,
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
    let files = unpack(layer, SymlinkPolicy::Refuse).await?;
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

/// Unpacks the files of a layer on a blocking thread.
async fn unpack(
    layer: Bytes,
    links: SymlinkPolicy,
) -> Result<Vec<(String, Vec<u8>)>, RegistryError> {
    let unpacked = tokio::task::spawn_blocking(move || {
        let tar = archive::expand(&layer, MAX_LAYER_BYTES)?;
        archive::files(&tar, ArchiveLimits::default(), links)
    });
    let failed = |error| archive::ArchiveError::Broken(std::io::Error::other(error));
    Ok(unpacked.await.map_err(failed)??)
}

async fn pull_flux(
    repository: &Repository,
    manifest: &ImageManifest,
) -> Result<Content, RegistryError> {
    let layer = first_layer(repository, manifest).await?;
    let media_type = manifest
        .layers
        .first()
        .map(|layer| layer.media_type.as_str())
        .unwrap_or_default();
    if !layer.starts_with(&[0x1f, 0x8b]) {
        // A layer that is not compressed is the file itself; its media type tells only the
        // extension.
        let extension = media_type.strip_prefix(FLUX_CONTENT).unwrap_or_default();
        return match extension {
            ".yaml" | ".yml" => Ok(Content::Text(layer.to_vec())),
            other => Err(RegistryError::Format(format!(
                "it is a single file of type {other:?}, not YAML"
            ))),
        };
    }
    let files = unpack(layer, SymlinkPolicy::Skip).await?;
    if !files.iter().any(|(name, _)| is_yaml(name)) {
        return Err(RegistryError::Format("it holds no YAML file".into()));
    }
    Ok(Content::Files(files))
}

async fn pull_archive(
    repository: &Repository,
    manifest: &ImageManifest,
) -> Result<Content, RegistryError> {
    let mut found = None;
    let bytes = manifest
        .layers
        .iter()
        .fold(0_u64, |sum, layer| sum.saturating_add(layer.size));
    if bytes > MAX_ARCHIVE_BYTES || manifest.layers.len() > MAX_LAYERS {
        return Err(RegistryError::TooLarge {
            what: "the artifact".into(),
            limit: MAX_ARCHIVE_BYTES,
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
                "the name of a file in it is not allowed: {title:?}"
            )));
        }
        // All layers are checked, including those that are not used.
        let bytes = repository.blob(layer, MAX_LAYER_BYTES).await?;
        if layer.media_type == ARCHIVE_LAYER {
            let files = unpack(bytes, SymlinkPolicy::Skip).await?;
            let file = files.into_iter().find(|(name, _)| name == ARCHIVE_FILE);
            found = file.map(|(_, text)| text).or(found);
        } else if title == ARCHIVE_FILE {
            found = Some(bytes.to_vec());
        }
    }
    found
        .map(Content::Text)
        .ok_or_else(|| RegistryError::Format(format!("it has no {ARCHIVE_FILE}")))
}

async fn first_layer(
    repository: &Repository,
    manifest: &ImageManifest,
) -> Result<Bytes, RegistryError> {
    let layer = manifest
        .layers
        .first()
        .ok_or_else(|| RegistryError::Format("it has no layers".into()))?;
    repository.blob(layer, MAX_LAYER_BYTES).await
}

/// Returns true if the file name has a YAML extension.
pub fn is_yaml(name: &str) -> bool {
    name.ends_with(".yaml") || name.ends_with(".yml")
}

/// Media type of the manifests that [`push`] stores.
pub const PUSHED_MEDIA_TYPE: &str = document::MANIFEST;
