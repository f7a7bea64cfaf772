//! A whole deploy: apply, wait until ready, prune, remember. Prunes only after all is ready.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::client::{Api, ClusterError};
use crate::cluster::health::wait::{NotReady, Waited, Waiting, wait};
use crate::cluster::rollout::apply::{Applied, apply};
use crate::cluster::rollout::inventory::DeployOutcome;
use crate::cluster::rollout::options::Options;
use crate::cluster::rollout::preconditions::{Action, Breach};
use crate::cluster::rollout::prune::Deletion;
use crate::cluster::rollout::snapshot::Survey;
use crate::cluster::rollout::{deny, prune};
use crate::plan::changeset::{Change, ResourceDiff};
use crate::plan::contract::Contract;

/// The longest that the last write of a deploy may take.
const LAST_WORD: Duration = Duration::from_secs(30);

/// How long a pruned object may take to go, where nothing else is said.
const PRUNED_WITHIN: Duration = Duration::from_secs(60);

/// Reasons that are told in one line.
const MOST_TOLD: usize = 10;

/// Why a deploy failed.
#[derive(Debug, Clone, PartialEq)]
pub enum Failure {
    /// Objects are not as the approved plan has read them.
    Moved(Vec<Breach>),
    /// Objects were refused.
    Refused {
        /// Each with its reason.
        errors: Vec<String>,
        /// Whether a guard, not the server, refused.
        by_guard: bool,
        /// Whether permission is missing.
        is_forbidden: bool,
    },
    /// Objects did not become ready.
    NotReady(Vec<NotReady>),
    /// It was stopped.
    Stopped,
}

impl Failure {
    /// In one line.
    pub fn sentence(&self) -> String {
        match self {
            Self::Moved(breaches) => {
                let told = breaches
                    .iter()
                    .map(|breach| format!("{}: {breach}", breach.subject));
                format!("the approved plan no longer fits: {}", some(told))
            }
            Self::Refused { errors, .. } => some(errors.iter().cloned()),
            Self::NotReady(all) => format!(
                "not ready: {}",
                some(all.iter().map(|one| one.cause.sentence()))
            ),
            Self::Stopped => "the deploy was stopped".into(),
        }
    }

    /// As a document.
    pub fn document(&self) -> Value {
        match self {
            Self::NotReady(all) => {
                json!({"not_ready": crate::cluster::health::wait::document(all)})
            }
            other => json!({"message": other.sentence()}),
        }
    }
}

impl From<ClusterError> for Failure {
    fn from(error: ClusterError) -> Self {
        Self::Refused {
            errors: vec![error.to_string()],
            by_guard: false,
            is_forbidden: error.is_forbidden(),
        }
    }
}

/// The first of many reasons, and how many more there are.
pub fn some(reasons: impl ExactSizeIterator<Item = String>) -> String {
    let more = reasons.len().saturating_sub(MOST_TOLD);
    let told = reasons.take(MOST_TOLD).collect::<Vec<_>>().join("; ");
    if more > 0 {
        format!("{told}; and {more} more")
    } else {
        told
    }
}

/// What a deploy came to.
#[derive(Debug, Default)]
pub struct Deployed {
    /// What became of each object, those deleted last.
    pub diffs: Vec<ResourceDiff>,
    /// What people should know.
    pub notes: Vec<String>,
    /// Why it failed.
    pub failure: Option<Failure>,
}

impl Deployed {
    /// Takes up that the inventory could not be written.
    fn unwritten(&mut self, written: Result<(), ClusterError>) {
        let Err(error) = written else { return };
        self.notes
            .push(format!("the inventory could not be written: {error}"));
        self.failure.get_or_insert_with(|| error.into());
    }
}

/// What a deploy is asked for.
pub struct Order<'a> {
    /// What is done with each object of the survey.
    pub actions: Vec<Action>,
    /// The plan that was approved; without one, deletions are guarded.
    pub contract: Option<&'a Contract>,
    /// Where the objects come from, for the history.
    pub artifact: Option<String>,
    /// How they are waited for; none if they are not.
    pub waiting: Option<Waiting>,
}

/// Deploys. `told` hears of each stage and object.
///
/// # Errors
/// [`ClusterError`] if it fails before anything is written. What fails later is in what comes out.
pub async fn deploy(
    api: &Api,
    survey: &mut Survey,
    order: &Order<'_>,
    options: &Options,
    told: &(dyn Fn(&str) + Sync),
) -> Result<Deployed, ClusterError> {
    let denied = deny::refusals(&survey.objects, &options.deny);
    if !denied.is_empty() {
        let errors = denied
            .into_iter()
            .map(|(object, reason)| format!("{}: {reason}", object.subject()))
            .collect();
        let failure = Some(Failure::Refused {
            errors,
            by_guard: true,
            is_forbidden: false,
        });
        return Ok(Deployed {
            failure,
            ..Deployed::default()
        });
    }
    if order.contract.is_none()
        && let Some(reason) = guard(api, survey, options).await?
    {
        let errors = vec![format!("nothing was done: {reason}")];
        let failure = Some(Failure::Refused {
            errors,
            by_guard: true,
            is_forbidden: false,
        });
        return Ok(Deployed {
            failure,
            ..Deployed::default()
        });
    }
    let applied = apply(api, survey, &order.actions, options, told).await?;
    let mut deployed = Deployed {
        diffs: applied.diffs.clone(),
        ..Deployed::default()
    };
    deployed.failure = if api.stop.is_stopped() {
        Some(Failure::Stopped)
    } else {
        refusal(&applied)
    };
    if let Some(inventory) = &mut survey.inventory {
        // Known before it is waited for, which may be cut short.
        let (to_the_end, writer) = (api.to_the_end(), options.writer());
        let settled = inventory.settle(&to_the_end, &survey.served, &writer);
        deployed.unwritten(in_time(api, settled).await);
    }
    if deployed.failure.is_none()
        && let Some(waiting) = &order.waiting
    {
        deployed.failure = match wait(api, &survey.served, applied.objects, waiting, told).await {
            Waited::Ready => None,
            Waited::Hopeless(all) | Waited::Late(all) => Some(Failure::NotReady(all)),
            Waited::Stopped => Some(Failure::Stopped),
        };
    }
    if deployed.failure.is_none()
        && let Err(error) = prune_after(api, survey, order, options, &mut deployed).await
    {
        deployed.failure = Some(error.into());
    }
    // What was done is written down also when no more is wanted.
    let to_the_end = api.to_the_end();
    let remembered = in_time(
        api,
        remember(&to_the_end, survey, order, options, &deployed),
    )
    .await;
    deployed.unwritten(remembered);
    Ok(deployed)
}

