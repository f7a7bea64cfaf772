//! Repository URLs in kustomize's grammar: `HOST/ORG/REPO[//PATH |
//! /PATH][?ref=REF&submodules=BOOL&timeout=SECONDS]`.

use std::time::Duration;

/// Time limit for a fetch if the URL has no `timeout`.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(27);

/// A directory in a remote repository.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RemoteRepository {
    /// The URL that git clones.
    pub url: String,
    /// The directory, relative to the root of the repository.
    pub path: String,
    /// A branch, tag or commit; empty for the default branch.
    pub reference: String,
    /// True if submodules are fetched too.
    pub submodules: bool,
    /// Time limit for the fetch.
    pub timeout: Duration,
}

impl RemoteRepository {
    /// Parses a URL. Returns none if the text is not a repository URL.
    pub fn read(text: &str) -> Option<Self> {
        if text.starts_with('/') {
            return None;
        }
        let (address, query) = text.split_once('?').unwrap_or((text, ""));
        let (host, rest) = split_host(address)?;
        let whole_path = host == FILE;
        let (repository, path) = split_repository(&rest, whole_path)?;
        let path = path.trim_start_matches('/');
        let first = path
            .split('/')
            .find(|part| !part.is_empty() && *part != ".");
        if repository.is_empty() || first == Some("..") {
            return None;
        }
        let mut read = Self {
            url: format!("{host}{repository}"),
            path: path.to_owned(),
            reference: String::new(),
            submodules: true,
            timeout: DEFAULT_TIMEOUT,
        };
        read.query(query);
        Some(read)
    }

    fn query(&mut self, query: &str) {
        let pairs: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect();
        let get = |name: &str| {
            let pair = pairs.iter().find(|(key, _)| key == name);
            pair.map(|(_, value)| value.as_str())
                .filter(|value| !value.is_empty())
        };
        self.reference = get("ref")
            .or_else(|| get("version"))
            .unwrap_or_default()
            .to_owned();
        let seconds = get("timeout").and_then(|text| text.trim_end_matches('s').parse().ok());
        self.timeout = seconds
            .filter(|seconds| *seconds > 0)
            .map_or(DEFAULT_TIMEOUT, Duration::from_secs);
        self.submodules = !matches!(
            get("submodules"),
            Some("0" | "f" | "F" | "false" | "FALSE" | "False")
        );
    }
}

const FILE: &str = "file://";

/// Splits a URL into scheme, user and host, and the rest.
fn split_host(address: &str) -> Option<(String, String)> {
    let address = strip_prefix_ignore_case(address, "git::").unwrap_or(address);
    let schemes = ["ssh://", "https://", "http://", FILE];
    let known = schemes
        .into_iter()
        .find_map(|scheme| Some((scheme, strip_prefix_ignore_case(address, scheme)?)));
    let (scheme, rest) = known.unwrap_or(("", address));
    let (user, rest) = match rest.split_once('@') {
        Some((user, rest)) if is_user(user) => (format!("{user}@"), rest),
        _ => (String::new(), rest),
    };
    let lower = rest.to_ascii_lowercase();
    let is_github = lower.starts_with("github.com/") || lower.starts_with("github.com:");
    let is_scp = scheme.is_empty() && (!user.is_empty() || is_github);
    if scheme.is_empty() && !is_scp {
        return None;
    }
    if scheme == FILE {
        return Some((FILE.to_owned(), format!("{user}{rest}")));
    }
    let slash = rest.find('/');
    let colon = rest.find(':').filter(|at| is_scp && *at > 0);
    let end = match (slash, colon) {
        (Some(slash), Some(colon)) => Some(slash.min(colon)),
        (slash, colon) => slash.or(colon),
    }?;
    let (host, path) = rest.split_at_checked(end + 1)?;
    if is_github {
        let by_key = scheme == "ssh://" || !user.is_empty();
        let host = if by_key {
            format!("{user}github.com:")
        } else {
            "https://github.com/".to_owned()
        };
        return Some((host, path.to_owned()));
    }
    Some((format!("{scheme}{user}{host}"), path.to_owned()))
}

fn strip_prefix_ignore_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

fn is_user(text: &str) -> bool {
    let mut letters = text.chars();
    letters
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic())
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '-')
}

/// Splits a path into the repository and the path inside it: at `_git/NAME`, `//` or `.git`,
/// otherwise after two parts, or not at all if `whole_path`.
fn split_repository(text: &str, whole_path: bool) -> Option<(String, String)> {
    if let Some((before, after)) = text.split_once("_git/") {
        let (name, path) = after.split_once('/').unwrap_or((after, ""));
        return Some((format!("{before}_git/{name}"), path.to_owned()));
    }
    if let Some((repository, path)) = text.split_once("//") {
        return Some((repository.to_owned(), path.to_owned()));
    }
    if let Some((before, path)) = text.split_once(".git") {
        return Some((format!("{before}.git"), path.to_owned()));
    }
    if whole_path {
        return Some((text.to_owned(), String::new()));
    }
    let mut segments = text.splitn(3, '/');
    let (organization, name) = (segments.next()?, segments.next()?);
    Some((
        format!("{organization}/{name}"),
        segments.next().unwrap_or_default().to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (String, String, String) {
        let read = RemoteRepository::read(text).unwrap_or_else(|| panic!("{text} is an address"));
        (read.url, read.path, read.reference)
    }

    #[test]
    fn addresses_are_cut_into_repository_path_and_reference() {
        let is = |url: &str, path: &str, reference: &str| {
            (url.to_owned(), path.to_owned(), reference.to_owned())
        };
        assert_eq!(
            read("github.com/o/r/a/b?ref=v1"),
            is("https://github.com/o/r", "a/b", "v1")
        );
        assert_eq!(
            read("git@github.com:o/r.git//a?version=v1"),
            is("git@github.com:o/r.git", "a", "v1")
        );
        assert_eq!(
            read("https://h.test/o/r.git/a?ref=x"),
            is("https://h.test/o/r.git", "a", "x")
        );
        assert_eq!(
            read("https://h.test/x/y/z//a/b"),
            is("https://h.test/x/y/z", "a/b", "")
        );
        assert_eq!(
            read("https://h.test/p/_git/r/a"),
            is("https://h.test/p/_git/r", "a", "")
        );
        assert_eq!(
            read("ssh://git@h.test/o/r"),
            is("ssh://git@h.test/o/r", "", "")
        );
    }

    #[test]
    fn names_of_files_are_no_addresses() {
        for text in [
            "base",
            "../base",
            "/abs",
            "a/b/c",
            "https://h.test/o/r//../x",
            "https://h.test",
        ] {
            assert_eq!(RemoteRepository::read(text), None, "{text}");
        }
    }
}
