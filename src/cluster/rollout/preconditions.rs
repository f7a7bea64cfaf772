//! Checks a saved plan against the cluster: is every managed field as it was when the plan was
//! made?
//!
//! An object that already is as the plan expects it after the apply, written by us, is not a
//! conflict: the same plan can finish a deploy that was interrupted.

use std::collections::HashMap;
use std::fmt;

use serde_json::Value;

use crate::cluster::fields::adopt::taken_over;
use crate::cluster::fields::managed_values::{Moved, foreseen, moved, retaken, touched};
use crate::cluster::rollout::options::Options;
use crate::cluster::rollout::plan::{Plan, subject};
use crate::cluster::rollout::snapshot::Snapshot;
use crate::manifest::managed_fields::is_applied_by;
use crate::manifest::{Object, ObjectId};
use crate::plan::changeset::Change;
use crate::plan::contract::{ExpectedObject, SavedPlan, Subject};

/// Maximum number of differences that the message for one object shows.
const MAX_DIFFERENCES: usize = 5;

/// What an apply does with one object.
#[derive(Debug, Clone)]
pub enum Action {
    /// Nothing, because the object is up to date.
    Leave,
    /// Applies the object.
    Write {
        /// Whether the live object is deleted first.
        recreate: bool,
        /// The state that the approved plan expects; `Missing` without an approved plan.
        expected: Option<Expectation>,
    },
}

/// The state that an approved plan expects of one object, before and after the apply.
#[derive(Debug, Clone, Default)]
pub struct Expectation {
    /// Managed values when the plan was made; `Missing` if the object did not exist.
    managed_values: Option<Object>,
    uid: Option<String>,
    expected_hash: Option<String>,
    recreate: bool,
}

impl From<&ExpectedObject> for Expectation {
    fn from(promise: &ExpectedObject) -> Self {
        Self {
            managed_values: promise.touched.clone().map(Object),
            uid: promise.uid.clone(),
            expected_hash: promise.expected.clone(),
            recreate: promise.recreate,
        }
    }
}

/// An object that is not as the approved plan expects.
#[derive(Debug, Clone, PartialEq)]
pub struct Conflict {
    /// Which.
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
    Changed(Vec<Moved>),
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
                let told = moved.iter().take(MAX_DIFFERENCES);
                let told: Vec<String> = told
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
                write!(f, "{}", told.join(", "))?;
                if more > 0 {
                    write!(f, ", and {more} more")
                } else {
                    Ok(())
                }
            }
        }
    }
}

/// Result of checking one object against what the plan expects.
pub(super) enum Check {
    /// It is as it was when the plan was made.
    Unchanged,
    /// It already is as the plan expects it after the apply, and we have applied it.
    AlreadyApplied,
    /// It is neither.
    Conflicting(Conflict),
}

impl Check {
    /// Checks the live object.
    pub fn of(
        object: &Object,
        expected: &Expectation,
        live: Option<&Object>,
        options: &Options,
    ) -> Self {
        let breached = |how| {
            Self::Conflicting(Conflict {
                subject: object.subject(),
                kind: how,
            })
        };
        let Some(live) = live else {
            // A deploy may have been interrupted between deletion and recreation.
            let is_expected = expected.managed_values.is_none() || expected.recreate;
            return if is_expected {
                Self::Unchanged
            } else {
                breached(ConflictKind::Gone)
            };
        };
        let now = touched(object, live, &options.fields);
        let retaken = expected
            .managed_values
            .as_ref()
            .map(|before| retaken(before, &now, live, &options.fields))
            .unwrap_or_default();
        if retaken.is_empty()
            && is_applied_by(live, &options.fields.manager)
            && expected.matches(&now, options)
        {
            return Self::AlreadyApplied;
        }
        let Some(before) = &expected.managed_values else {
            return breached(ConflictKind::Appeared);
        };
        let moved = if retaken.is_empty() {
            moved(before, &now)
        } else {
            retaken
        };
        if !moved.is_empty() {
            return breached(ConflictKind::Changed(moved));
        }
        match (&expected.uid, live.uid()) {
            (Some(planned), Some(now)) if planned != now => breached(ConflictKind::Replaced),
            _ => Self::Unchanged,
        }
    }
}

