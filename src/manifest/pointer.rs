//! JSON pointers (RFC 6901).

/// Returns the pointer to a member, from the keys that lead to it.
pub fn join(keys: &[&str]) -> String {
    keys.iter()
        .map(|key| format!("/{}", key.replace('~', "~0").replace('/', "~1")))
        .collect()
}

/// Returns the key that one step of a pointer means.
pub fn unescape(step: &str) -> String {
    step.replace("~1", "/").replace("~0", "~")
}
