//! Copies an artifact as it is: the same bytes, so the same digest, and its signatures with it.

use std::collections::HashSet;

use super::document::Document;
use super::format::LARGEST_LAYER;
use super::{Descriptor, Digest, RegistryError, Repository, Stored, Version};

/// Documents of one artifact, its children and its signatures; more is no artifact.
const MOST_DOCUMENTS: usize = 256;

/// Endings of the tags under which signatures, attestations and bills of material of a digest are
/// kept (`sha256-HEX` and ending; without one it is the list of referrers).
const COMPANIONS: [&str; 4] = [".sig", ".att", ".sbom", ""];

/// Copies what `version` points to, and gives it a tag. Returns its digest.
///
/// # Errors
/// [`RegistryError`].
pub async fn copy(from: &Repository, version: &Version, to: &Repository, tag: &str) -> Result<Stored, RegistryError> {
    let root = from.manifest(version).await?;
    let mut done = HashSet::new();
    graph(from, to, root.clone(), Some(tag), &mut done).await?;
    for ending in COMPANIONS {
        let companion = format!("{}{ending}", root.digest.as_str().replace(':', "-"));
        match from.manifest(&Version::Tag(companion.clone())).await {
            Ok(stored) => graph(from, to, stored, Some(&companion), &mut done).await?,
            Err(RegistryError::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(root)
}

/// Copies a document and all that it points to, leaves first.
async fn graph(
    from: &Repository,
    to: &Repository,
    root: Stored,
    tag: Option<&str>,
    done: &mut HashSet<Digest>,
) -> Result<(), RegistryError> {
    // A document comes twice: to be looked into, then to be stored.
    let mut stack = vec![(root, tag, false)];
    while let Some((stored, tag, complete)) = stack.pop() {
        if complete {
            to.put_manifest(tag, &stored).await?;
            continue;
        }
        let seen = !done.insert(stored.digest.clone());
        if seen && tag.is_none() {
            continue;
        }
        if done.len() > MOST_DOCUMENTS {
            let why = format!("it holds more than {MOST_DOCUMENTS} documents");
            return Err(RegistryError::Manifest { what: stored.digest.to_string(), why });
        }
        let document = Document::read(&stored)?;
        stack.push((stored, tag, true));
        match document {
            Document::Manifest(manifest) => {
                for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
                    self::blob(from, to, blob).await?;
                }
            }
            Document::Index(children) => {
                for child in children {
                    stack.push((from.manifest(&Version::Digest(child.digest)).await?, None, false));
                }
            }
        }
    }
    Ok(())
}

async fn blob(from: &Repository, to: &Repository, descriptor: &Descriptor) -> Result<(), RegistryError> {
    let bytes = from.blob(descriptor, LARGEST_LAYER).await?;
    to.put_blob(&descriptor.digest, bytes).await
}
