//! Copies an artifact with all that belongs to it, byte for byte, so that digests stay the same: the
//! whole graph of an index, what refers to it (signatures, attestations, SBOMs), and what refers to
//! that.
//!
//! Leaves come first and the tag last, so that what can be found is complete. What the destination
//! has is not sent again, so a copy that was cut off goes on where it was.

use std::collections::HashSet;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::document::{Document, ImageManifest, MEDIA_TYPES};
use super::referrer::{list_tag, subject_of};
use super::remote::Stored;
use super::{Descriptor, Digest, RegistryError, Repository, StoredManifest, Version};

/// Maximum documents of one artifact, including its children.
const MAX_DOCUMENTS: usize = 256;

/// Maximum documents that refer to an artifact; with time there may be many.
const MAX_REFERRERS: usize = 10_000;

/// Maximum layers of one manifest; images have at most 127.
const MAX_LAYERS: usize = 1000;

/// Maximum nesting of indexes.
const MAX_DEPTH: usize = 4;

/// Maximum blobs that are transferred at a time.
const MAX_PARALLEL: usize = 5;

/// Suffixes of the tags `sha256-HEX.sig` and so on, under which older versions of cosign keep
/// signatures, attestations and SBOMs of a digest.
const COMPANION_SUFFIXES: [&str; 3] = [".sig", ".att", ".sbom"];

/// What a copy did.
#[derive(Debug, Clone)]
pub struct Copied {
    /// The copied manifest or index.
    pub root: StoredManifest,
    /// Whether the tag pointed to it before.
    pub was_there: bool,
    /// Number of blobs that were sent or taken from another repository of the registry.
    pub blobs: usize,
    /// Bytes of the blobs that were sent.
    pub bytes: u64,
    /// Number of documents that refer to it: signatures, attestations, SBOMs.
    pub referrers: usize,
}

/// Copies the artifact at `version` and tags the copy.
///
/// # Errors
/// Fails if a document or blob cannot be read, checked or stored, or if the artifact exceeds a
/// limit.
pub async fn copy(
    from: &Repository,
    version: &Version,
    to: &Repository,
    tag: &str,
) -> Result<Copied, RegistryError> {
    let root = from.manifest(version).await?;
    let mut copier = Copier {
        from,
        to,
        documents: Vec::new(),
        known: HashSet::new(),
        limit: MAX_DOCUMENTS,
        blobs: 0,
        bytes: 0,
    };
    copier.graph(root.clone()).await?;
    let own = copier.documents.len();
    copier.limit = own + MAX_REFERRERS;
    copier.companions().await?;
    let was_there = tag_as(to, &root, tag).await?;
    Ok(Copied {
        root,
        was_there,
        blobs: copier.blobs,
        bytes: copier.bytes,
        referrers: copier.documents.len() - own,
    })
}

struct Copier<'a> {
    from: &'a Repository,
    to: &'a Repository,
    /// The documents of the copy so far, in order.
    documents: Vec<Digest>,
    known: HashSet<Digest>,
    /// Maximum number of documents.
    limit: usize,
    blobs: usize,
    bytes: u64,
}

/// A pending step of the copy.
enum Task {
    /// Read the document with this digest, at this depth of nested indexes, and visit it.
    Read(Digest, usize),
    /// Store the document under its digest; everything that it points to has been copied.
    Store(StoredManifest),
}

