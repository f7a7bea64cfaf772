//! OCI image layouts: a directory with `oci-layout`, `index.json` and `blobs/sha256/…`.
#![expect(
    clippy::indexing_slicing,
    reason = "a member or item that a JSON value lacks reads as null"
)]

use std::fs::{self, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio_util::io::ReaderStream;

use super::blob::{BlobStream, OpenBlob, checked};
use super::document::MAX_MANIFEST_BYTES;
use super::remote::Stored;
use super::{Descriptor, Digest, RegistryError, StoredManifest, Version};

/// Bytes of a blob that are read at a time.
const PART_BYTES: usize = 64 << 10;

/// Annotation that holds a tag in the index.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// An OCI image layout on disk.
#[derive(Debug, Clone)]
pub struct ImageLayout {
    path: PathBuf,
}

impl ImageLayout {
    /// Creates a handle for the layout at `path`. The directory is created when something is
    /// stored.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Returns the layout's directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn failed(&self) -> impl Fn(io::Error) -> RegistryError + '_ {
        |source| RegistryError::Layout {
            path: self.path.clone(),
            source,
        }
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.path.join("blobs/sha256").join(digest.hex())
    }

    /// Reads a manifest or index by its tag in the index, or by its digest.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] if the tag or the blob does not exist; otherwise fails if it
    /// cannot be read or does not match its digest.
    pub fn manifest(&self, version: &Version) -> Result<StoredManifest, RegistryError> {
        let entries = self.entries()?;
        let is_wanted = |entry: &&Value| match version {
            Version::Tag(tag) => entry["annotations"][REF_NAME] == tag.as_str(),
            Version::Digest(digest) => entry["digest"] == digest.as_str(),
        };
        let entry = entries.iter().find(is_wanted);
        let digest = match (entry, version) {
            (Some(entry), _) => entry["digest"].as_str().and_then(|text| text.parse().ok()),
            // Children of an index are not in index.json.
            (None, Version::Digest(digest)) => Some(digest.clone()),
            (None, Version::Tag(_)) => None,
        };
        let digest: Digest = digest.ok_or_else(|| RegistryError::NotFound(version.to_string()))?;
        let bytes = self.read(&digest, MAX_MANIFEST_BYTES)?;
        let listed = entry.and_then(|entry| entry["mediaType"].as_str());
        let declared = serde_json::from_slice::<Value>(&bytes)
            .ok()
            .and_then(|value| value["mediaType"].as_str().map(str::to_owned));
        let media_type = listed.map(str::to_owned).or(declared).unwrap_or_default();
        digest.check(&format!("the manifest {digest}"), &bytes)?;
        Ok(StoredManifest {
            digest,
            media_type,
            bytes,
        })
    }

    /// Reads a blob. The caller checks its size and digest.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] if the blob does not exist; otherwise fails if it cannot be
    /// read.
    pub fn blob(&self, descriptor: &Descriptor) -> Result<Bytes, RegistryError> {
        self.read(&descriptor.digest, descriptor.size)
    }

    fn read(&self, digest: &Digest, limit: u64) -> Result<Bytes, RegistryError> {
        use io::Read as _;
        let file = match fs::File::open(self.blob_path(digest)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(RegistryError::NotFound(digest.to_string()));
            }
            opened => opened.map_err(self.failed())?,
        };
        let mut bytes = Vec::new();
        // Reading one byte more than expected reveals content that is too large.
        file.take(limit + 1)
            .read_to_end(&mut bytes)
            .map_err(self.failed())?;
        Ok(bytes.into())
    }

    /// Stores a blob, unless it exists.
    ///
    /// # Errors
    /// [`RegistryError::Layout`] if it cannot be written.
    pub fn put_blob(&self, digest: &Digest, bytes: &[u8]) -> Result<(), RegistryError> {
        let path = self.blob_path(digest);
        if path.exists() {
            return Ok(());
        }
        self.write(&path, bytes)
    }

    /// Opens a blob. The stream ends with an error if it does not match the descriptor.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] if the blob does not exist; otherwise fails if it cannot be
    /// opened.
    pub(super) async fn open_blob(
        &self,
        descriptor: &Descriptor,
    ) -> Result<BlobStream, RegistryError> {
        let path = self.blob_path(&descriptor.digest);
        let file = match tokio::fs::File::open(&path).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(RegistryError::NotFound(descriptor.digest.to_string()));
            }
            opened => opened.map_err(self.failed())?,
        };
        let layout = self.clone();
        let parts = ReaderStream::with_capacity(file, PART_BYTES)
            .map_err(move |error| layout.failed()(error));
        Ok(checked(parts.boxed(), descriptor.clone()))
    }

    /// Stores a blob, unless it exists.
    ///
    /// # Errors
    /// Fails if it cannot be read or written. Nothing of it is left then.
    pub(super) async fn store(
        &self,
        blob: &Descriptor,
        source: &dyn OpenBlob,
    ) -> Result<Stored, RegistryError> {
        let path = self.blob_path(&blob.digest);
        if path.exists() {
            return Ok(Stored::Existing);
        }
        let folder = path.parent().unwrap_or(&self.path);
        fs::create_dir_all(folder).map_err(self.failed())?;
        let temporary = tempfile::Builder::new()
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(folder)
            .map_err(self.failed())?;
        let mut file: tokio::fs::File = temporary.reopen().map_err(self.failed())?.into();
        let mut content = source.open(blob).await?;
        while let Some(part) = content.try_next().await? {
            file.write_all(&part).await.map_err(self.failed())?;
        }
        // Only this tells whether the last write has failed.
        file.flush().await.map_err(self.failed())?;
        file.sync_all().await.map_err(self.failed())?;
        let persisted = temporary.persist(&path).map_err(|error| error.error);
        persisted.map_err(self.failed())?;
        Ok(Stored::Uploaded)
    }

    /// Stores a manifest or index and adds it to `index.json`, replacing the entry with the same
    /// tag.
    ///
    /// # Errors
    /// [`RegistryError::Layout`] if it cannot be written, or if `index.json` is not valid.
    pub fn put_manifest(
        &self,
        tag: Option<&str>,
        stored: &StoredManifest,
    ) -> Result<(), RegistryError> {
        self.put_blob(&stored.digest, &stored.bytes)?;
        self.write(
            &self.path.join("oci-layout"),
            br#"{"imageLayoutVersion":"1.0.0"}"#,
        )?;
        let mut entries = self.entries()?;
        let is_same = |entry: &Value| match tag {
            Some(tag) => entry["annotations"][REF_NAME] == tag,
            None => {
                entry["digest"] == stored.digest.as_str()
                    && entry["annotations"][REF_NAME].is_null()
            }
        };
        entries.retain(|entry| !is_same(entry));
        let mut entry = json!({"mediaType": stored.media_type, "digest": stored.digest, "size": stored.bytes.len()});
        if let Some(tag) = tag {
            entry["annotations"] = json!({ REF_NAME: tag });
        }
        entries.push(entry);
        let index =
            json!({"schemaVersion": 2, "mediaType": super::document::INDEX, "manifests": entries});
        self.write(&self.path.join("index.json"), index.to_string().as_bytes())
    }

    /// Returns all tags.
    ///
    /// # Errors
    /// [`RegistryError::Layout`] if `index.json` cannot be read or is not valid.
    pub fn tags(&self) -> Result<Vec<String>, RegistryError> {
        let entries = self.entries()?;
        let tags = entries
            .iter()
            .filter_map(|entry| entry["annotations"][REF_NAME].as_str());
        Ok(tags.map(str::to_owned).collect())
    }

    fn entries(&self) -> Result<Vec<Value>, RegistryError> {
        let text = match fs::read(self.path.join("index.json")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            read => read.map_err(self.failed())?,
        };
        let index: Value =
            serde_json::from_slice(&text).map_err(|error| self.failed()(error.into()))?;
        Ok(index["manifests"].as_array().cloned().unwrap_or_default())
    }

    /// Writes a file atomically.
    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), RegistryError> {
        let folder = path.parent().unwrap_or(&self.path);
        let write = || {
            fs::create_dir_all(folder)?;
            let temporary = path.with_extension(format!("{:016x}.tmp", rand::random::<u64>()));
            let mut file = fs::File::create(&temporary)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&temporary, path)
        };
        write().map_err(self.failed())
    }
}
