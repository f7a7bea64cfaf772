//! Checks a saved plan against the cluster: is every managed field as it was when the plan was
//! made?
//!
//! An object that already is as the plan expects it after the apply, written by us, is not a
//! conflict: the same plan can finish a deploy that was interrupted.

use std::collections::HashMap;

use crate::cluster::fields::adopt::adopted_managed_fields;
use crate::cluster::fields::managed_values::{
    applied_values, changed_fields, expected_hash, managed_values, retaken,
};
use crate::cluster::fields::predict::is_bare;
use crate::cluster::rollout::item::{Action, Conflict, ConflictKind, Expectation, Item};
use crate::cluster::rollout::options::Options;
use crate::cluster::rollout::saved::subject;
use crate::cluster::rollout::snapshot::Snapshot;
use crate::manifest::Object;
use crate::manifest::managed_fields::{is_applied_by, is_managed_by};
use crate::plan::changeset::ChangeKind;
use crate::plan::saved_plan::{ExpectedObject, SavedPlan, Subject};

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
        let now = managed_values(object, live, &options.fields);
        let retaken = expected
            .managed_values
            .as_ref()
            .map(|before| retaken(before, &now, live, &options.fields))
            .unwrap_or_default();
        // An interrupted write may have left us the owner of defaults, which the apply gives up.
        let alone = applied_values(object, live, &options.fields);
        // An apply of a name alone leaves no trace of us, and overwrites nothing. A write of ours that
        // was interrupted between its two requests has made us the owner, but not by an apply.
        let is_applied = is_bare(object) || is_managed_by(live, &options.fields.manager);
        if retaken.is_empty()
            && is_applied
            && (expected.matches(&now, options) || expected.matches(&alone, options))
        {
            return Self::AlreadyApplied;
        }
        let Some(before) = &expected.managed_values else {
            return breached(ConflictKind::Appeared);
        };
        let changed = if retaken.is_empty() {
            changed_fields(before, &now)
        } else {
            retaken
        };
        if !changed.is_empty() {
            return breached(ConflictKind::Changed(changed));
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
            Some(expected) => expected_hash(now, &options.fields).as_ref() == Some(expected),
            None => self.managed_values.is_none(),
        }
    }
}

/// Returns true if an object that would not change need not be written: we have applied it, and no
/// manager in `take_over` still owns fields of it. An apply of an object of a name alone makes us
/// the owner of nothing, so it need not be written either.
pub(super) fn is_up_to_date(object: &Object, live: Option<&Object>, options: &Options) -> bool {
    live.is_some_and(|live| {
        is_bare(object)
            || is_applied_by(live, &options.fields.manager)
                && adopted_managed_fields(live, &options.fields.manager, &options.fields.adopt_from)
                    .is_none()
    })
}

/// Returns conflicts if the plan was made for another cluster or under other settings.
pub(super) fn environment_conflicts(
    saved_plan: &SavedPlan,
    snapshot: &Snapshot,
    options: &Options,
) -> Vec<Conflict> {
    let differ = |planned: &Option<String>, now: Option<String>| {
        planned.as_ref().zip(now).is_some_and(|(a, b)| *a != b)
    };
    let conflict = |subject: &str, how| Conflict {
        subject: subject.to_owned(),
        kind: how,
    };
    let cluster = differ(&saved_plan.cluster, snapshot.cluster_uid.clone())
        .then(|| conflict("the cluster", ConflictKind::OtherCluster));
    let settings = differ(&saved_plan.options, Some(options.fingerprint()));
    let settings = settings.then(|| conflict("the settings", ConflictKind::OtherSettings));
    cluster.into_iter().chain(settings).collect()
}

/// Decides what an approved plan does with each object of the snapshot.
///
/// # Errors
/// Returns every conflict; then nothing must be written.
pub fn check_saved_plan<'s>(
    saved_plan: &SavedPlan,
    snapshot: &'s Snapshot,
    options: &Options,
) -> Result<Vec<Item<'s>>, Vec<Conflict>> {
    let mut planned: HashMap<&Subject, &ExpectedObject> = saved_plan
        .objects
        .iter()
        .map(|expected| (&expected.subject, expected))
        .collect();
    let mut items = Vec::with_capacity(snapshot.objects.len());
    let mut conflicts = environment_conflicts(saved_plan, snapshot, options);
    for object in &snapshot.objects {
        let live = snapshot.live.get(&object.id());
        let expected = planned.remove(&subject(&object.id()));
        let decided = match expected {
            Some(expected) if expected.unread => Ok(Action::LeaveUnread),
            Some(_) if snapshot.has_finished(object, options) => Ok(Action::LeaveFinished),
            // It may be readable once other objects of the set are applied: it is checked then.
            Some(expected) if snapshot.unreadable.contains_key(&object.id()) => Ok(Action::Write {
                recreate: expected.recreate,
                expected: Some(Expectation::from(expected)),
            }),
            _ => decide(object, live, expected, options),
        };
        match decided {
            Ok(action) => items.push(Item {
                object,
                live,
                action,
                outcome: None,
            }),
            Err(conflict) => conflicts.push(conflict),
        }
    }
    conflicts.extend(planned.into_keys().map(|subject| Conflict {
        subject: subject.to_string(),
        kind: ConflictKind::Missing,
    }));
    conflicts.sort_by(|a, b| a.subject.cmp(&b.subject));
    if conflicts.is_empty() {
        Ok(items)
    } else {
        Err(conflicts)
    }
}

fn decide(
    object: &Object,
    live: Option<&Object>,
    expected: Option<&ExpectedObject>,
    options: &Options,
) -> Result<Action, Conflict> {
    let conflict = |kind| Conflict {
        subject: object.subject(),
        kind,
    };
    let expected = expected.ok_or_else(|| conflict(ConflictKind::Unplanned))?;
    if expected.change == ChangeKind::Error {
        return Err(conflict(ConflictKind::Refused));
    }
    let expectation = Expectation::from(expected);
    let is_applied = match Check::of(object, &expectation, live, options) {
        Check::AlreadyApplied => true,
        Check::Unchanged => false,
        Check::Conflicting(conflict) => return Err(conflict),
    };
    Ok(match expected.change {
        ChangeKind::Unchanged if is_up_to_date(object, live, options) => Action::Leave,
        _ => Action::Write {
            recreate: expected.recreate && !is_applied,
            expected: Some(expectation),
        },
    })
}
