//! Renders the changes of an object as the control plane stores and shows them
//! (`docs/wire-contract.md`, changesets): first one entry per field, then one per line.
//!
//! The format of the Go runner ([`DiffFormat::Legacy`]) serves for comparisons with it. The native
//! format differs on purpose:
//!
//! | | legacy | native |
//! |---|---|---|
//! | indexes | `list[[0]]`, `list[[?->2]]` | `list[0]`, `list[2]` |
//! | keys with dots | unquoted; of equal paths the last is kept | quoted |
//! | Secrets, `last-applied` annotations | clear text | `***`, marked as before and after if they differ |
//! | a new object, planned | the server's whole response, with times, IDs and managed fields | without the status and the server's fields |
//! | fields named `status` | never compared, at any depth | compared, except the object's own status |
//! | the namespace | not compared | compared |
//! | absent and null | differ | equal |
//! | multi-line strings | one line of the diff | one line each |
//! | very long objects and lines | whole | truncated, with a note on how much |
//! | an object that an apply left unchanged | modified, without fields | unchanged |
//! | a deletion | the manifest's object | the live object |

use serde_json::{Map, Value};
use similar::{ChangeTag, TextDiff};

use crate::cluster::fields::diff::{DiffFormat, Difference, compare, without_server_fields};
use crate::cluster::fields::{legacy, mask};
use crate::manifest::Object;
use crate::plan::changeset::{ChangeKind, DiffEntry, Op, ResourceDiff};
use crate::yaml::emit::emit;

/// Lines of a long text that are shown around those that differ.
const CONTEXT_LINES: usize = 3;

/// Maximum lines per object.
const MAX_LINES: usize = 1000;

/// Maximum length of a line in bytes. A longer one is cut to a quarter as many characters.
const MAX_LINE_BYTES: usize = 4096;

/// Renders the changes of one object as lines, masked.
pub(crate) fn resource_diff(
    plural: &str,
    op: Op,
    before: Option<&Object>,
    after: Option<&Object>,
    dry_run: bool,
) -> ResourceDiff {
    let (change, fields) = fields(before, after, dry_run, DiffFormat::Native);
    ResourceDiff {
        change,
        entries: lines(change, &fields, DiffFormat::Native),
        ..blank(plural, op, after.or(before), dry_run)
    }
}

/// Returns the diff of an object that does not change.
pub(crate) fn unchanged(plural: &str, object: &Object, dry_run: bool) -> ResourceDiff {
    blank(plural, Op::Apply, Some(object), dry_run)
}

/// Returns the diff of an object whose operation failed.
pub(crate) fn failed(
    plural: &str,
    op: Op,
    object: &Object,
    error: String,
    dry_run: bool,
) -> ResourceDiff {
    ResourceDiff {
        change: ChangeKind::Error,
        error: Some(error),
        ..blank(plural, op, Some(object), dry_run)
    }
}

/// Returns a diff that only identifies its object.
pub(crate) fn blank(plural: &str, op: Op, object: Option<&Object>, dry_run: bool) -> ResourceDiff {
    let text = |get: fn(&Object) -> &str| object.map(get).unwrap_or_default().to_owned();
    ResourceDiff {
        version: "2".into(),
        name: text(Object::name),
        namespace: text(Object::namespace),
        kind: text(Object::kind),
        api: object.map(api).unwrap_or_default(),
        resource: plural.to_owned(),
        op,
        change: ChangeKind::Unchanged,
        error: None,
        dry_run,
        entries: Vec::new(),
    }
}

/// Returns `GROUP/VERSION`; `/v1` for the core group.
pub(crate) fn api(object: &Object) -> String {
    format!("{}/{}", object.group(), object.version())
}

