//! A plan for people.

use crate::cli::changes;
use crate::cluster::rollout::plan::Plan;
use crate::cluster::rollout::refused::errors;
use crate::plan::changeset::{ChangeKind, ResourceDiff};

/// Formats a plan for people: each change, the owners of fields that would be adopted, and a
/// summary.
pub fn text(plan: &Plan<'_>) -> String {
    let mut text = String::new();
    let changed = plan
        .entries
        .iter()
        .filter(|entry| !matches!(entry.diff.change, ChangeKind::Unchanged | ChangeKind::Error));
    for entry in changed {
        text.push_str(&changes::text(&entry.diff));
        text.push_str(&format!("    ({})\n", entry.checked.words()));
        text.extend(entry.remarks().map(|remark| format!("    {remark}\n")));
    }
    let failed = errors(plan.entries.iter().map(|entry| &entry.diff)).into_iter();
    text.extend(failed.map(|line| format!("! {line}\n")));
    for deletion in &plan.pruning.deletions {
        text.push_str(&format!(
            "- {} (no longer part of the component)\n",
            deletion.id
        ));
        text.extend(
            deletion
                .needs_plan
                .iter()
                .map(|reason| format!("    {reason}\n")),
        );
    }
    text.extend(plan.notes.iter().map(|note| format!("# {note}\n")));
    text.push_str(&summary(plan.changes()));
    text
}

/// The objects of a changeset, counted by what becomes of them.
#[derive(Default)]
pub(super) struct Counts {
    pub create: usize,
    pub change: usize,
    pub replace: usize,
    pub delete: usize,
    pub failed: usize,
}

pub(super) fn counts<'a>(diffs: impl Iterator<Item = &'a ResourceDiff>) -> Counts {
    let mut counts = Counts::default();
    for diff in diffs {
        match diff.change {
            ChangeKind::Added => counts.create += 1,
            ChangeKind::Modified if diff.is_recreated() => counts.replace += 1,
            ChangeKind::Modified => counts.change += 1,
            ChangeKind::Removed => counts.delete += 1,
            ChangeKind::Error => counts.failed += 1,
            ChangeKind::Unchanged => {}
        }
    }
    counts
}

/// Formats the counts as one line.
pub fn summary<'a>(diffs: impl Iterator<Item = &'a ResourceDiff>) -> String {
    let Counts {
        create,
        change,
        replace,
        delete,
        failed,
    } = counts(diffs);
    let (replace_words, failed_words) = (
        format!("{replace} to replace"),
        format!("{failed} cannot be applied"),
    );
    let mut parts = Vec::new();
    if create + change + delete > 0 {
        parts.push(format!("{create} to create, {change} to change"));
    }
    parts.extend((replace > 0).then_some(replace_words));
    if create + change + delete > 0 {
        parts.push(format!("{delete} to delete"));
    }
    parts.extend((failed > 0).then_some(failed_words));
    match parts.is_empty() {
        true => "nothing would change\n".into(),
        false => format!("{}\n", parts.join(", ")),
    }
}
