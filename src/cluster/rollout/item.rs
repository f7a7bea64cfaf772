//! One object on its way through a rollout.

use std::fmt;

use serde_json::Value;

use crate::cluster::fields::managed_values::ChangedField;
use crate::cluster::rollout::refusal::Refusal;
use crate::manifest::Object;
use crate::plan::changeset::{ChangeKind, ResourceDiff};
use crate::plan::saved_plan::ExpectedObject;

/// One object on its way through a rollout: what is desired, what exists, what was decided, and
/// what happened.
#[derive(Debug)]
pub struct Item<'s> {
    /// The object as it is sent.
    pub object: &'s Object,
    /// The live object of the snapshot; `None` if it does not exist.
    pub live: Option<&'s Object>,
    /// The decision.
    pub action: Action,
    /// What an earlier attempt of the same deploy, which was cut off, has done to it already.
    pub done_before: Option<ChangeKind>,
    /// What happened; `None` until the object's stage is over.
    pub outcome: Option<ItemOutcome>,
}

/// What an apply does with one object.
#[derive(Debug, Clone)]
pub enum Action {
    /// Nothing, because the object is up to date.
    Leave,
    /// Nothing, because the object is a Job that has succeeded and removed itself.
    LeaveFinished,
    /// Nothing, because the object could not be read when the plan was made. It is an error.
    LeaveUnread,
    /// Applies the object.
    Write {
        /// Whether the live object is deleted first.
        recreate: bool,
        /// The state that the approved plan expects; `None` without an approved plan.
        expected: Option<Expectation>,
    },
}

/// The state that an approved plan expects of one object, before and after the apply.
#[derive(Debug, Clone, Default)]
pub struct Expectation {
    /// Managed values when the plan was made; `None` if the object did not exist.
    pub managed_values: Option<Object>,
    /// UID when the plan was made.
    pub uid: Option<String>,
    /// Hash of the managed values after the apply; `None` if the server could not tell.
    pub expected_hash: Option<String>,
    /// Whether the object is deleted and recreated.
    pub recreate: bool,
}

impl From<&ExpectedObject> for Expectation {
    fn from(expected: &ExpectedObject) -> Self {
        Self {
            managed_values: expected.touched.clone().map(Object),
            uid: expected.uid.clone(),
            expected_hash: expected.expected.clone(),
            recreate: expected.recreate,
        }
    }
}

/// What happened to one object.
#[derive(Debug)]
pub struct ItemOutcome {
    /// The change, as the changeset shows it.
    pub diff: ResourceDiff,
    /// The object as it was last read or written; `None` if it does not exist.
    pub now: Option<Object>,
    /// Why the object is not as desired; `None` if it is.
    pub problem: Option<Problem>,
}

/// Why an object was not applied.
#[derive(Debug, Clone, PartialEq)]
pub enum Problem {
    /// It is not as the approved plan expects.
    Conflict(Conflict),
    /// It was refused.
    Refused(Refusal),
    /// It was not tried, because the apply ended early or an object that it depends on failed.
    Skipped,
}

/// Maximum number of differences that the message for one object shows.
const MAX_DIFFERENCES: usize = 5;

/// An object that is not as the approved plan expects.
#[derive(Debug, Clone, PartialEq)]
pub struct Conflict {
    /// The object, as `Kind/namespace/name`.
    pub subject: String,
    /// The difference.
    pub kind: ConflictKind,
}

/// How an object differs from what the plan expects.
#[derive(Debug, Clone, PartialEq)]
pub enum ConflictKind {
    /// It did not exist, and exists now.
    Appeared,
    /// It existed, and does not exist now.
    Gone,
    /// It was deleted and recreated: the UID differs.
    Replaced,
    /// Managed fields have other values.
    Changed(Vec<ChangedField>),
    /// The plan does not contain the object.
    Unplanned,
    /// The plan contains the object, and the set does not.
    Missing,
    /// It was refused when the plan was made.
    Refused,
    /// The plan was made for another cluster.
    OtherCluster,
    /// The settings that decide which fields are changed differ from the plan's.
    OtherSettings,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ConflictKind::Appeared => {
                write!(f, "it did not exist when the plan was made, and exists now")
            }
            ConflictKind::Gone => {
                write!(f, "it existed when the plan was made, and no longer does")
            }
            ConflictKind::Replaced => {
                write!(f, "it was deleted and recreated since the plan was made")
            }
            ConflictKind::Unplanned => write!(f, "it is not in the plan"),
            ConflictKind::Missing => write!(f, "it is in the plan, but not in the set to apply"),
            ConflictKind::Refused => write!(f, "it was refused when the plan was made"),
            ConflictKind::OtherCluster => write!(f, "it is not the one that the plan was made for"),
            ConflictKind::OtherSettings => {
                write!(
                    f,
                    "deploy.field_manager, take_over, conflicts or ignore have changed since the plan was made"
                )
            }
            ConflictKind::Changed(moved) => {
                let value = |value: &Option<Value>| match value {
                    Some(value) => value.to_string().chars().take(200).collect(),
                    None => "nothing".to_owned(),
                };
                let shown = moved.iter().take(MAX_DIFFERENCES);
                let shown: Vec<String> = shown
                    .map(|m| {
                        format!(
                            "{}: plan {} ↔ now {}",
                            m.path,
                            value(&m.planned),
                            value(&m.now)
                        )
                    })
                    .collect();
                let more = moved.len().saturating_sub(MAX_DIFFERENCES);
                write!(f, "{}", shown.join(", "))?;
                if more > 0 {
                    write!(f, ", and {more} more")
                } else {
                    Ok(())
                }
            }
        }
    }
}