/// Returns the kind of change, and one entry per differing field. An added or removed object is one
/// entry. In the native format Secrets are masked.
// Long: one arm per kind of change.
pub(crate) fn fields(
    before: Option<&Object>,
    after: Option<&Object>,
    dry_run: bool,
    form: DiffFormat,
) -> (ChangeKind, Vec<DiffEntry>) {
    let masked;
    let (before, after) = match form {
        DiffFormat::Native => {
            masked = mask::mask_pair(before, after);
            (masked.0.as_ref(), masked.1.as_ref())
        }
        DiffFormat::Legacy => (before, after),
    };
    let whole = |change, original: Option<Value>, applied: Option<Value>| {
        let [original, applied] = [original, applied].map(|value| value.map(Box::new));
        vec![DiffEntry {
            path: None,
            original,
            applied,
            change,
            payload: None,
        }]
    };
    match (before, after) {
        (Some(before), Some(after)) => {
            let differences = compare(before, after, form);
            let is_modified = !differences.is_empty() || (form == DiffFormat::Legacy && !dry_run);
            let change = if is_modified {
                ChangeKind::Modified
            } else {
                ChangeKind::Unchanged
            };
            (change, differences.into_iter().map(entry).collect())
        }
        (None, Some(after)) if form == DiffFormat::Legacy && dry_run => {
            let applied = Value::Object(after.0.clone());
            (
                ChangeKind::Added,
                whole(ChangeKind::Modified, Some(Value::Null), Some(applied)),
            )
        }
        (None, Some(after)) => {
            let applied = if form == DiffFormat::Legacy {
                without_server_metadata(after)
            } else {
                without_server_fields(after)
            };
            (
                ChangeKind::Added,
                whole(ChangeKind::Added, None, Some(Value::Object(applied))),
            )
        }
        (Some(before), None) => {
            let original = if form == DiffFormat::Legacy {
                before.0.clone()
            } else {
                without_server_fields(before)
            };
            (
                ChangeKind::Removed,
                whole(ChangeKind::Removed, Some(Value::Object(original)), None),
            )
        }
        (None, None) => (ChangeKind::Unchanged, Vec::new()),
    }
}

/// Removes the server's fields, but keeps the status, which the legacy format includes.
fn without_server_metadata(object: &Object) -> Map<String, Value> {
    let mut sent = without_server_fields(object);
    if let Some(status) = object.0.get("status") {
        sent.insert("status".into(), status.clone());
    }
    sent
}

fn entry(
    Difference {
        path,
        change,
        before,
        after,
        ..
    }: Difference,
) -> DiffEntry {
    let non_null = |value: Option<Value>| value.filter(|value| !value.is_null()).map(Box::new);
    let path = Some(path).filter(|path| !path.is_empty());
    DiffEntry {
        path,
        original: non_null(before),
        applied: non_null(after),
        change,
        payload: None,
    }
}

/// Renders the lines of field entries. An added or removed object: a first entry with only the kind
/// of change, then each line of the object. Otherwise the lines of each value before, then of the
/// value after, each with its path, sorted by the first key of the path.
pub(crate) fn lines(change: ChangeKind, fields: &[DiffEntry], form: DiffFormat) -> Vec<DiffEntry> {
    let mut lines = match (change, fields) {
        (ChangeKind::Added | ChangeKind::Removed, [whole]) => {
            let value = whole.applied.as_ref().or(whole.original.as_ref());
            let texts = value
                .map(|value| yaml_lines(value, form))
                .unwrap_or_default();
            let first = DiffEntry::line(None, change, String::new());
            std::iter::once(first)
                .chain(
                    texts
                        .into_iter()
                        .map(|text| DiffEntry::line(None, change, text)),
                )
                .collect()
        }
        _ => {
            let mut sorted: Vec<&DiffEntry> = fields.iter().collect();
            let part = |entry: &DiffEntry| {
                entry
                    .path
                    .as_deref()
                    .unwrap_or_default()
                    .split('.')
                    .next()
                    .map(str::to_owned)
            };
            sorted.sort_by_key(|entry| part(entry));
            let lines: Vec<DiffEntry> = sorted
                .iter()
                .flat_map(|entry| field_lines(entry, form))
                .collect();
            // Null against absent has no lines. If nothing else changes, an entry without text
            // shows the change.
            let kinds = || {
                fields
                    .iter()
                    .map(|entry| DiffEntry::line(None, entry.change, String::new()))
                    .collect()
            };
            if lines.is_empty() { kinds() } else { lines }
        }
    };
    if form == DiffFormat::Native {
        truncate(&mut lines);
    }
    lines
}

