//! Differences to the lines of a changeset (protocol, section 6.2).

use serde_json::Value;

use super::diff::{Difference, compare, essence};
use super::discovery::Resource;
use super::mask;
use crate::manifest::Object;
use crate::plan::changeset::{Change, DiffEntry, Op, ResourceDiff};
use crate::yaml::emit::emit;

/// What becomes of one object, masked, line by line.
pub(super) fn resource_diff(
    resource: Option<&Resource>,
    op: Op,
    before: Option<&Object>,
    after: Option<&Object>,
    dry_run: bool,
) -> ResourceDiff {
    let (shown_before, shown_after) = mask::pair(before, after);
    let (change, entries) = match (&shown_before, &shown_after) {
        (Some(before), Some(after)) => {
            let differences = compare(before, after);
            let change = if differences.is_empty() { Change::Unchanged } else { Change::Modified };
            (change, differences.iter().flat_map(modified).collect())
        }
        (None, Some(after)) => (Change::Added, whole(Change::Added, after)),
        (Some(before), None) => (Change::Removed, whole(Change::Removed, before)),
        (None, None) => (Change::Unchanged, Vec::new()),
    };
    ResourceDiff { change, entries, ..blank(resource, op, after.or(before), dry_run) }
}

/// An object that something went wrong with.
pub(super) fn failed(
    resource: Option<&Resource>,
    op: Op,
    object: &Object,
    error: String,
    dry_run: bool,
) -> ResourceDiff {
    ResourceDiff { change: Change::Error, error: Some(error), ..blank(resource, op, Some(object), dry_run) }
}

fn blank(resource: Option<&Resource>, op: Op, object: Option<&Object>, dry_run: bool) -> ResourceDiff {
    let text = |get: fn(&Object) -> &str| object.map(get).unwrap_or_default().to_owned();
    let api = object.map(|object| format!("{}/{}", object.group(), object.version()));
    ResourceDiff {
        version: "2".into(),
        name: text(Object::name),
        namespace: text(Object::namespace),
        kind: text(Object::kind),
        api: api.unwrap_or_default(),
        resource: resource.map(|resource| resource.api.plural.clone()).unwrap_or_default(),
        op,
        change: Change::Unchanged,
        error: None,
        dry_run,
        entries: Vec::new(),
    }
}

/// A first entry with only the kind of change, then every line of the object.
fn whole(change: Change, object: &Object) -> Vec<DiffEntry> {
    let first = DiffEntry { path: None, change, payload: None };
    let text = emit(&Value::Object(essence(object))).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.is_empty());
    let lines = lines.map(|line| DiffEntry { path: None, change, payload: Some(line.to_owned()) });
    std::iter::once(first).chain(lines).collect()
}

/// The lines of the value before, then those of the value after, each with the path.
fn modified(difference: &Difference) -> Vec<DiffEntry> {
    let sides = [(Change::Removed, &difference.before), (Change::Added, &difference.after)];
    let mut entries = Vec::new();
    for (change, value) in sides {
        let Some(value) = value else { continue };
        let text = match value {
            Value::String(text) if !text.contains('\n') => text.clone(),
            value => emit(value).unwrap_or_default(),
        };
        entries.extend(text.lines().filter(|line| !line.is_empty()).map(|line| DiffEntry {
            path: Some(difference.path.clone()),
            change,
            payload: Some(line.to_owned()),
        }));
    }
    entries
}
