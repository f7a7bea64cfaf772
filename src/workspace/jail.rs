//! Reads of a source tree that cannot leave it.
//!
//! Every open is relative to the handle of the tree's root and is checked by the kernel (`openat2`
//! with `RESOLVE_BENEATH` and no magic links, Linux 5.6). `..`, absolute names and symbolic links
//! that point outside are refused, even if the tree changes concurrently. A link that stays inside
//! is followed. No other code opens files of a source.

use std::io::Read as _;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Why something in a tree could not be read. "Forbidden" and "missing" are the same error, so that
/// a source cannot probe what exists outside of it.
#[derive(Debug, thiserror::Error)]
pub enum JailError {
    /// The path does not exist, or leads out of the tree.
    #[error("{0} does not exist inside the source")]
    NotInside(String),
    /// The path is not of the requested kind.
    #[error("{0} is not a regular file or directory")]
    WrongKind(String),
    /// The file is larger than the limit.
    #[error("{path} is larger than {limit} bytes")]
    TooLarge {
        /// Path in the tree.
        path: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// The operating system returned another error.
    #[error("cannot read {path}")]
    Io {
        /// Path in the tree.
        path: String,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
}

/// Kind of a path, after following links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
}

/// A source tree, held by the handle of its root.
#[derive(Debug)]
pub struct Jail {
    root: OwnedFd,
}

impl Jail {
    /// Opens the tree at `root`. That path itself is trusted.
    ///
    /// # Errors
    /// [`JailError::Io`] if it is not a directory that can be opened.
    pub fn open(root: &Path) -> Result<Self, JailError> {
        rustix::fs::openat(
            CWD,
            root,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map(|root| Self { root })
        .map_err(|errno| JailError::Io {
            path: root.display().to_string(),
            source: errno.into(),
        })
    }

    /// Returns the kind of `path`. Links that stay inside are followed.
    ///
    /// # Errors
    /// Fails if `path` does not exist inside the tree, or is neither a regular file nor a
    /// directory.
    pub fn kind(&self, path: &str) -> Result<FileKind, JailError> {
        let handle = self.open_beneath(path, OFlags::PATH)?;
        let stat = rustix::fs::fstat(&handle).map_err(|errno| error_for(path, errno))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(FileKind::File),
            FileType::Directory => Ok(FileKind::Directory),
            _ => Err(JailError::WrongKind(path.to_owned())),
        }
    }

    /// Returns the path of a file or directory in the tree after all links are followed.
    ///
    /// # Errors
    /// Fails if `path` does not exist inside the tree.
    pub fn real_path(&self, path: &str) -> Result<String, JailError> {
        let resolved =
            |handle: &OwnedFd| std::fs::read_link(format!("/proc/self/fd/{}", handle.as_raw_fd()));
        let io = |source| JailError::Io {
            path: path.to_owned(),
            source,
        };
        let root = resolved(&self.root).map_err(io)?;
        let place = resolved(&self.open_beneath(path, OFlags::PATH)?).map_err(io)?;
        let inside = place.strip_prefix(root);
        let inside = inside.map_err(|_| JailError::NotInside(path.to_owned()))?;
        Ok(inside.to_string_lossy().into_owned())
    }

    /// Reads a regular file of at most `limit` bytes.
    ///
    /// # Errors
    /// Fails if `path` does not exist inside the tree, is not a regular file, or is larger than
    /// `limit`.
    pub fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, JailError> {
        // Checked before opening: opening a FIFO or a device can have side effects.
        if self.kind(path)? != FileKind::File {
            return Err(JailError::WrongKind(path.to_owned()));
        }
        let handle = self.open_beneath(path, OFlags::RDONLY | OFlags::NONBLOCK)?;
        let mut content = Vec::new();
        std::fs::File::from(handle)
            .take(limit + 1)
            .read_to_end(&mut content)
            .map_err(|source| JailError::Io {
                path: path.to_owned(),
                source,
            })?;
        if content.len() as u64 > limit {
            return Err(JailError::TooLarge {
                path: path.to_owned(),
                limit,
            });
        }
        Ok(content)
    }

    /// Returns the names in a directory, sorted, without `.` and `..`.
    ///
    /// # Errors
    /// Fails if `path` is not a directory inside the tree.
    pub fn list(&self, path: &str) -> Result<Vec<String>, JailError> {
        let handle = self.open_beneath(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut names = Vec::new();
        for entry in Dir::read_from(&handle).map_err(|errno| error_for(path, errno))? {
            let entry = entry.map_err(|errno| error_for(path, errno))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn open_beneath(&self, path: &str, flags: OFlags) -> Result<OwnedFd, JailError> {
        let path = if path.is_empty() { "." } else { path };
        let flags = flags | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&self.root, path, flags, Mode::empty(), resolve)
            .map_err(|errno| error_for(path, errno))
    }
}

fn error_for(path: &str, errno: Errno) -> JailError {
    match errno {
        Errno::NOENT | Errno::XDEV | Errno::LOOP | Errno::NOTDIR | Errno::ACCESS | Errno::INVAL => {
            JailError::NotInside(path.to_owned())
        }
        errno => JailError::Io {
            path: path.to_owned(),
            source: errno.into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn tree() -> (tempfile::TempDir, Jail) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("outside"), "no").unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir_all(root.join("sub")).unwrap();
        std::fs::write(root.join("sub/file"), "yes").unwrap();
        symlink("sub/file", root.join("inner")).unwrap();
        symlink("../outside", root.join("outer")).unwrap();
        symlink("/etc/passwd", root.join("absolute")).unwrap();
        symlink("..", root.join("sub/up")).unwrap();
        let jail = Jail::open(&root).unwrap();
        (dir, jail)
    }

    #[test]
    fn links_inside_are_followed_and_links_outside_are_refused() {
        let (_dir, jail) = tree();
        assert_eq!(jail.read("inner", 10).unwrap(), b"yes");
        assert_eq!(jail.read("sub/up/sub/file", 10).unwrap(), b"yes");
        for (path, real) in [
            ("inner", "sub/file"),
            ("sub/up/inner", "sub/file"),
            ("sub/up", ""),
            ("", ""),
        ] {
            assert_eq!(jail.real_path(path).unwrap(), real);
        }
        jail.real_path("outer").unwrap_err();
        for outside in [
            "outer",
            "absolute",
            "../outside",
            "/etc/passwd",
            "sub/up/../outside",
            "missing",
        ] {
            assert!(
                matches!(jail.read(outside, 10), Err(JailError::NotInside(_))),
                "{outside}"
            );
        }
    }

    #[test]
    fn a_file_over_the_limit_is_refused() {
        let (_dir, jail) = tree();
        assert!(matches!(
            jail.read("inner", 2),
            Err(JailError::TooLarge { .. })
        ));
    }

    #[test]
    fn a_fifo_is_neither_read_nor_waited_for() {
        let (dir, jail) = tree();
        let status = std::process::Command::new("mkfifo")
            .arg(dir.path().join("root/pipe"))
            .status()
            .unwrap();
        assert!(status.success());
        assert!(matches!(
            jail.read("pipe", 10),
            Err(JailError::WrongKind(_))
        ));
    }

    #[test]
    fn a_listing_is_sorted() {
        let (_dir, jail) = tree();
        assert_eq!(
            jail.list("").unwrap(),
            ["absolute", "inner", "outer", "sub"]
        );
    }
}
