//! The changeset of a deploy, as the control plane stores and shows it (`docs/wire-contract.md`,
//! changeset of a manifest deploy).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use super::change::{ChangeKind, Op};
use crate::plan::saved_plan::SavedPlan;

/// The change to one object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResourceDiff {
    /// Version of this structure; always `2`.
    #[serde(rename = "_version")]
    pub version: String,
    /// `metadata.name`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Namespace; empty for cluster-scoped objects.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Kind of the object.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// `group/version`; `/v1` for the core group.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub api: String,
    /// Plural resource name of the kind.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub resource: String,
    /// The operation of the plan.
    pub op: Op,
    /// The change to the object.
    #[serde(rename = "type")]
    pub change: ChangeKind,
    /// Why the change could not be determined or made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// True in a plan, false in the result of an apply or delete.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// The diff, line by line.
    #[serde(default)]
    pub entries: Vec<DiffEntry>,
}

impl ResourceDiff {
    /// Returns `Kind/namespace/name`, or `Kind/name` for cluster-scoped objects.
    pub fn subject(&self) -> String {
        let Self {
            kind,
            namespace,
            name,
            ..
        } = self;
        if namespace.is_empty() {
            format!("{kind}/{name}")
        } else {
            format!("{kind}/{namespace}/{name}")
        }
    }
}

/// The first line of an object that is deleted and created again.
const RECREATED: &str = "the object is deleted and recreated";

impl ResourceDiff {
    /// Notes that the object is deleted and created again.
    pub fn mark_recreated(&mut self) {
        let line = DiffEntry::line(None, ChangeKind::Removed, RECREATED.into());
        self.entries.insert(0, line);
    }

    /// Returns the word for what became of the object, as kubectl prints it.
    pub fn word(&self) -> &'static str {
        match self.is_recreated() {
            true => "replaced",
            false => self.change.word(),
        }
    }

    /// Returns true if the object is deleted and created again.
    pub fn is_recreated(&self) -> bool {
        let first = self.entries.first();
        let is_mark = |entry: &DiffEntry| entry.payload.as_deref() == Some(RECREATED);
        self.change == ChangeKind::Modified && first.is_some_and(is_mark)
    }
}

/// One line of a diff or, before the diff is rendered as lines, one field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DiffEntry {
    /// Path of the field: keys joined by dots, indexes in brackets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Value of the field before the change. Absent in lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<Box<Value>>,
    /// Value of the field after the change. Absent in lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<Box<Value>>,
    /// The change to the line or field.
    #[serde(rename = "type")]
    pub change: ChangeKind,
    /// Text of the line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
}

/// The JSON document inside packed plan contents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanContents {
    /// The diff again, as indented JSON text.
    pub plan: String,
    /// The operation of the plan.
    pub op: Op,
    /// The changed objects.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub k8s_content_diff: Vec<ResourceDiff>,
    /// The saved plan of this runner. Absent in plans of the Go runner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner: Option<SavedPlan>,
}

impl PlanContents {
    /// Creates the contents for a changeset, truncated so that it can be stored and shown.
    pub fn new(op: Op, diffs: Vec<ResourceDiff>) -> Self {
        let diffs = limit_size(diffs);
        let member = if op == Op::Apply {
            "k8s_content_diff"
        } else {
            "diff"
        };
        let list = Some(&diffs).filter(|diffs| !diffs.is_empty());
        // Serialization cannot fail: a changeset is plain data.
        let plan =
            serde_json::to_string_pretty(&BTreeMap::from([(member, list)])).unwrap_or_default();
        Self {
            plan,
            op,
            k8s_content_diff: diffs,
            runner: None,
        }
    }

    /// Returns the JSON text to be packed. Deterministic: equal changesets give equal texts.
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Returns true if no object would change.
    pub fn is_noop(&self) -> bool {
        self.k8s_content_diff
            .iter()
            .all(|diff| diff.change == ChangeKind::Unchanged)
    }
}

/// Maximum bytes of diff lines in a changeset.
const MAX_DIFF_BYTES: usize = 8 << 20;

/// Limits the size of a changeset: once `MAX_DIFF_BYTES` is exceeded, the lines of each further
/// object are replaced by one that says how many are omitted.
pub fn limit_size(mut diffs: Vec<ResourceDiff>) -> Vec<ResourceDiff> {
    let mut remaining = MAX_DIFF_BYTES;
    for diff in &mut diffs {
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let size = diff
            .entries
            .iter()
            .map(|entry| length(&entry.path) + length(&entry.payload) + 32)
            .sum::<usize>();
        if size <= remaining {
            remaining -= size;
        } else {
            remaining = 0;
            let payload = format!(
                "{} lines are left out: the plan is too large to be shown whole",
                diff.entries.len()
            );
            diff.entries = vec![DiffEntry::line(None, diff.change, payload)];
        }
    }
    diffs
}

impl DiffEntry {
    /// Creates a line of a diff. An empty text becomes no `payload`.
    pub fn line(path: Option<String>, change: ChangeKind, text: String) -> Self {
        let payload = Some(text).filter(|text| !text.is_empty());
        Self {
            path,
            original: None,
            applied: None,
            change,
            payload,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_that_is_too_large_says_so_and_still_names_every_object() {
        let diff = |name: &str, lines: usize| ResourceDiff {
            version: "2".into(),
            name: name.into(),
            namespace: String::new(),
            kind: "A".into(),
            api: "/v1".into(),
            resource: "as".into(),
            op: Op::Apply,
            change: ChangeKind::Added,
            error: None,
            dry_run: true,
            entries: vec![DiffEntry::line(None, ChangeKind::Added, "x".repeat(1000)); lines],
        };
        let contents = PlanContents::new(
            Op::Apply,
            vec![diff("small", 10), diff("huge", 9000), diff("last", 1)],
        );
        let lines_by_object: Vec<(&str, usize)> = contents
            .k8s_content_diff
            .iter()
            .map(|diff| (diff.name.as_str(), diff.entries.len()))
            .collect();
        assert_eq!(lines_by_object, [("small", 10), ("huge", 1), ("last", 1)]);
        let payload = contents.k8s_content_diff[1].entries[0]
            .payload
            .as_deref()
            .unwrap();
        assert_eq!(
            payload,
            "9000 lines are left out: the plan is too large to be shown whole"
        );
    }
}
