//! Applies a set of objects in stages: namespaces and CRDs first, until the CRDs are established,
//! then classes, service accounts and configuration, then the rest, and webhooks last. A failed
//! object blocks only the objects that depend on it. The result of every object is reported.

mod prerequisites;
mod record;

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::StreamExt as _;

use crate::cluster::client::discovery::ServedKinds;
use crate::cluster::client::{Api, ClusterError};
use crate::cluster::fields::render;
use crate::cluster::rollout::dependency::failed_dependency;
use crate::cluster::rollout::failure::DeployFailure;
use crate::cluster::rollout::inventory::Inventory;
use crate::cluster::rollout::item::{Action, Conflict, Item, ItemOutcome, Problem};
use crate::cluster::rollout::options::Options;
use crate::cluster::rollout::refusal::Refusal;
use crate::cluster::rollout::refused::{errors, explain};
use crate::cluster::rollout::snapshot::Snapshot;
use crate::cluster::rollout::stage::Stage;
use crate::cluster::rollout::write::{NotWritten, Writer};
use crate::manifest::Object;
use crate::plan::changeset::{ChangeKind, Op, ResourceDiff};

/// Maximum number of concurrent applies.
const MAX_CONCURRENT: usize = 8;

/// Result of an apply.
#[derive(Debug)]
pub struct Applied<'s> {
    /// The objects, each with its outcome.
    pub items: Vec<Item<'s>>,
    /// The inventory, with what was done; `None` if the objects belong to no component.
    pub inventory: Option<Inventory>,
    /// The kinds that the cluster serves now.
    pub served: ServedKinds,
    /// The error that ended the apply early.
    pub aborted: Option<ClusterError>,
}

impl Applied<'_> {
    /// Returns what happened to each object, in the order of the objects.
    pub fn diffs(&self) -> impl Iterator<Item = &ResourceDiff> {
        self.outcomes().map(|outcome| &outcome.diff)
    }

    /// Returns the objects that exist now, as they were last read or written.
    pub fn objects(&self) -> Vec<Object> {
        self.outcomes()
            .filter_map(|outcome| outcome.now.clone())
            .collect()
    }

    /// Returns why the apply failed; `None` if every object is as desired.
    pub fn failure(&self) -> Option<DeployFailure> {
        let problems = self
            .outcomes()
            .filter_map(|outcome| outcome.problem.as_ref());
        let conflicts: Vec<Conflict> = problems
            .clone()
            .filter_map(|problem| match problem {
                Problem::Conflict(conflict) => Some(conflict.clone()),
                _ => None,
            })
            .collect();
        if !conflicts.is_empty() {
            return Some(DeployFailure::PlanConflict(conflicts));
        }
        let refusals = problems.filter_map(|problem| match problem {
            Problem::Refused(refusal) => Some(*refusal),
            _ => None,
        });
        let aborted = self.aborted.iter();
        let refusal = refusals.chain(aborted.clone().map(Refusal::from)).max();
        let errors: Vec<String> = aborted
            .map(ToString::to_string)
            .chain(errors(self.diffs()))
            .collect();
        (!errors.is_empty()).then(|| DeployFailure::Refused {
            errors,
            refusal: refusal.unwrap_or(Refusal::Server),
        })
    }

    fn outcomes(&self) -> impl Iterator<Item = &ItemOutcome> + Clone {
        self.items.iter().filter_map(|item| item.outcome.as_ref())
    }
}

/// Applies the items of a snapshot by stages, and waits at most `patience` for CRDs to be
/// established and for new kinds to be served. Reports each stage, and what is waited for, to
/// `progress`.
///
/// # Errors
/// Fails if the inventory cannot be written before the first apply; then nothing is applied.
pub async fn apply<'s>(
    api: &Api,
    snapshot: &'s Snapshot,
    items: Vec<Item<'s>>,
    options: &Options,
    patience: Duration,
    progress: &(dyn Fn(&str) + Sync),
) -> Result<Applied<'s>, ClusterError> {
    let mut run = Run {
        api,
        snapshot,
        options,
        patience,
        progress,
        applied: Applied {
            items,
            inventory: snapshot.inventory.clone(),
            served: snapshot.served.clone(),
            aborted: None,
        },
        failed: Vec::new(),
    };
    let mut is_intent_recorded = run.may_record_intent();
    if is_intent_recorded {
        run.record_intent().await?;
    }
    for stage in Stage::ALL {
        let Some(summary) = run.stage(stage).await else {
            continue;
        };
        progress(&summary);
        if stage == Stage::Prerequisites {
            run.await_crds().await;
            run.rediscover().await;
        }
        if !is_intent_recorded && run.applied.aborted.is_none() {
            match run.record_intent().await {
                Ok(()) => is_intent_recorded = true,
                Err(error) => run.applied.aborted = Some(error),
            }
        }
    }
    run.record_results();
    Ok(run.applied)
}

