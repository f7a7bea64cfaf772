//! Compares two given objects without a cluster, and builds the changeset document in the native
//! format or in that of the Go runner. It previews a changeset, and compares the two programs.

use serde_json::{Map, Value, json};

use crate::cluster::fields::diff::{DiffFormat, compare};
use crate::cluster::fields::legacy;
use crate::cluster::fields::render::{api, blank, fields, lines};
use crate::manifest::Object;
use crate::plan::changeset::{ChangeKind, Op, ResourceDiff};

/// The operation that is planned or done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ComparisonMode {
    /// A planned apply; `desired` is the response to the dry run.
    PlanApply,
    /// A completed apply.
    Apply,
    /// A planned deletion.
    PlanDelete,
    /// A completed deletion.
    Delete,
}

/// Two states of an object, and the operation between them.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// The operation.
    pub mode: ComparisonMode,
    /// Object before; none if it does not exist.
    pub live: Option<Object>,
    /// Object after; for a deletion the manifest's object.
    pub desired: Option<Object>,
    /// The API server's error message, if it refused the operation.
    pub error: Option<String>,
}

impl Comparison {
    /// Returns true if a field differs; none if nothing is compared: for a deletion, a refusal, and
    /// a completed apply with only one side.
    pub fn has_changes(&self, form: DiffFormat) -> Option<bool> {
        if self.op() == Op::Delete || self.error.is_some() {
            return None;
        }
        match (&self.live, &self.desired) {
            (Some(live), Some(desired)) => Some(!compare(live, desired, form).is_empty()),
            _ => self.dry_run().then_some(true),
        }
    }

    /// Returns two diffs of the object: one entry per field, and one entry per line.
    pub fn diffs(&self, form: DiffFormat) -> (ResourceDiff, ResourceDiff) {
        let (object, dry_run) = (self.object(), self.dry_run());
        let (change, entries) = match (self.op(), &self.error) {
            (Op::Apply, Some(_)) => (ChangeKind::Error, Vec::new()),
            (Op::Apply, None) => fields(self.live.as_ref(), self.desired.as_ref(), dry_run, form),
            (Op::Delete, error) => {
                let (change, entries) = fields(object, None, dry_run, form);
                (
                    if error.is_some() && !dry_run {
                        ChangeKind::Error
                    } else {
                        change
                    },
                    entries,
                )
            }
        };
        let lines = lines(change, &entries, form);
        let plural = object
            .map(|object| plural(object.kind()))
            .unwrap_or_default();
        let blank = blank(&plural, self.op(), object, dry_run);
        // In the version in which it was read.
        let api = self.live.as_ref().map_or(blank.api.clone(), api);
        // A planned deletion sends no request that could be refused.
        let error = self
            .error
            .clone()
            .filter(|_| self.mode != ComparisonMode::PlanDelete);
        let raw = ResourceDiff {
            api,
            change,
            error,
            entries,
            ..blank
        };
        let formatted = ResourceDiff {
            entries: lines,
            ..raw.clone()
        };
        (raw, formatted)
    }

    /// Returns the document: `has_changes`, `resource_diff` (one entry per field), `formatted` (one
    /// entry per line), and `handler_error` if the refusal ends the job.
    pub fn document(&self, form: DiffFormat) -> Value {
        let (raw, formatted) = self.diffs(form);
        let mut document = Map::new();
        if let Some(has_changes) = self.has_changes(form) {
            document.insert("has_changes".into(), has_changes.into());
        }
        document.insert("resource_diff".into(), json!(raw));
        document.insert("formatted".into(), json!(formatted));
        if let (Some(error), false) = (&self.error, self.dry_run()) {
            let verb = if self.op() == Op::Apply {
                "apply"
            } else {
                "delete"
            };
            let whom = format!("[{} {}/{}]", raw.kind, raw.namespace, raw.name);
            document.insert(
                "handler_error".into(),
                format!("{verb} error for resource {whom}: {error}").into(),
            );
        }
        let mut document = Value::Object(document);
        if form == DiffFormat::Legacy {
            legacy::encode_numbers(&mut document);
        }
        document
    }

    fn object(&self) -> Option<&Object> {
        self.desired.as_ref().or(self.live.as_ref())
    }

    fn op(&self) -> Op {
        match self.mode {
            ComparisonMode::PlanApply | ComparisonMode::Apply => Op::Apply,
            ComparisonMode::PlanDelete | ComparisonMode::Delete => Op::Delete,
        }
    }

    fn dry_run(&self) -> bool {
        matches!(
            self.mode,
            ComparisonMode::PlanApply | ComparisonMode::PlanDelete
        )
    }
}

/// Returns the plural of a kind, guessed by the rule of Kubernetes' own client, because there is no
/// cluster to ask.
fn plural(kind: &str) -> String {
    let lower = kind.to_lowercase();
    match lower.strip_suffix('y') {
        _ if lower == "endpoints" => lower,
        Some(stem) => format!("{stem}ies"),
        None if lower.ends_with('s') => format!("{lower}es"),
        None => format!("{lower}s"),
    }
}
