//! Lists the files of a commit, and checks them before any of them is written.

use super::{GitError, Location};

/// Disk space that a checkout may still use, shared by a repository and its submodules.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    /// Number of files, links and directories.
    pub entries: u64,
    /// Bytes, counted in blocks of the file system.
    pub bytes: u64,
}

/// Bytes of one block: the minimum size of a file or directory on disk.
pub(super) const BLOCK: u64 = 4096;

/// Maximum length of a path in a work tree, in bytes.
const MAX_PATH: usize = 3000;

/// The parts of a listing that later steps need.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Listing {
    /// Path and commit of each submodule.
    pub gitlinks: Vec<(String, String)>,
    /// True if `.gitmodules` is a regular file.
    pub has_modules: bool,
}

/// Parses the output of `git ls-tree -r -t -l -z`, and subtracts the size of each entry from the
/// budget.
///
/// # Errors
/// Fails if the budget is exceeded or a path is not allowed.
pub(super) fn parse(
    text: &[u8],
    location: &Location,
    budget: &mut Budget,
    limit: Budget,
) -> Result<Listing, GitError> {
    let mut listing = Listing::default();
    for entry in text
        .split(|byte| *byte == 0)
        .filter(|entry| !entry.is_empty())
    {
        let entry = String::from_utf8_lossy(entry);
        let path_error = || GitError::Path {
            location: location.to_string(),
            path: entry.chars().take(200).collect(),
        };
        let (head, path) = entry.split_once('\t').ok_or_else(path_error)?;
        let mut fields = head.split_ascii_whitespace();
        let (mode, _, id, size) = (
            fields.next(),
            fields.next(),
            fields.next().unwrap_or_default(),
            fields.next().unwrap_or_default(),
        );
        if !is_allowed_path(path) {
            return Err(path_error());
        }
        let size: u64 = size.parse().unwrap_or(0);
        let taken = size.max(1).div_ceil(BLOCK).saturating_mul(BLOCK);
        match (
            budget.entries.checked_sub(1),
            budget.bytes.checked_sub(taken),
        ) {
            (Some(entries), Some(bytes)) => *budget = Budget { entries, bytes },
            (None, _) => {
                return Err(GitError::TooMany {
                    location: location.to_string(),
                    limit: limit.entries,
                });
            }
            (_, None) => {
                return Err(GitError::TooLarge {
                    location: location.to_string(),
                    limit: limit.bytes,
                });
            }
        }
        match mode {
            Some("160000") => listing.gitlinks.push((path.to_owned(), id.to_owned())),
            Some("100644" | "100755") if path == ".gitmodules" => listing.has_modules = true,
            _ => {}
        }
    }
    Ok(listing)
}

/// Returns true for a relative path that stays inside its directory and has no part named `.git`.
fn is_allowed_path(path: &str) -> bool {
    path.len() <= MAX_PATH
        && path
            .split('/')
            .all(|part| !matches!(part, "" | "." | "..") && !part.eq_ignore_ascii_case(".git"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::git::Policy;

    fn listed(text: &str, entries: u64, bytes: u64) -> Result<Listing, GitError> {
        let location = Location::parse("https://git.example.com/a", &Policy::default()).unwrap();
        let limit = Budget { entries, bytes };
        parse(
            text.replace(';', "\0").as_bytes(),
            &location,
            &mut limit.clone(),
            limit,
        )
    }

    #[test]
    fn a_listing_is_counted_in_entries_and_blocks() {
        let text = "100644 blob aa       5\t.gitmodules;040000 tree bb       -\td;160000 commit \
                    cc       -\td/sub;";
        let listing = listed(text, 3, 3 * BLOCK).unwrap();
        assert_eq!(
            listing,
            Listing {
                gitlinks: vec![("d/sub".into(), "cc".into())],
                has_modules: true
            }
        );
        assert!(matches!(
            listed(text, 2, 1 << 20),
            Err(GitError::TooMany { .. })
        ));
        assert!(matches!(
            listed(text, 3, 2 * BLOCK),
            Err(GitError::TooLarge { .. })
        ));
    }

    #[test]
    fn paths_that_are_none_are_refused() {
        for path in [
            "../x",
            "a/../b",
            "/x",
            "a//b",
            ".git/config",
            "a/.GIT/hooks/x",
            "./x",
            "",
        ] {
            let refused = listed(&format!("100644 blob aa 1\t{path};"), 10, 1 << 20);
            assert!(matches!(refused, Err(GitError::Path { .. })), "{path}");
        }
    }
}
