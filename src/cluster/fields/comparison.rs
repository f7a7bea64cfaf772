//! A comparison of two states at hand, without a cluster: the document that the replaced program would
//! have made of them, or ours. It serves to see what a changeset will look like, and to hold both
//! programs side by side.

use serde_json::{Map, Value, json};

use crate::cluster::fields::diff::{Form, compare};
use crate::cluster::fields::legacy;
use crate::cluster::fields::render::{api, blank, fields, lines};
use crate::manifest::Object;
use crate::plan::changeset::{Change, Op, ResourceDiff};

/// What would be, or has been, done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// An apply is planned: desired is the server's answer to the dry run.
    PlanApply,
    /// It was done.
    Apply,
    /// A deletion is planned.
    PlanDelete,
    /// It was done.
    Delete,
}

/// Two states of an object.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// What is done.
    pub mode: Mode,
    /// The object before; none if it is not there.
    pub live: Option<Object>,
    /// The object after; for a deletion the manifest's.
    pub desired: Option<Object>,
    /// The API server's words, if it refused.
    pub error: Option<String>,
}

impl Comparison {
    /// Whether anything differs; none where nothing is compared.
    pub fn has_changes(&self, form: Form) -> Option<bool> {
        if self.op() == Op::Delete || self.error.is_some() {
            return None;
        }
        match (&self.live, &self.desired) {
            (Some(live), Some(desired)) => Some(!compare(live, desired, form).is_empty()),
            _ => self.dry_run().then_some(true),
        }
    }

    /// What becomes of the object: an entry per field, and an entry per line.
    pub fn diffs(&self, form: Form) -> (ResourceDiff, ResourceDiff) {
        let (object, dry_run) = (self.object(), self.dry_run());
        let (change, entries) = match (self.op(), &self.error) {
            (Op::Apply, Some(_)) => (Change::Error, Vec::new()),
            (Op::Apply, None) => fields(self.live.as_ref(), self.desired.as_ref(), dry_run, form),
            (Op::Delete, error) => {
                let (change, entries) = fields(object, None, dry_run, form);
                (
                    if error.is_some() && !dry_run {
                        Change::Error
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
        // Nothing is asked of the server for a deletion that is planned.
        let error = self.error.clone().filter(|_| self.mode != Mode::PlanDelete);
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

    /// `has_changes`, `resource_diff` (an entry per field), `formatted` (an entry per line), and
    /// `handler_error` where the refusal ends the job.
    pub fn document(&self, form: Form) -> Value {
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
        if form == Form::Shipped {
            legacy::printed(&mut document);
        }
        document
    }

    fn object(&self) -> Option<&Object> {
        self.desired.as_ref().or(self.live.as_ref())
    }

    fn op(&self) -> Op {
        match self.mode {
            Mode::PlanApply | Mode::Apply => Op::Apply,
            Mode::PlanDelete | Mode::Delete => Op::Delete,
        }
    }

    fn dry_run(&self) -> bool {
        matches!(self.mode, Mode::PlanApply | Mode::PlanDelete)
    }
}

/// The plural of a kind where no cluster can be asked: the rule by which Kubernetes' own client guesses.
fn plural(kind: &str) -> String {
    let lower = kind.to_lowercase();
    match lower.strip_suffix('y') {
        _ if lower == "endpoints" => lower,
        Some(stem) => format!("{stem}ies"),
        None if lower.ends_with('s') => format!("{lower}es"),
        None => format!("{lower}s"),
    }
}