/// Truncates long output, and notes how much was cut.
fn truncate(lines: &mut Vec<DiffEntry>) {
    let more = lines.len().saturating_sub(MAX_LINES);
    if more > 0 {
        lines.truncate(MAX_LINES);
        lines.extend(lines.last().cloned().map(|last| DiffEntry {
            payload: Some(format!("… {more} more lines")),
            ..last
        }));
    }
    for text in lines
        .iter_mut()
        .filter_map(|line| line.payload.as_mut())
        .filter(|text| text.len() > MAX_LINE_BYTES)
    {
        let (length, cut) = (
            text.chars().count(),
            text.chars().take(MAX_LINE_BYTES / 4).collect::<String>(),
        );
        *text = format!("{cut}… ({length} characters)");
    }
}

fn field_lines(entry: &DiffEntry, form: DiffFormat) -> Vec<DiffEntry> {
    let mut lines = Vec::new();
    let values = (entry.original.as_deref(), entry.applied.as_deref());
    if let (DiffFormat::Native, (Some(before), Some(after))) = (form, values) {
        if let (Value::String(before), Value::String(after)) = (before, after)
            && before.contains('\n')
            && after.contains('\n')
        {
            let line = |(change, text)| DiffEntry::line(entry.path.clone(), change, text);
            return hunks(before, after).into_iter().map(line).collect();
        }
        if plain(before).is_some() && plain(before) == plain(after) {
            // A text and a number: only the quotes tell them apart.
            let line = |change, value: &Value| {
                DiffEntry::line(entry.path.clone(), change, value.to_string())
            };
            return vec![
                line(ChangeKind::Removed, before),
                line(ChangeKind::Added, after),
            ];
        }
    }
    for (change, value) in [
        (ChangeKind::Removed, &entry.original),
        (ChangeKind::Added, &entry.applied),
    ] {
        let Some(value) = value.as_deref() else {
            continue;
        };
        let texts = match (value, form) {
            (Value::Object(_) | Value::Array(_), _) => yaml_lines(value, form),
            (Value::String(text), DiffFormat::Native) if !text.contains('\n') => vec![text.clone()],
            (_, DiffFormat::Native) => yaml_lines(value, form),
            (scalar, DiffFormat::Legacy) => vec![legacy::go_format(scalar)],
        };
        let texts = if texts.is_empty() && form == DiffFormat::Legacy {
            vec![legacy::go_format(value)]
        } else {
            texts
        };
        lines.extend(
            texts
                .into_iter()
                .map(|text| DiffEntry::line(entry.path.clone(), change, text)),
        );
    }
    lines
}

/// Returns how a scalar is shown.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Object(_) | Value::Array(_) => None,
        scalar => Some(scalar.to_string()),
    }
}

/// Returns the lines of two texts that differ, with the lines around them.
fn hunks(before: &str, after: &str) -> Vec<(ChangeKind, String)> {
    let diff = TextDiff::from_lines(before, after);
    let mut lines = Vec::new();
    for group in diff.grouped_ops(CONTEXT_LINES) {
        let Some(first) = group.first() else { continue };
        let place = format!("… line {}", first.new_range().start + 1);
        lines.push((ChangeKind::Unchanged, place));
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let kind = match change.tag() {
                ChangeTag::Equal => ChangeKind::Unchanged,
                ChangeTag::Delete => ChangeKind::Removed,
                ChangeTag::Insert => ChangeKind::Added,
            };
            lines.push((kind, change.value().trim_end_matches('\n').to_owned()));
        }
    }
    lines
}

fn yaml_lines(value: &Value, form: DiffFormat) -> Vec<String> {
    let text = match form {
        DiffFormat::Native => emit(value).ok(),
        DiffFormat::Legacy => legacy::yaml(value),
    };
    text.unwrap_or_default()
        .split('\n')
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}
