//! Submodules: which repositories a commit refers to, their addresses, and where their files go.
//!
//! No program runs inside a checkout. Names and addresses come from git's own parser, applied to
//! the commit's `.gitmodules`; paths come from the commit's tree (its *gitlinks*). Each submodule
//! is fetched as a separate repository, under the same rules as the one that refers to it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::{GitError, Location, LocationError, Policy};

/// An entry of `.gitmodules`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SubmoduleEntry {
    pub path: String,
    pub url: String,
    /// True if the submodule is not to be fetched (`update = none`).
    pub is_skipped: bool,
}

/// Parses the output of `git config --null --list` for a `.gitmodules`. As in git, the last of
/// several values counts.
pub(super) fn parse(text: &[u8]) -> Vec<SubmoduleEntry> {
    let text = String::from_utf8_lossy(text);
    let mut modules: HashMap<&str, SubmoduleEntry> = HashMap::new();
    for entry in text.split('\0') {
        let (key, value) = entry.split_once('\n').unwrap_or((entry, ""));
        let named = key
            .strip_prefix("submodule.")
            .and_then(|rest| rest.rsplit_once('.'));
        let Some((name, variable)) = named else {
            continue;
        };
        let module = modules.entry(name).or_default();
        match variable {
            "path" => value.clone_into(&mut module.path),
            "url" => value.clone_into(&mut module.url),
            "update" => module.is_skipped = value == "none",
            _ => {}
        }
    }
    modules.into_values().collect()
}

/// Resolves the address of a submodule. One that begins with `./` or `../` is relative to the
/// repository that refers to it (gitsubmodules, gitmodules(5)).
///
/// # Errors
/// Fails if the address is not allowed, or leads out of its server.
pub(super) fn resolve_url(
    url: &str,
    from: &Location,
    policy: &Policy,
) -> Result<Location, LocationError> {
    if !url.starts_with("./") && !url.starts_with("../") {
        return Location::parse(url, policy);
    }
    let mut base = from.url().trim_end_matches('/');
    let root = base.find("://").map_or(0, |at| at + 3);
    let mut rest = url;
    loop {
        if let Some(next) = rest.strip_prefix("./") {
            rest = next;
        } else if let Some(next) = rest.strip_prefix("../") {
            rest = next;
            let end = base.rfind('/').filter(|end| *end > root);
            let end = end.ok_or(LocationError::Malformed(
                "it leads out of the server's root",
            ))?;
            base = base.get(..end).unwrap_or_default();
        } else {
            break;
        }
    }
    let rest = rest.trim_end_matches('/');
    Location::parse(
        &if rest.is_empty() {
            base.to_owned()
        } else {
            format!("{base}/{rest}")
        },
        policy,
    )
}

/// Returns the empty directory that a checkout has created for a submodule.
///
/// # Errors
/// [`GitError::Path`] if a part of its path is not a real directory.
pub(super) fn directory(tree: &Path, path: &str, location: &Location) -> Result<PathBuf, GitError> {
    let mut directory = tree.to_owned();
    for part in path.split('/') {
        directory.push(part);
        if !directory
            .symlink_metadata()
            .is_ok_and(|found| found.is_dir())
        {
            return Err(GitError::Path {
                location: location.to_string(),
                path: path.to_owned(),
            });
        }
    }
    Ok(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_counts() {
        let text = [
            "submodule.a.path\nevil",
            "submodule.a.path\nlib",
            "submodule.a.url\n../x",
            "submodule.b.c.update\nnone",
            "other\0",
        ]
        .join("\0");
        let mut modules = parse(text.as_bytes());
        modules.sort_by(|a, b| b.path.cmp(&a.path));
        assert_eq!(
            modules[0],
            SubmoduleEntry {
                path: "lib".into(),
                url: "../x".into(),
                is_skipped: false
            }
        );
        assert!(modules[1].is_skipped);
    }

    #[test]
    fn relative_addresses_count_from_the_repository() {
        let policy = Policy::default();
        let from = Location::parse("https://git.example.com/a/b.git", &policy).unwrap();
        let located =
            |url: &str| resolve_url(url, &from, &policy).map(|location| location.url().to_owned());
        assert_eq!(
            located("../c.git").unwrap(),
            "https://git.example.com/a/c.git"
        );
        assert_eq!(located("../../x/c").unwrap(), "https://git.example.com/x/c");
        assert_eq!(located("./").unwrap(), "https://git.example.com/a/b.git");
        assert_eq!(
            located("./sub").unwrap(),
            "https://git.example.com/a/b.git/sub"
        );
        assert_eq!(located("ssh://git@h/x").unwrap(), "ssh://git@h/x");
        assert!(located("../../../x").is_err());
        assert!(located("/etc").is_err() && located("file:///etc").is_err());
        let scp = Location::parse("git@git.example.com:a/b.git", &policy).unwrap();
        assert_eq!(
            resolve_url("../c", &scp, &policy).unwrap().url(),
            "ssh://git@git.example.com/a/c"
        );
    }
}
