//! Copies an artifact and its signatures byte for byte, so that the digest stays the same.

use std::collections::HashSet;

use super::document::Document;
use super::format::MAX_LAYER_BYTES;
use super::{Descriptor, Digest, RegistryError, Repository, StoredManifest, Version};

/// Maximum documents of one artifact, including its children and its signatures.
const MAX_DOCUMENTS: usize = 256;

/// Maximum layers of one manifest; images have at most 127.
const MAX_LAYERS: usize = 1000;

/// Maximum nesting of indexes.
const MAX_DEPTH: usize = 4;

/// Suffixes of the tags that hold signatures, attestations and SBOMs of a digest (`sha256-HEX` and
/// the suffix). The tag without a suffix holds the list of referrers.
const COMPANION_SUFFIXES: [&str; 4] = [".sig", ".att", ".sbom", ""];

/// Copies the artifact at `version` and tags the copy. Returns the copied manifest or index.
///
/// # Errors
/// Fails if a document or blob cannot be read, checked or stored, or if the artifact exceeds a
/// limit.
pub async fn copy(
    from: &Repository,
    version: &Version,
    to: &Repository,
    tag: &str,
) -> Result<StoredManifest, RegistryError> {
    let root = from.manifest(version).await?;
    let mut visited = HashSet::new();
    copy_graph(from, to, root.clone(), Some(tag), &mut visited).await?;
    for ending in COMPANION_SUFFIXES {
        let companion = format!("{}{ending}", root.digest.as_str().replace(':', "-"));
        match from.manifest(&Version::Tag(companion.clone())).await {
            Ok(stored) => copy_graph(from, to, stored, Some(&companion), &mut visited).await?,
            Err(RegistryError::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(root)
}

/// A pending step of the copy.
enum Task {
    /// Read the document with this digest, at this depth of nested indexes, and visit it.
    Read(Digest, usize),
    /// Store the document under its digest and tag; everything that it points to has been copied.
    Store(StoredManifest, Option<String>),
}

/// Copies a document and everything that it points to, leaves first. Only one document and its
/// ancestors are in memory at a time.
async fn copy_graph(
    from: &Repository,
    to: &Repository,
    root: StoredManifest,
    tag: Option<&str>,
    done: &mut HashSet<Digest>,
) -> Result<(), RegistryError> {
    let mut stack = Vec::new();
    visit(from, to, root, tag, 0, done, &mut stack).await?;
    while let Some(task) = stack.pop() {
        match task {
            Task::Store(stored, tag) => to.put_manifest(tag.as_deref(), &stored).await?,
            Task::Read(digest, _) if done.contains(&digest) => {}
            Task::Read(digest, depth) => {
                let stored = from.manifest(&Version::Digest(digest)).await?;
                visit(from, to, stored, None, depth, done, &mut stack).await?;
            }
        }
    }
    Ok(())
}

/// Copies the blobs of a manifest, or pushes the children of an index to the stack. The document
/// itself is pushed below them, so that it is stored after them.
async fn visit(
    from: &Repository,
    to: &Repository,
    stored: StoredManifest,
    tag: Option<&str>,
    depth: usize,
    done: &mut HashSet<Digest>,
    stack: &mut Vec<Task>,
) -> Result<(), RegistryError> {
    let refuse = |why: String| RegistryError::Manifest {
        what: stored.digest.to_string(),
        why,
    };
    let is_new = done.insert(stored.digest.clone());
    if done.len() > MAX_DOCUMENTS {
        return Err(refuse(format!(
            "it holds more than {MAX_DOCUMENTS} documents"
        )));
    }
    if depth > MAX_DEPTH {
        return Err(refuse(format!(
            "its indexes are nested more than {MAX_DEPTH} deep"
        )));
    }
    let document = Document::parse(&stored)?;
    match &document {
        Document::Manifest(manifest) if is_new => {
            if manifest.layers.len() > MAX_LAYERS {
                return Err(refuse(format!("it has more than {MAX_LAYERS} layers")));
            }
            let mut copied = HashSet::new();
            for descriptor in std::iter::once(&manifest.config).chain(&manifest.layers) {
                if copied.insert(&descriptor.digest) {
                    copy_blob(from, to, descriptor).await?;
                }
            }
        }
        Document::Index(children) if children.len() > MAX_DOCUMENTS => {
            return Err(refuse(format!(
                "it points to more than {MAX_DOCUMENTS} documents"
            )));
        }
        _ => {}
    }
    stack.push(Task::Store(stored, tag.map(str::to_owned)));
    if let (Document::Index(children), true) = (document, is_new) {
        stack.extend(
            children
                .into_iter()
                .map(|child| Task::Read(child.digest, depth + 1)),
        );
    }
    Ok(())
}

async fn copy_blob(
    from: &Repository,
    to: &Repository,
    descriptor: &Descriptor,
) -> Result<(), RegistryError> {
    let bytes = from.blob(descriptor, MAX_LAYER_BYTES).await?;
    to.put_blob(&descriptor.digest, bytes).await
}
