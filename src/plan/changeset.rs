//! The changeset of a deploy as the control plane stores and shows it (protocol, section 6.2).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use super::change::{Change, Op};
use super::contract::SavedPlan;

/// What happens to one object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResourceDiff {
    /// Always `2`.
    #[serde(rename = "_version")]
    pub version: String,
    /// Name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Namespace; empty for cluster-scoped objects.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Kind.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Group, `/`, version; `/v1` for the core group.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub api: String,
    /// Plural name of the kind.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub resource: String,
    /// What the plan does.
    pub op: Op,
    /// What becomes of the object.
    #[serde(rename = "type")]
    pub change: Change,
    /// Why it cannot be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Whether this is a plan.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// Line by line.
    #[serde(default)]
    pub entries: Vec<DiffEntry>,
}

impl ResourceDiff {
    /// `Kind/namespace/name`, or `Kind/name`.
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

/// One line of a diff; or, before it is made into lines, one field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DiffEntry {
    /// The field, keys joined by dots, indexes in brackets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The field's value before. Not in lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<Box<Value>>,
    /// The field's value after. Not in lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<Box<Value>>,
    /// What becomes of the line.
    #[serde(rename = "type")]
    pub change: Change,
    /// The line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
}

/// The document inside a plan's contents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanContents {
    /// The diff once more, as indented JSON text.
    pub plan: String,
    /// What the plan does.
    pub op: Op,
    /// What happens to each object that something happens to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub k8s_content_diff: Vec<ResourceDiff>,
    /// What this program promises with the plan; none in plans of the program that is replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner: Option<SavedPlan>,
}

impl PlanContents {
    /// The document of a changeset, which is made small enough to be stored and shown.
    pub fn new(op: Op, diffs: Vec<ResourceDiff>) -> Self {
        let diffs = bounded(diffs);
        let member = if op == Op::Apply {
            "k8s_content_diff"
        } else {
            "diff"
        };
        let list = Some(&diffs).filter(|diffs| !diffs.is_empty());
        // A changeset is plain data; it has a JSON form.
        let plan =
            serde_json::to_string_pretty(&BTreeMap::from([(member, list)])).unwrap_or_default();
        Self {
            plan,
            op,
            k8s_content_diff: diffs,
            runner: None,
        }
    }

    /// The text that is packed. Equal changesets give equal texts.
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Whether nothing would change.
    pub fn is_noop(&self) -> bool {
        self.k8s_content_diff
            .iter()
            .all(|diff| diff.change == Change::Unchanged)
    }
}

/// The most bytes of lines that a changeset keeps.
const MOST_BYTES: usize = 8 << 20;

/// Leaves the lines out of the last objects of a changeset that is too large, and says so.
pub fn bounded(mut diffs: Vec<ResourceDiff>) -> Vec<ResourceDiff> {
    let mut room = MOST_BYTES;
    for diff in &mut diffs {
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let size = diff
            .entries
            .iter()
            .map(|entry| length(&entry.path) + length(&entry.payload) + 32)
            .sum::<usize>();
        if size <= room {
            room -= size;
        } else {
            room = 0;
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
    /// A line.
    pub fn line(path: Option<String>, change: Change, text: String) -> Self {
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
            change: Change::Added,
            error: None,
            dry_run: true,
            entries: vec![DiffEntry::line(None, Change::Added, "x".repeat(1000)); lines],
        };
        let contents = PlanContents::new(
            Op::Apply,
            vec![diff("small", 10), diff("huge", 9000), diff("last", 1)],
        );
        let told: Vec<(&str, usize)> = contents
            .k8s_content_diff
            .iter()
            .map(|diff| (diff.name.as_str(), diff.entries.len()))
            .collect();
        assert_eq!(told, [("small", 10), ("huge", 1), ("last", 1)]);
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
