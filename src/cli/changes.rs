//! Formats a changeset for people.

use super::escape_control;
use crate::plan::changeset::{ChangeKind, DiffEntry, ResourceDiff};

/// Formats one object: the sign of its change and its name, then its fields or lines, indented. The
/// old and the new value of a field share one line.
pub fn text(diff: &ResourceDiff) -> String {
    let (sign_of_object, mut entries) = match diff.entries.split_first() {
        Some((_, rest)) if diff.is_recreated() => ("-/+".to_owned(), rest),
        _ => (sign(diff.change).to_string(), diff.entries.as_slice()),
    };
    let mut text = format!("{sign_of_object} {}", diff.subject());
    if let Some(error) = &diff.error {
        text.push_str(&format!(": {error}"));
    }
    text.push('\n');
    while let Some((first, rest)) = entries.split_first() {
        entries = rest;
        if let (Some(path), Some(len)) = (&first.path, hunks(first, rest)) {
            let (lines, after) = rest.split_at(len);
            text.push_str(&format!("    ~ {path}:\n"));
            for line in std::iter::once(first).chain(lines) {
                text.push_str(&format!("      {}\n", hunk_line(line)));
            }
            entries = after;
            continue;
        }
        match (&first.path, rest) {
            (Some(path), [second, after @ ..])
                if is_pair(first, second) && !is_pair(second, after.first().unwrap_or(first)) =>
            {
                text.push_str(&format!(
                    "    ~ {path}: {} -> {}\n",
                    payload(first),
                    payload(second)
                ));
                entries = after;
            }
            (Some(path), _) => text.push_str(&format!(
                "    {} {path}: {}\n",
                sign(first.change),
                payload(first)
            )),
            (None, _) if first.payload.is_none() => {}
            (None, _) => text.push_str(&format!("    {} {}\n", sign(first.change), payload(first))),
        }
    }
    escape_control(&text).into_owned()
}

/// Returns how many of the entries that follow are of the same field, if they show the changed
/// lines of a long text: then some lines are unchanged.
fn hunks(first: &DiffEntry, rest: &[DiffEntry]) -> Option<usize> {
    let is_same = |entry: &&DiffEntry| entry.path == first.path;
    let len = rest.iter().take_while(is_same).count();
    let mut all = std::iter::once(first).chain(rest.iter().take(len));
    all.any(|entry| entry.change == ChangeKind::Unchanged)
        .then_some(len)
}

fn hunk_line(entry: &DiffEntry) -> String {
    let text = entry.payload.as_deref().unwrap_or_default();
    match entry.change {
        ChangeKind::Unchanged => format!("  {text}"),
        change => format!("{} {text}", sign(change)),
    }
}

/// Returns true if the entries are the old and the new value of one field.
fn is_pair(first: &DiffEntry, second: &DiffEntry) -> bool {
    first.path == second.path
        && (first.change, second.change) == (ChangeKind::Removed, ChangeKind::Added)
}

fn payload(entry: &DiffEntry) -> &str {
    entry.payload.as_deref().unwrap_or("\"\"")
}

fn sign(change: ChangeKind) -> char {
    match change {
        ChangeKind::Unchanged => '=',
        ChangeKind::Removed => '-',
        ChangeKind::Added => '+',
        ChangeKind::Modified => '~',
        ChangeKind::Error => '!',
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_that_changed_takes_one_line() {
        let entry = |path: &str, change: u8, payload: &str| json!({"path": path, "type": change, "payload": payload});
        let diff = json!({
            "_version": "2", "name": "web", "namespace": "shop", "kind": "Deployment", "api": "apps/v1",
            "resource": "deployments", "op": "apply", "type": 3,
            "entries": [entry("spec.replicas", 1, "2"), entry("spec.replicas", 2, "3"), entry("spec.paused", 2, "true")],
        });
        assert_eq!(
            text(&serde_json::from_value(diff).unwrap()),
            "~ Deployment/shop/web\n    ~ spec.replicas: 2 -> 3\n    + spec.paused: true\n"
        );
    }
}
