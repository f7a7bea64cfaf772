//! Checks a saved plan against the cluster: is every managed field as it was when the plan was
//! made?
//!
//! An object that already is as the plan expects it after the apply, written by us, is not a
//! conflict: the same plan can finish a deploy that was interrupted.

use std::collections::HashMap;

use futures_util::StreamExt as _;

use crate::cluster::client::discovery::RestResource;
use crate::cluster::client::{Api, ClusterError};
use crate::cluster::fields::adopt::adopted_managed_fields;
use crate::cluster::fields::managed_values::{
    applied_values, changed_fields, expected_hash, managed_values, retaken,
};
use crate::cluster::fields::predict::is_bare;
use crate::cluster::rollout::dry_run::is_applied;
use crate::cluster::rollout::failure::DeployFailure;
use crate::cluster::rollout::item::{Action, Conflict, ConflictKind, Expectation, Item};
use crate::cluster::rollout::options::Options;
use crate::cluster::rollout::saved::subject;
use crate::cluster::rollout::snapshot::Snapshot;
use crate::manifest::Object;
use crate::manifest::managed_fields::{is_applied_by, is_managed_by};
use crate::plan::changeset::ChangeKind;
use crate::plan::saved_plan::{ExpectedObject, SavedPlan, Subject};

/// Maximum number of objects that the server is asked about at the same time.
const MAX_CONCURRENT: usize = 8;

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
    /// Checks the live object, and asks the server where the plan does not tell.
    ///
    /// # Errors
    /// Fails if the server gives no answer.
    pub async fn with_server(
        api: &Api,
        resource: Option<&RestResource>,
        object: &Object,
        expected: &Expectation,
        live: Option<&Object>,
        options: &Options,
    ) -> Result<Self, ClusterError> {
        if let Some(check) = Self::of(object, expected, live, options) {
            return Ok(check);
        }
        if let (Some(resource), Some(live)) = (resource, live)
            && is_applied(api, resource, object, live, options).await?
        {
            return Ok(Self::AlreadyApplied);
        }
        Ok(Self::Conflicting(Conflict {
            subject: object.subject(),
            kind: ConflictKind::Appeared,
        }))
    }

    /// Checks the live object by the plan alone. `None` if that does not tell: the object did not
    /// exist, we have applied it since, and the server could not say what it makes of it.
    fn of(
        object: &Object,
        expected: &Expectation,
        live: Option<&Object>,
        options: &Options,
    ) -> Option<Self> {
        let breached = |how| {
            Some(Self::Conflicting(Conflict {
                subject: object.subject(),
                kind: how,
            }))
        };
        let Some(live) = live else {
            // A deploy may have been interrupted between deletion and recreation.
            let is_expected = expected.managed_values.is_none() || expected.recreate;
            return if is_expected {
                Some(Self::Unchanged)
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
        if retaken.is_empty() && is_applied {
            if expected.matches(&now, options) || expected.matches(&alone, options) {
                return Some(Self::AlreadyApplied);
            }
            if expected.managed_values.is_none() && expected.expected_hash.is_none() {
                return None;
            }
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
            _ => Some(Self::Unchanged),
        }
    }
}

impl Expectation {
    /// Returns true if these managed values are what the server's dry run returned.
    fn matches(&self, now: &Object, options: &Options) -> bool {
        self.expected_hash.is_some() && expected_hash(now, &options.fields) == self.expected_hash
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

/// Decides what an approved plan does with each object of the snapshot. `is_resumed` says that an
/// attempt of the same deploy was cut off: what is as the plan expects it was done by that.
///
/// # Errors
/// Returns every conflict, or what the server's answer failed for; then nothing must be written.
pub async fn check_saved_plan<'s>(
    api: &Api,
    saved_plan: &SavedPlan,
    snapshot: &'s Snapshot,
    options: &Options,
    is_resumed: bool,
) -> Result<Vec<Item<'s>>, DeployFailure> {
    let mut planned: HashMap<&Subject, &ExpectedObject> = saved_plan
        .objects
        .iter()
        .map(|expected| (&expected.subject, expected))
        .collect();
    let expectations = snapshot
        .objects
        .iter()
        .map(|object| (object, planned.remove(&subject(&object.id()))));
    let decisions: Vec<_> = expectations
        .map(|(object, expected)| decide(api, snapshot, object, expected, options, is_resumed))
        .collect();
    let mut conflicts = environment_conflicts(saved_plan, snapshot, options);
    conflicts.extend(planned.into_keys().map(|subject| Conflict {
        subject: subject.to_string(),
        kind: ConflictKind::Missing,
    }));
    let mut items = Vec::with_capacity(snapshot.objects.len());
    let mut decisions = futures_util::stream::iter(decisions).buffered(MAX_CONCURRENT);
    while let Some(decided) = decisions.next().await {
        match decided? {
            Ok(item) => items.push(item),
            Err(conflict) => conflicts.push(conflict),
        }
    }
    conflicts.sort_by(|a, b| a.subject.cmp(&b.subject));
    if conflicts.is_empty() {
        Ok(items)
    } else {
        Err(DeployFailure::PlanConflict(conflicts))
    }
}

/// Decides what is done with one object.
async fn decide<'s>(
    api: &Api,
    snapshot: &'s Snapshot,
    object: &'s Object,
    expected: Option<&ExpectedObject>,
    options: &Options,
    is_resumed: bool,
) -> Result<Result<Item<'s>, Conflict>, ClusterError> {
    let live = snapshot.live.get(&object.id());
    let conflict = |kind| Conflict {
        subject: object.subject(),
        kind,
    };
    let item = |action| Item {
        object,
        live,
        action,
        done_before: None,
        outcome: None,
    };
    let Some(expected) = expected else {
        return Ok(Err(conflict(ConflictKind::Unplanned)));
    };
    if expected.unread {
        return Ok(Ok(item(Action::LeaveUnread)));
    }
    if snapshot.has_finished(object, options) {
        return Ok(Ok(item(Action::LeaveFinished)));
    }
    let expectation = Expectation::from(expected);
    if snapshot.unreadable.contains_key(&object.id()) {
        // It may be readable once other objects of the set are applied: it is checked then.
        return Ok(Ok(item(Action::Write {
            recreate: expected.recreate,
            expected: Some(expectation),
        })));
    }
    if expected.change == ChangeKind::Error {
        return Ok(Err(conflict(ConflictKind::Refused)));
    }
    let resource = snapshot.served.resource(object).ok();
    let check = Check::with_server(api, resource, object, &expectation, live, options);
    let is_applied = match check.await? {
        Check::AlreadyApplied => true,
        Check::Unchanged => false,
        Check::Conflicting(conflict) => return Ok(Err(conflict)),
    };
    let action = match expected.change {
        ChangeKind::Unchanged if is_up_to_date(object, live, options) => Action::Leave,
        _ => Action::Write {
            recreate: expected.recreate && !is_applied,
            expected: Some(expectation),
        },
    };
    Ok(Ok(Item {
        done_before: (is_resumed && is_applied).then_some(expected.change),
        ..item(action)
    }))
}
