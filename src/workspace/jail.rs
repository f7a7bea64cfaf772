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

use crate::base::error::plain;

/// A path of a tree that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{path} {reason}")]
pub struct JailError {
    /// Path in the tree.
    pub path: String,
    /// Why, as the rest of a sentence about the path.
    pub reason: JailReason,
}

/// Why a path of a tree cannot be read. Nothing tells whether something exists outside of the tree.
#[derive(Debug, thiserror::Error)]
pub enum JailReason {
    /// The path does not exist, or leads out of the tree.
    #[error("does not exist inside the source")]
    NotInside,
    /// The path, or a directory of it, is a link to this path above the root, or to an absolute path.
    #[error("is a link to {0}{why}", why = why_not_followed(.0))]
    LinkOut(String),
    /// The path, or a directory of it, is a link to this path, which does not exist, or which leads
    /// back to it.
    #[error("is a link to {0}, which does not exist")]
    LinkToNothing(String),
    /// The permissions of the file, or of a directory of it, do not allow it.
    #[error("cannot be read: permission denied")]
    Denied,
    /// The path is a directory, where a file is wanted.
    #[error("is a directory, not a file")]
    Directory,
    /// The path is not of the requested kind.
    #[error("is not a regular file or directory")]
    WrongKind,
    /// The file is larger than this limit in bytes.
    #[error("is larger than {0} bytes")]
    TooLarge(u64),
    /// The operating system returned another error.
    #[error("cannot be read: {}", plain(.0))]
    Io(std::io::Error),
}

fn why_not_followed(target: &str) -> &'static str {
    match target.starts_with('/') {
        true => "; only relative links inside of the source are followed",
        false => ", outside of the source",
    }
}

impl JailReason {
    fn of(self, path: &str) -> JailError {
        JailError {
            path: path.to_owned(),
            reason: self,
        }
    }
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
    /// [`JailReason::Io`] if it is not a directory that can be opened.
    pub fn open(root: &Path) -> Result<Self, JailError> {
        rustix::fs::openat(
            CWD,
            root,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map(|root| Self { root })
        .map_err(|errno| JailReason::Io(errno.into()).of(&root.display().to_string()))
    }

    /// Returns the kind of `path`. Links that stay inside are followed.
    ///
    /// # Errors
    /// Fails if `path` does not exist inside the tree, or is neither a regular file nor a
    /// directory.
    pub fn kind(&self, path: &str) -> Result<FileKind, JailError> {
        let handle = self.open_beneath(path, OFlags::PATH)?;
        let stat = rustix::fs::fstat(&handle).map_err(|errno| io(path, errno))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(FileKind::File),
            FileType::Directory => Ok(FileKind::Directory),
            _ => Err(JailReason::WrongKind.of(path)),
        }
    }

    /// Returns the path of a file or directory in the tree after all links are followed.
    ///
    /// # Errors
    /// Fails if `path` does not exist inside the tree.
    pub fn real_path(&self, path: &str) -> Result<String, JailError> {
        let resolved =
            |handle: &OwnedFd| std::fs::read_link(format!("/proc/self/fd/{}", handle.as_raw_fd()));
        let failed = |error| JailReason::Io(error).of(path);
        let root = resolved(&self.root).map_err(failed)?;
        let place = resolved(&self.open_beneath(path, OFlags::PATH)?).map_err(failed)?;
        let inside = place.strip_prefix(root);
        let inside = inside.map_err(|_| JailReason::NotInside.of(path))?;
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
            return Err(JailReason::Directory.of(path));
        }
        let handle = self.open_beneath(path, OFlags::RDONLY | OFlags::NONBLOCK)?;
        let mut content = Vec::new();
        std::fs::File::from(handle)
            .take(limit + 1)
            .read_to_end(&mut content)
            .map_err(|error| JailReason::Io(error).of(path))?;
        if content.len() as u64 > limit {
            return Err(JailReason::TooLarge(limit).of(path));
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
        for entry in Dir::read_from(&handle).map_err(|errno| io(path, errno))? {
            let entry = entry.map_err(|errno| io(path, errno))?;
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
        self.open_at(path, flags).map_err(|errno| match errno {
            Errno::ACCESS => JailReason::Denied.of(path),
            Errno::NOENT | Errno::XDEV | Errno::LOOP | Errno::NOTDIR | Errno::INVAL => {
                self.why_missing(path).of(path)
            }
            errno => io(path, errno),
        })
    }

    fn open_at(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&self.root, path, flags, Mode::empty(), resolve)
    }

    /// Returns why a path cannot be followed: the first link on it that leads out of the tree or to
    /// nothing is the reason.
    fn why_missing(&self, path: &str) -> JailReason {
        let ends = path.match_indices('/').map(|(at, _)| at);
        let parts = ends.chain([path.len()]).filter_map(|end| path.get(..end));
        for part in parts.filter(|part| !part.is_empty()) {
            let Err(errno) = self.open_at(part, OFlags::PATH) else {
                continue;
            };
            let link = self.open_at(part, OFlags::PATH | OFlags::NOFOLLOW);
            let target = link.and_then(|link| rustix::fs::readlinkat(link, "", Vec::new()));
            return match target {
                Ok(target) if errno == Errno::XDEV => JailReason::LinkOut(text(&target)),
                Ok(target) => JailReason::LinkToNothing(text(&target)),
                Err(_) => JailReason::NotInside,
            };
        }
        JailReason::NotInside
    }
}

fn text(target: &std::ffi::CStr) -> String {
    target.to_string_lossy().into_owned()
}

fn io(path: &str, errno: Errno) -> JailError {
    JailReason::Io(errno.into()).of(path)
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
        symlink("missing", root.join("nothing")).unwrap();
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
        for (link, why) in [
            ("outer", "../outside, outside of the source"),
            (
                "absolute",
                "/etc/passwd; only relative links inside of the source are followed",
            ),
        ] {
            let error = jail.read(link, 10).unwrap_err().to_string();
            assert_eq!(error, format!("{link} is a link to {why}"));
        }
        let error = jail.kind("nothing/file").unwrap_err().to_string();
        assert_eq!(
            error,
            "nothing/file is a link to missing, which does not exist"
        );
        for outside in ["../outside", "/etc/passwd", "sub/up/../outside", "missing"] {
            let reason = jail.read(outside, 10).unwrap_err().reason;
            assert!(matches!(reason, JailReason::NotInside), "{outside}");
        }
    }

    #[test]
    fn a_file_over_the_limit_is_refused() {
        let (_dir, jail) = tree();
        let reason = jail.read("inner", 2).unwrap_err().reason;
        assert!(matches!(reason, JailReason::TooLarge(2)));
    }

    #[test]
    fn a_fifo_is_neither_read_nor_waited_for() {
        let (dir, jail) = tree();
        let status = std::process::Command::new("mkfifo")
            .arg(dir.path().join("root/pipe"))
            .status()
            .unwrap();
        assert!(status.success());
        let reason = jail.read("pipe", 10).unwrap_err().reason;
        assert!(matches!(reason, JailReason::WrongKind));
    }

    #[test]
    fn a_listing_is_sorted() {
        let (_dir, jail) = tree();
        assert_eq!(
            jail.list("").unwrap(),
            ["absolute", "inner", "nothing", "outer", "sub"]
        );
    }
}