/// An apply under way.
struct Run<'a, 's> {
    api: &'a Api,
    snapshot: &'s Snapshot,
    options: &'a Options,
    patience: Duration,
    progress: &'a (dyn Fn(&str) + Sync),
    applied: Applied<'s>,
    /// Objects that failed: those that depend on them are not tried.
    failed: Vec<&'s Object>,
}

impl<'s> Run<'_, 's> {
    /// Applies the objects of a stage. Returns a summary; `None` if the stage has no objects.
    async fn stage(&mut self, stage: Stage) -> Option<String> {
        self.members(stage).next()?;
        if self.applied.aborted.is_none() {
            self.refresh_discovery(stage).await;
        }
        let run = &*self;
        let items = run.applied.items.iter().enumerate();
        let work: Vec<_> = items
            .filter(|(_, item)| Stage::of(item.object) == stage)
            .map(|(at, item)| async move { (at, run.apply_one(item, stage).await) })
            .collect();
        let outcomes: Vec<(usize, ItemOutcome)> = futures_util::stream::iter(work)
            .buffer_unordered(MAX_CONCURRENT)
            .collect()
            .await;
        let count = outcomes.len();
        let mut refused = 0;
        for (at, outcome) in outcomes {
            let Some(item) = self.applied.items.get_mut(at) else {
                continue;
            };
            if outcome.problem.is_some() {
                refused += 1;
                self.failed.push(item.object);
            }
            item.outcome = Some(outcome);
        }
        let written = count - refused;
        let failures = if refused > 0 {
            format!(", {refused} failed")
        } else {
            String::new()
        };
        let name = stage.words();
        Some(format!("{name}: {written} of {count} objects{failures}"))
    }

    fn members(&self, stage: Stage) -> impl Iterator<Item = &'s Object> {
        let objects = self.applied.items.iter().map(|item| item.object);
        objects.filter(move |object| Stage::of(object) == stage)
    }

    async fn apply_one(&self, item: &Item<'s>, stage: Stage) -> ItemOutcome {
        let Item {
            object,
            live,
            action,
            ..
        } = item;
        let plural = self.applied.served.plural(object);
        let failed = |message: String, problem| ItemOutcome {
            diff: render::failed(plural, Op::Apply, object, message, false),
            now: live.cloned(),
            problem: Some(problem),
        };
        let resource = match self.applied.served.resource(object) {
            Ok(resource) => resource,
            Err(error) => return failed(error.to_string(), Problem::Refused(Refusal::Server)),
        };
        let dependency = failed_dependency(object, stage, &self.failed);
        let blocked = match &self.applied.aborted {
            Some(error) => Some(error.to_string()),
            None => dependency.map(|subject| format!("{subject} failed")),
        };
        if let Some(blocked) = blocked {
            return failed(format!("not tried, because {blocked}"), Problem::Skipped);
        }
        if matches!(action, Action::LeaveUnread) {
            let message = "it could not be read when the plan was made; plan again".to_owned();
            return failed(message, Problem::Refused(Refusal::Server));
        }
        let left = match (action, live) {
            (Action::Leave, Some(live)) => Some((*live, Some((*live).clone()))),
            (Action::LeaveFinished, _) => Some((*object, None)),
            _ => None,
        };
        if let Some((shown, now)) = left {
            return ItemOutcome {
                diff: render::unchanged(plural, shown, false),
                now,
                problem: None,
            };
        }
        let writer = Writer {
            api: self.api,
            provided: &self.snapshot.provided,
            options: self.options,
        };
        match writer.write(resource, object, action, live.cloned()).await {
            Ok(after) => written(plural, item, after),
            Err(NotWritten::Conflict(conflict)) => {
                failed(conflict.to_string(), Problem::Conflict(conflict))
            }
            Err(NotWritten::Cluster(error)) => failed(
                explain(&error, *live, &self.options.fields),
                Problem::Refused(Refusal::from(&error)),
            ),
        }
    }

    /// Returns the API versions of the stage's objects that the cluster does not serve.
    fn unserved(&self, stage: Stage) -> BTreeSet<String> {
        self.members(stage)
            .filter(|object| self.applied.served.resource(object).is_err())
            .filter(|object| failed_dependency(object, stage, &self.failed).is_none())
            .map(|object| object.api_version().to_owned())
            .collect()
    }
}

/// The outcome of an object that was applied.
fn written(plural: &str, item: &Item<'_>, after: Object) -> ItemOutcome {
    // What an attempt that was cut off has made is reported now: nobody has heard of it.
    let before = match item.done_before {
        Some(ChangeKind::Added) => None,
        _ => item.live,
    };
    let mut diff = render::resource_diff(plural, Op::Apply, before, Some(&after), false);
    if item.done_before == Some(ChangeKind::Modified) {
        diff.change = ChangeKind::Modified;
    }
    let is_recreation = matches!(item.action, Action::Write { recreate: true, .. });
    if is_recreation && item.live.is_some_and(|live| live.uid() != after.uid()) {
        diff.change = ChangeKind::Modified;
        diff.mark_recreated();
    }
    ItemOutcome {
        diff,
        now: Some(after),
        problem: None,
    }
}
