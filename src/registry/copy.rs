//! Copies an artifact as it is: the same bytes, so the same digest, and its signatures with it.

use std::collections::HashSet;

use super::document::Document;
use super::format::LARGEST_LAYER;
use super::{Descriptor, Digest, RegistryError, Repository, Stored, Version};

/// Documents of one artifact, its children and its signatures; more is no artifact.
const MAX_DOCUMENTS: usize = 256;

/// Layers of one artifact; images have at most 127.
const MAX_LAYERS: usize = 1000;

/// Indexes in indexes.
const MAX_DEPTH: usize = 4;

/// Endings of the tags under which signatures, attestations and bills of material of a digest are
/// kept (`sha256-HEX` and ending; without one it is the list of referrers).
const COMPANIONS: [&str; 4] = [".sig", ".att", ".sbom", ""];

/// Copies what `version` points to, and gives it a tag. Returns its digest.
///
/// # Errors
/// [`RegistryError`].
pub async fn copy(
    from: &Repository,
    version: &Version,
    to: &Repository,
    tag: &str,
) -> Result<Stored, RegistryError> {
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

/// What is still to be done for a document.
enum Task {
    /// To be read and looked into.
    Read(Digest, usize),
    /// To be stored, now that all is there that it points to.
    Store(Stored, Option<String>),
}

/// Copies a document and all that it points to, leaves first. One document is held at a time, beside those that point to
/// it.
async fn graph(
    from: &Repository,
    to: &Repository,
    root: Stored,
    tag: Option<&str>,
    done: &mut HashSet<Digest>,
) -> Result<(), RegistryError> {
    let mut stack = Vec::new();
    look_into(from, to, root, tag, 0, done, &mut stack).await?;
    while let Some(task) = stack.pop() {
        match task {
            Task::Store(stored, tag) => to.put_manifest(tag.as_deref(), &stored).await?,
            Task::Read(digest, _) if done.contains(&digest) => {}
            Task::Read(digest, depth) => {
                let stored = from.manifest(&Version::Digest(digest)).await?;
                look_into(from, to, stored, None, depth, done, &mut stack).await?;
            }
        }
    }
    Ok(())
}

/// Copies the blobs of a document, or notes the documents that it points to; and that it is to be stored after them.
async fn look_into(
    from: &Repository,
    to: &Repository,
    stored: Stored,
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
    let document = Document::read(&stored)?;
    match &document {
        Document::Manifest(manifest) if is_new => {
            if manifest.layers.len() > MAX_LAYERS {
                return Err(refuse(format!("it has more than {MAX_LAYERS} layers")));
            }
            let mut copied = HashSet::new();
            for descriptor in std::iter::once(&manifest.config).chain(&manifest.layers) {
                if copied.insert(&descriptor.digest) {
                    blob(from, to, descriptor).await?;
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

async fn blob(
    from: &Repository,
    to: &Repository,
    descriptor: &Descriptor,
) -> Result<(), RegistryError> {
    let bytes = from.blob(descriptor, LARGEST_LAYER).await?;
    to.put_blob(&descriptor.digest, bytes).await
}
