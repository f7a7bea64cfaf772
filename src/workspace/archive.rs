//! Tar archives. Equal content is packed into equal bytes; reading refuses unsafe names, special
//! members and excessive sizes. Nothing is ever unpacked to disk.

use std::io::{self, Read};

use flate2::{Compression, GzBuilder};
use tar::{Builder, EntryType, Header};

/// Limits on the expanded content of an archive.
#[derive(Debug, Clone, Copy)]
pub struct ArchiveLimits {
    /// Maximum expanded bytes.
    pub bytes: u64,
    /// Maximum number of members.
    pub entries: usize,
}

impl Default for ArchiveLimits {
    /// 64 MiB and 10,000 members (see `docs/artifact-format.md`).
    fn default() -> Self {
        Self {
            bytes: 64 << 20,
            entries: 10_000,
        }
    }
}

/// How to handle symbolic links in an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SymlinkPolicy {
    /// Refuse the archive.
    Refuse,
    /// Ignore the link, as Flux does.
    Skip,
}

/// Why an archive is refused.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The data is not a valid archive or compressed stream.
    #[error("the archive is broken")]
    Broken(#[source] io::Error),
    /// The expanded content exceeds this many bytes.
    #[error("the archive expands to more than {0} bytes")]
    TooLarge(u64),
    /// There are more than this many members.
    #[error("the archive has more than {0} members")]
    TooMany(usize),
    /// The name of a member could lead out of the target directory.
    #[error(
        "the archive member {0:?} has a name that is absolute, leaves the archive or holds a \
         backslash"
    )]
    Name(String),
    /// A member is neither a file nor a directory.
    #[error("the archive member {name:?} is a {kind}; only files and directories are allowed")]
    Special {
        /// Name of the member.
        name: String,
        /// Its type, for people.
        kind: &'static str,
    },
    /// There are bytes after the end of the compressed stream.
    #[error("the archive is followed by other data")]
    Trailing,
}

/// Packs one regular file into a gzipped tar: USTAR, this mode, owner 0, no times.
///
/// # Errors
/// Does not fail in practice: everything is in memory.
pub fn pack(name: &str, content: &[u8], mode: u32) -> io::Result<Vec<u8>> {
    let gzip = GzBuilder::new()
        .mtime(0)
        .operating_system(255)
        .write(Vec::new(), Compression::default());
    let mut builder = Builder::new(gzip);
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(mode);
    header.set_size(content.len() as u64);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    builder.append_data(&mut header, name, content)?;
    builder.into_inner()?.finish()
}

/// Expands a gzip stream completely, to at most `limit` bytes. Data without gzip's magic number is
/// returned as it is.
///
/// # Errors
/// Fails if the stream is broken, expands to more than `limit` bytes, or is followed by other data.
pub fn expand(bytes: &[u8], limit: u64) -> Result<Vec<u8>, ArchiveError> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return if bytes.len() as u64 > limit {
            Err(ArchiveError::TooLarge(limit))
        } else {
            Ok(bytes.to_vec())
        };
    }
    let mut decoder = flate2::bufread::GzDecoder::new(bytes);
    let mut expanded = Vec::new();
    (&mut decoder)
        .take(limit + 1)
        .read_to_end(&mut expanded)
        .map_err(ArchiveError::Broken)?;
    if expanded.len() as u64 > limit {
        return Err(ArchiveError::TooLarge(limit));
    }
    if decoder.into_inner().is_empty() {
        Ok(expanded)
    } else {
        Err(ArchiveError::Trailing)
    }
}

/// Returns the regular files of a tar in archive order; names have no leading `./`.
///
/// # Errors
/// Fails if the tar is broken, exceeds a limit, or has a member whose name or type is not allowed.
pub fn files(
    bytes: &[u8],
    limits: ArchiveLimits,
    links: SymlinkPolicy,
) -> Result<Vec<(String, Vec<u8>)>, ArchiveError> {
    let mut archive = tar::Archive::new(bytes);
    let mut files = Vec::new();
    let mut remaining = limits.bytes;
    for (count, entry) in archive.entries().map_err(ArchiveError::Broken)?.enumerate() {
        if count >= limits.entries {
            return Err(ArchiveError::TooMany(limits.entries));
        }
        let mut entry = entry.map_err(ArchiveError::Broken)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let kind = match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous => None,
            EntryType::Directory | EntryType::XGlobalHeader => {
                check_name(&name)?;
                continue;
            }
            EntryType::Symlink if links == SymlinkPolicy::Skip => continue,
            EntryType::Symlink => Some("symbolic link"),
            EntryType::Link => Some("hard link"),
            EntryType::Char | EntryType::Block => Some("device"),
            EntryType::Fifo => Some("fifo"),
            _ => Some("member of unknown type"),
        };
        if let Some(kind) = kind {
            return Err(ArchiveError::Special { name, kind });
        }
        check_name(&name)?;
        let mut content = Vec::new();
        let size = entry.size();
        (&mut entry)
            .take(remaining + 1)
            .read_to_end(&mut content)
            .map_err(ArchiveError::Broken)?;
        remaining = remaining
            .checked_sub(content.len() as u64)
            .ok_or(ArchiveError::TooLarge(limits.bytes))?;
        if content.len() as u64 != size {
            return Err(ArchiveError::Broken(io::ErrorKind::UnexpectedEof.into()));
        }
        files.push((name.trim_start_matches("./").to_owned(), content));
    }
    Ok(files)
}

fn check_name(name: &str) -> Result<(), ArchiveError> {
    let leaves = name.starts_with('/')
        || name.contains('\\')
        || name.contains('\0')
        || name.split('/').any(|p| p == "..");
    if name.is_empty() || leaves {
        Err(ArchiveError::Name(name.to_owned()))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_content_gives_equal_bytes_that_read_back() {
        let packed = pack("all.yaml", b"a: 1\n", 0o600).unwrap();
        assert_eq!(packed, pack("all.yaml", b"a: 1\n", 0o600).unwrap());
        let tar = expand(&packed, 1 << 20).unwrap();
        let read = files(&tar, ArchiveLimits::default(), SymlinkPolicy::Refuse).unwrap();
        assert_eq!(read, [("all.yaml".to_owned(), b"a: 1\n".to_vec())]);
    }

    #[test]
    fn a_bomb_is_refused_before_it_expands() {
        let packed = pack("all.yaml", &vec![0; 1 << 20], 0o600).unwrap();
        assert!(matches!(
            expand(&packed, 1 << 16),
            Err(ArchiveError::TooLarge(_))
        ));
    }

    #[test]
    fn bytes_after_the_compressed_stream_are_refused() {
        let mut packed = pack("all.yaml", b"a", 0o600).unwrap();
        packed.extend(b"x");
        assert!(matches!(
            expand(&packed, 1 << 20),
            Err(ArchiveError::Trailing)
        ));
    }
}