impl Copier<'_> {
    /// Copies a document and everything that it points to, leaves first. Only one document and its
    /// ancestors are in memory at a time.
    async fn graph(&mut self, root: StoredManifest) -> Result<(), RegistryError> {
        let mut stack = Vec::new();
        self.visit(root, 0, &mut stack).await?;
        while let Some(task) = stack.pop() {
            match task {
                Task::Store(stored) => self.to.put_manifest(None, &stored).await?,
                Task::Read(digest, _) if self.known.contains(&digest) => {}
                Task::Read(digest, depth) => {
                    let stored = self.from.manifest(&Version::Digest(digest)).await?;
                    self.visit(stored, depth, &mut stack).await?;
                }
            }
        }
        Ok(())
    }

    /// Copies the blobs of a manifest, or pushes the children of an index to the stack. The document
    /// itself is pushed below them, so that it is stored after them. Of a manifest that the
    /// destination has, it has everything, but perhaps not its entry in a list of referrers; an index
    /// may have lost children.
    async fn visit(
        &mut self,
        stored: StoredManifest,
        depth: usize,
        stack: &mut Vec<Task>,
    ) -> Result<(), RegistryError> {
        let refuse = |why: String| RegistryError::Manifest {
            what: stored.digest.to_string(),
            why,
        };
        if depth > MAX_DEPTH {
            return Err(refuse(format!(
                "its indexes are nested more than {MAX_DEPTH} deep"
            )));
        }
        let document = Document::parse(&stored)?;
        if !self.add(&stored.digest)? {
            return Ok(());
        }
        match document {
            Document::Manifest(manifest) if manifest.layers.len() > MAX_LAYERS => {
                return Err(refuse(format!("it has more than {MAX_LAYERS} layers")));
            }
            Document::Index(children) if children.len() > MAX_DOCUMENTS => {
                return Err(refuse(format!(
                    "it points to more than {MAX_DOCUMENTS} documents"
                )));
            }
            Document::Manifest(manifest) => {
                let wanted = Version::Digest(stored.digest.clone());
                if subject_of(&stored).is_some() || self.to.resolve(&wanted).await?.is_none() {
                    self.copy_blobs(manifest).await?;
                    stack.push(Task::Store(stored));
                }
            }
            Document::Index(children) => {
                stack.push(Task::Store(stored));
                let children = children.into_iter();
                stack.extend(children.map(|child| Task::Read(child.digest, depth + 1)));
            }
        }
        Ok(())
    }

    /// Adds a document to those of the copy. Returns false if it was there.
    fn add(&mut self, digest: &Digest) -> Result<bool, RegistryError> {
        if !self.known.insert(digest.clone()) {
            return Ok(false);
        }
        self.documents.push(digest.clone());
        let limit = self.limit;
        match self.documents.len() > limit {
            false => Ok(true),
            true => Err(RegistryError::Manifest {
                what: digest.to_string(),
                why: format!("the artifact holds more than {limit} documents"),
            }),
        }
    }

    async fn copy_blobs(&mut self, manifest: ImageManifest) -> Result<(), RegistryError> {
        let mut once = HashSet::new();
        let blobs = std::iter::once(manifest.config)
            .chain(manifest.layers)
            .filter(|blob| once.insert(blob.digest.clone()));
        let (from, to) = (self.from, self.to);
        let copies = stream::iter(blobs).map(|blob| copy_blob(from, to, blob));
        let copied: Vec<_> = copies.buffer_unordered(MAX_PARALLEL).try_collect().await?;
        for (size, stored) in copied {
            self.blobs += usize::from(stored != Stored::Existing);
            self.bytes += if stored == Stored::Uploaded { size } else { 0 };
        }
        Ok(())
    }

    /// Copies what refers to the documents of the copy, and what refers to that.
    async fn companions(&mut self) -> Result<(), RegistryError> {
        let mut at = 0;
        while let Some(subject) = self.documents.get(at).cloned() {
            at += 1;
            for referrer in self.from.referrers(&subject).await? {
                // Documents of other kinds are not part of the specification any more.
                let is_readable = MEDIA_TYPES.contains(&&*referrer.media_type);
                if self.known.contains(&referrer.digest) || !is_readable {
                    continue;
                }
                // A list may name what was deleted.
                match self.from.manifest(&Version::Digest(referrer.digest)).await {
                    Ok(stored) => self.graph(stored).await?,
                    Err(RegistryError::NotFound(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            for suffix in COMPANION_SUFFIXES {
                let tag = format!("{}{suffix}", list_tag(&subject));
                match self.from.manifest(&Version::Tag(tag.clone())).await {
                    Ok(stored) => {
                        self.graph(stored.clone()).await?;
                        tag_as(self.to, &stored, &tag).await?;
                    }
                    Err(RegistryError::NotFound(_)) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }
}

/// Tags a document. Returns true if the tag pointed to it before.
async fn tag_as(
    to: &Repository,
    stored: &StoredManifest,
    tag: &str,
) -> Result<bool, RegistryError> {
    let before = to.resolve(&Version::Tag(tag.to_owned())).await?;
    if before.as_ref() == Some(&stored.digest) {
        return Ok(true);
    }
    to.put_manifest(Some(tag), stored).await?;
    Ok(false)
}

/// Copies a blob. Returns its size. A layer that may not be passed on need not exist.
async fn copy_blob(
    from: &Repository,
    to: &Repository,
    blob: Descriptor,
) -> Result<(u64, Stored), RegistryError> {
    let stored = match to.store_blob(&blob, from).await {
        Err(RegistryError::NotFound(_)) if blob.is_foreign() => Stored::Existing,
        stored => stored?,
    };
    Ok((blob.size, stored))
}