/// A last write, which does not take long.
pub(super) async fn in_time(
    api: &Api,
    write: impl Future<Output = Result<(), ClusterError>>,
) -> Result<(), ClusterError> {
    let late = |_| ClusterError::Timeout {
        what: "it was not written".into(),
        waited: LAST_WORD,
    };
    api.clock.timeout(LAST_WORD, write).await.map_err(late)?
}

/// Why what nobody has approved is not done, before anything is.
async fn guard(
    api: &Api,
    survey: &Survey,
    options: &Options,
) -> Result<Option<String>, ClusterError> {
    let pruning = prune::plan(api, survey, options).await?;
    let help = "approve a plan that lists them (plan --out PLAN, then apply PLAN)";
    Ok(prune::guard(survey, &pruning, options).map(|reason| format!("{reason}; {help}")))
}

fn refusal(applied: &Applied) -> Option<Failure> {
    if !applied.breaches.is_empty() {
        return Some(Failure::Moved(applied.breaches.clone()));
    }
    let errors = applied.errors();
    let is_forbidden = applied.is_forbidden
        || applied
            .broken_off
            .as_ref()
            .is_some_and(ClusterError::is_forbidden);
    (!errors.is_empty()).then_some(Failure::Refused {
        errors,
        by_guard: applied.is_owned_by_others,
        is_forbidden,
    })
}

async fn prune_after(
    api: &Api,
    survey: &mut Survey,
    order: &Order<'_>,
    options: &Options,
    deployed: &mut Deployed,
) -> Result<(), ClusterError> {
    let mut pruning = prune::plan(api, survey, options).await?;
    deployed.notes.append(&mut pruning.notes);
    match order.contract {
        Some(contract) => {
            let is_listed = |deletion: &Deletion| {
                contract.lists(
                    &crate::cluster::rollout::plan::subject(&deletion.id),
                    &deletion.uid,
                )
            };
            let (listed, others): (Vec<_>, Vec<_>) =
                pruning.deletions.into_iter().partition(is_listed);
            pruning.deletions = listed;
            let told = others.iter().map(|one| {
                format!(
                    "{} stays, because the approved plan does not list it",
                    one.id
                )
            });
            deployed.notes.extend(told);
        }
        None => {
            let (free, guarded): (Vec<_>, Vec<_>) = pruning
                .deletions
                .into_iter()
                .partition(|deletion| deletion.needs_plan.is_none());
            pruning.deletions = free;
            let told = guarded.iter().filter_map(|one| {
                Some(format!(
                    "{} stays, because {}; a plan that lists it is needed",
                    one.id, one.needs_plan?
                ))
            });
            deployed.notes.extend(told);
        }
    }
    // What stays now shelters more.
    pruning.shelter(survey);
    deployed.notes.append(&mut pruning.notes);
    let now = api.clock.elapsed();
    let patience = order.waiting.as_ref().map_or(PRUNED_WITHIN, |waiting| {
        waiting.end(now + waiting.timeout).saturating_sub(now)
    });
    let (diffs, still, is_forbidden) = prune::prune(api, survey, &pruning, options, patience).await;
    deployed.notes.extend(still);
    let errors = crate::cluster::rollout::plan::errors(diffs.iter());
    deployed.diffs.extend(diffs);
    if !errors.is_empty() {
        deployed.failure = Some(Failure::Refused {
            errors,
            by_guard: false,
            is_forbidden,
        });
    }
    Ok(())
}

/// Writes into the inventory what is there now, and the deploy into its history, if there is anything new.
async fn remember(
    api: &Api,
    survey: &mut Survey,
    order: &Order<'_>,
    options: &Options,
    deployed: &Deployed,
) -> Result<(), ClusterError> {
    let Some(inventory) = &mut survey.inventory else {
        return Ok(());
    };
    let count = |change: Change| {
        deployed
            .diffs
            .iter()
            .filter(|diff| diff.change == change)
            .count()
    };
    let changes = [Change::Added, Change::Modified, Change::Removed].map(count);
    let is_cut = order
        .waiting
        .as_ref()
        .and_then(|waiting| waiting.until)
        .is_some_and(|until| api.clock.elapsed() >= until);
    let outcome = match &deployed.failure {
        None => DeployOutcome::Succeeded,
        Some(Failure::NotReady(_)) if !is_cut => DeployOutcome::Failed,
        Some(_) => DeployOutcome::Unfinished,
    };
    if changes == [0; 3] && inventory.is_as_remembered(outcome, order.artifact.as_deref()) {
        return Ok(());
    }
    inventory.remember(api.clock.now(), order.artifact.clone(), outcome, changes);
    inventory
        .write(api, &survey.served, &options.writer())
        .await
}
