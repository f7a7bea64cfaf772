//! What becomes of an object, as the control plane stores and shows it (protocol, section 6.2): first
//! one entry per field, then lines.
//!
//! The replaced program's form ([`Form::Shipped`]) is kept for comparisons with it. Ours differs on
//! purpose:
//!
//! | | shipped | ours |
//! |---|---|---|
//! | indexes | `list[[0]]`, `list[[?->2]]` | `list[0]`, `list[2]` |
//! | keys with dots | as they are; of paths that look alike the last is kept | in quotes |
//! | Secrets, `last-applied` annotations | in clear text | `***`, told apart as before and after |
//! | a new object, planned | the server's whole answer, times, ids and owners included | what is wanted of it |
//! | fields named `status` | never compared, at any depth | compared, but for the object's own status |
//! | the namespace | not compared | compared |
//! | nothing and null | differ | are the same |
//! | texts of several lines | one line of the diff | a line each |
//! | very long objects and lines | whole | cut, with a word on what is left out |
//! | an object that an apply left as it was | modified, without fields | unchanged |
//! | a deletion | the manifest's object | the object that was there |

use serde_json::{Map, Value};

use crate::cluster::fields::diff::{Difference, Form, compare, essence};
use crate::cluster::fields::{legacy, mask};
use crate::manifest::Object;
use crate::plan::changeset::{Change, DiffEntry, Op, ResourceDiff};
use crate::yaml::emit::emit;

/// Lines of one object that are kept.
const MOST_LINES: usize = 1000;

/// Bytes of a line that are kept.
const LONGEST_LINE: usize = 4096;

/// What becomes of one object, masked, line by line.
pub(crate) fn resource_diff(
    plural: &str,
    op: Op,
    before: Option<&Object>,
    after: Option<&Object>,
    dry_run: bool,
) -> ResourceDiff {
    let (change, fields) = fields(before, after, dry_run, Form::Ours);
    ResourceDiff {
        change,
        entries: lines(change, &fields, Form::Ours),
        ..blank(plural, op, after.or(before), dry_run)
    }
}

/// An object to which nothing happens.
pub(crate) fn unchanged(plural: &str, object: &Object, dry_run: bool) -> ResourceDiff {
    blank(plural, Op::Apply, Some(object), dry_run)
}

/// An object that something went wrong with.
pub(crate) fn failed(
    plural: &str,
    op: Op,
    object: &Object,
    error: String,
    dry_run: bool,
) -> ResourceDiff {
    ResourceDiff {
        change: Change::Error,
        error: Some(error),
        ..blank(plural, op, Some(object), dry_run)
    }
}

/// A diff that says only whom it is about.
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
        change: Change::Unchanged,
        error: None,
        dry_run,
        entries: Vec::new(),
    }
}

/// Group, `/`, version.
pub(crate) fn api(object: &Object) -> String {
    format!("{}/{}", object.group(), object.version())
}

/// What becomes of an object, and one entry per field that differs; one for the whole of an object that
/// comes or goes. In our form Secrets are masked.
pub(crate) fn fields(
    before: Option<&Object>,
    after: Option<&Object>,
    dry_run: bool,
    form: Form,
) -> (Change, Vec<DiffEntry>) {
    let masked;
    let (before, after) = match form {
        Form::Ours => {
            masked = mask::pair(before, after);
            (masked.0.as_ref(), masked.1.as_ref())
        }
        Form::Shipped => (before, after),
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
            let is_modified = !differences.is_empty() || (form == Form::Shipped && !dry_run);
            let change = if is_modified {
                Change::Modified
            } else {
                Change::Unchanged
            };
            (change, differences.into_iter().map(entry).collect())
        }
        (None, Some(after)) if form == Form::Shipped && dry_run => {
            let applied = Value::Object(after.0.clone());
            (
                Change::Added,
                whole(Change::Modified, Some(Value::Null), Some(applied)),
            )
        }
        (None, Some(after)) => {
            let applied = if form == Form::Shipped {
                without_servers_own(after)
            } else {
                essence(after)
            };
            (
                Change::Added,
                whole(Change::Added, None, Some(Value::Object(applied))),
            )
        }
        (Some(before), None) => {
            let original = if form == Form::Shipped {
                before.0.clone()
            } else {
                essence(before)
            };
            (
                Change::Removed,
                whole(Change::Removed, Some(Value::Object(original)), None),
            )
        }
        (None, None) => (Change::Unchanged, Vec::new()),
    }
}

/// As it is sent: the status stays.
fn without_servers_own(object: &Object) -> Map<String, Value> {
    let mut sent = essence(object);
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
    let told = |value: Option<Value>| value.filter(|value| !value.is_null()).map(Box::new);
    let path = Some(path).filter(|path| !path.is_empty());
    DiffEntry {
        path,
        original: told(before),
        applied: told(after),
        change,
        payload: None,
    }
}

/// The lines of a diff's fields. An object that comes or goes: a first entry with only the kind of change,
/// then every line of it. Else the lines of each value before, then of the value after, with its path; in
/// the order of the first part of the path.
pub(crate) fn lines(change: Change, fields: &[DiffEntry], form: Form) -> Vec<DiffEntry> {
    let mut lines = match (change, fields) {
        (Change::Added | Change::Removed, [whole]) => {
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
            // Null against nothing has no lines; that there is something is told where nothing else is.
            let kinds = || {
                fields
                    .iter()
                    .map(|entry| DiffEntry::line(None, entry.change, String::new()))
                    .collect()
            };
            if lines.is_empty() { kinds() } else { lines }
        }
    };
    if form == Form::Ours {
        bound(&mut lines);
    }
    lines
}

/// Cuts what is too long to be read, and says how much that was.
fn bound(lines: &mut Vec<DiffEntry>) {
    let more = lines.len().saturating_sub(MOST_LINES);
    if more > 0 {
        lines.truncate(MOST_LINES);
        lines.extend(lines.last().cloned().map(|last| DiffEntry {
            payload: Some(format!("… {more} more lines")),
            ..last
        }));
    }
    for text in lines
        .iter_mut()
        .filter_map(|line| line.payload.as_mut())
        .filter(|text| text.len() > LONGEST_LINE)
    {
        let (length, cut) = (
            text.chars().count(),
            text.chars().take(LONGEST_LINE / 4).collect::<String>(),
        );
        *text = format!("{cut}… ({length} characters)");
    }
}

fn field_lines(entry: &DiffEntry, form: Form) -> Vec<DiffEntry> {
    let mut lines = Vec::new();
    for (change, value) in [
        (Change::Removed, &entry.original),
        (Change::Added, &entry.applied),
    ] {
        let Some(value) = value.as_deref() else {
            continue;
        };
        let texts = match (value, form) {
            (Value::Object(_) | Value::Array(_), _) => yaml_lines(value, form),
            (Value::String(text), Form::Ours) if !text.contains('\n') => vec![text.clone()],
            (_, Form::Ours) => yaml_lines(value, form),
            (scalar, Form::Shipped) => vec![legacy::text(scalar)],
        };
        let texts = if texts.is_empty() && form == Form::Shipped {
            vec![legacy::text(value)]
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

fn yaml_lines(value: &Value, form: Form) -> Vec<String> {
    let text = match form {
        Form::Ours => emit(value).ok(),
        Form::Shipped => legacy::yaml(value),
    };
    text.unwrap_or_default()
        .split('\n')
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}
