//! Slash-separated paths inside a source tree.

/// Joins a relative path to a directory and removes `.` and `..`. Returns none if the result leaves
/// the tree or the path is absolute.
pub(crate) fn join(directory: &str, path: &str) -> Option<String> {
    if path.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = directory
        .split('/')
        .filter(|part| !part.is_empty())
        .collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Returns a path that is relative to the directory of `file`, for messages. Unlike [`join`] it may
/// leave the tree, because the file may have been written as `../a/b`.
pub(crate) fn beside(file: &str, path: &str) -> String {
    let mut parts: Vec<&str> = file.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match (part, parts.last()) {
            ("" | ".", _) => {}
            ("..", Some(last)) if !matches!(*last, "" | "..") => drop(parts.pop()),
            (part, _) => parts.push(part),
        }
    }
    parts.join("/")
}

/// Returns the last part of a path.
pub(crate) fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Returns true if `path` is `directory` or below it.
pub(crate) fn is_below(path: &str, directory: &str) -> bool {
    directory.is_empty()
        || path == directory
        || path
            .strip_prefix(directory)
            .is_some_and(|rest| rest.starts_with('/'))
}

/// Returns true if a name is an HTTP or HTTPS URL.
pub(crate) fn is_http_url(name: &str) -> bool {
    ["http://", "https://"].into_iter().any(|scheme| {
        name.split_at_checked(scheme.len())
            .is_some_and(|(head, _)| head.eq_ignore_ascii_case(scheme))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_leaves_the_tree() {
        assert_eq!(join("a/b", "../c/./d").as_deref(), Some("a/c/d"));
        assert_eq!(join("a", "..").as_deref(), Some(""));
        assert_eq!(join("a", "../.."), None);
        assert_eq!(join("a", "/etc"), None);
        assert_eq!(beside("a/k.yaml", "../b/./c"), "b/c");
        assert_eq!(beside("../a/k.yaml", "../../b"), "../../b");
        assert_eq!(beside("/tmp/a/k.yaml", "p.yaml"), "/tmp/a/p.yaml");
        assert_eq!(beside("k.yaml", "p.yaml"), "p.yaml");
        assert_eq!(beside("https://h/r//a/k.yaml", "p"), "https://h/r//a/p");
        assert!(is_below("a/b", "a") && !is_below("ab", "a") && is_below("x", ""));
    }
}