impl Expectation {
    /// Returns true if these managed values are what the server's dry run returned. If the server
    /// could not dry-run the object, returns true if it was planned as new.
    fn matches(&self, now: &Object, options: &Options) -> bool {
        match &self.expected_hash {
            Some(expected) => foreseen(now, &options.fields).as_ref() == Some(expected),
            None => self.managed_values.is_none(),
        }
    }
}

/// Returns an action for each object of a plan that was just made from this snapshot, in the order
/// of the objects.
pub fn actions(plan: &Plan, snapshot: &Snapshot, options: &Options) -> Vec<Action> {
    let action =
        |(entry, object): (&crate::cluster::rollout::plan::Entry, &Object)| match entry.diff.change
        {
            Change::Unchanged if is_up_to_date(snapshot.live.get(&object.id()), options) => {
                Action::Leave
            }
            _ => Action::Write {
                recreate: entry.recreate,
                expected: None,
            },
        };
    plan.entries
        .iter()
        .zip(&snapshot.objects)
        .map(action)
        .collect()
}

/// Returns true if we have applied the object, and no manager in `take_over` still owns fields of
/// it.
fn is_up_to_date(live: Option<&Object>, options: &Options) -> bool {
    live.is_some_and(|live| {
        is_applied_by(live, &options.fields.manager)
            && taken_over(live, &options.fields.manager, &options.fields.adopt_from).is_none()
    })
}

/// Returns conflicts if the plan was made for another cluster or under other settings.
pub(super) fn environment_conflicts(
    contract: &SavedPlan,
    snapshot: &Snapshot,
    options: &Options,
) -> Vec<Conflict> {
    let differ = |planned: &Option<String>, now: Option<String>| {
        planned.as_ref().zip(now).is_some_and(|(a, b)| *a != b)
    };
    let breach = |subject: &str, how| Conflict {
        subject: subject.to_owned(),
        kind: how,
    };
    let cluster = differ(&contract.cluster, snapshot.cluster_uid.clone())
        .then(|| breach("the cluster", ConflictKind::OtherCluster));
    let settings = differ(&contract.options, Some(options.fingerprint()));
    let settings = settings.then(|| breach("the settings", ConflictKind::OtherSettings));
    cluster.into_iter().chain(settings).collect()
}

/// Returns an action for each object of an approved plan, in the order of the snapshot's objects.
///
/// # Errors
/// Returns every conflict; then nothing must be written.
pub fn check_saved_plan(
    saved_plan: &SavedPlan,
    snapshot: &Snapshot,
    options: &Options,
) -> Result<Vec<Action>, Vec<Conflict>> {
    let mut promises: HashMap<&Subject, &ExpectedObject> = saved_plan
        .objects
        .iter()
        .map(|promise| (&promise.subject, promise))
        .collect();
    let (mut actions, mut breaches) = (
        Vec::new(),
        environment_conflicts(saved_plan, snapshot, options),
    );
    for object in &snapshot.objects {
        let Some(promise) = promises.remove(&subject(&object.id())) else {
            breaches.push(Conflict {
                subject: object.subject(),
                kind: ConflictKind::Unplanned,
            });
            continue;
        };
        if promise.change == Change::Error {
            breaches.push(Conflict {
                subject: object.subject(),
                kind: ConflictKind::Refused,
            });
            continue;
        }
        let (promised, live) = (Expectation::from(promise), snapshot.live.get(&object.id()));
        let is_done = match Check::of(object, &promised, live, options) {
            Check::AlreadyApplied => true,
            Check::Unchanged => false,
            Check::Conflicting(breach) => {
                breaches.push(breach);
                continue;
            }
        };
        actions.push(match promise.change {
            Change::Unchanged if is_up_to_date(live, options) => Action::Leave,
            _ => Action::Write {
                recreate: promise.recreate && !is_done,
                expected: Some(promised),
            },
        });
    }
    breaches.extend(promises.into_keys().map(|subject| {
        let Subject {
            group,
            kind,
            namespace,
            name,
        } = subject.clone();
        Conflict {
            subject: ObjectId {
                group,
                kind,
                namespace,
                name,
            }
            .to_string(),
            kind: ConflictKind::Missing,
        }
    }));
    breaches.sort_by(|a, b| a.subject.cmp(&b.subject));
    if breaches.is_empty() {
        Ok(actions)
    } else {
        Err(breaches)
    }
}
