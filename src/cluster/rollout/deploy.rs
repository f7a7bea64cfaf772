//! Runs a deploy: apply, wait until ready, prune, record it in the inventory. Prunes only after all
//! objects are ready.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::client::{Api, ClusterError};
use crate::cluster::health::wait::{NotReady, WaitOptions, WaitOutcome, wait};
use crate::cluster::rollout::apply::{ApplyResult, apply};
use crate::cluster::rollout::inventory::DeployOutcome;
use crate::cluster::rollout::options::Options;
use crate::cluster::rollout::preconditions::{Action, Conflict};
use crate::cluster::rollout::prune::Deletion;
use crate::cluster::rollout::snapshot::Snapshot;
use crate::cluster::rollout::{deny, prune};
use crate::plan::changeset::{Change, ResourceDiff};
use crate::plan::contract::SavedPlan;

/// Timeout of the final inventory write, which is not ended by a stop.
const FINAL_WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Time for pruned objects to be gone, if the deploy does not wait.
const PRUNE_TIMEOUT: Duration = Duration::from_secs(60);

/// Maximum number of reasons in one line.
const MAX_REASONS: usize = 10;

/// Why a deploy failed.
#[derive(Debug, Clone, PartialEq)]
pub enum Failure {
    /// Objects are not as the approved plan expects.
    PlanConflict(Vec<Conflict>),
    /// Objects were refused.
    Refused {
        /// The objects, each with its reason.
        errors: Vec<String>,
        /// Whether a guard refused, not the server: `deploy.deny`, the prune limits, or fields that
        /// other managers own.
        is_guarded: bool,
        /// Whether the server refused for lack of permission.
        is_forbidden: bool,
    },
    /// Objects did not become ready.
    NotReady(Vec<NotReady>),
    /// The job was stopped.
    Stopped,
}

impl Failure {
    /// Formats the failure in one line.
    pub fn sentence(&self) -> String {
        match self {
            Self::PlanConflict(breaches) => {
                let told = breaches
                    .iter()
                    .map(|breach| format!("{}: {breach}", breach.subject));
                format!("the approved plan no longer fits: {}", join_reasons(told))
            }
            Self::Refused { errors, .. } => join_reasons(errors.iter().cloned()),
            Self::NotReady(all) => format!(
                "not ready: {}",
                join_reasons(all.iter().map(|one| one.cause.sentence()))
            ),
            Self::Stopped => "the deploy was stopped".into(),
        }
    }

    /// Returns the failure as a JSON document.
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
            is_guarded: false,
            is_forbidden: error.is_forbidden(),
        }
    }
}

/// Joins the first reasons in one line, with the number of those left out.
pub fn join_reasons(reasons: impl ExactSizeIterator<Item = String>) -> String {
    let more = reasons.len().saturating_sub(MAX_REASONS);
    let told = reasons.take(MAX_REASONS).collect::<Vec<_>>().join("; ");
    if more > 0 {
        format!("{told}; and {more} more")
    } else {
        told
    }
}

/// Result of a deploy.
#[derive(Debug, Default)]
pub struct DeployResult {
    /// What happened to each object, deletions last.
    pub diffs: Vec<ResourceDiff>,
    /// Notes for the user.
    pub notes: Vec<String>,
    /// Why it failed; `Missing` if it succeeded.
    pub failure: Option<Failure>,
}

impl DeployResult {
    /// Records that the inventory write failed. An earlier failure stays.
    fn record_write_error(&mut self, written: Result<(), ClusterError>) {
        let Err(error) = written else { return };
        self.notes
            .push(format!("the inventory could not be written: {error}"));
        self.failure.get_or_insert_with(|| error.into());
    }
}

/// Parameters of a deploy.
pub struct DeployRequest<'a> {
    /// One action for each object of the snapshot, in the same order.
    pub actions: Vec<Action>,
    /// The approved plan. Without one, the prune limits apply.
    pub saved_plan: Option<&'a SavedPlan>,
    /// `oci://…@sha256:…` of the artifact, for the history.
    pub artifact: Option<String>,
    /// How to wait for the objects; `Missing` to not wait.
    pub waiting: Option<WaitOptions>,
}

/// Deploys the snapshot's objects. Reports stages and objects to `progress`.
///
/// # Errors
/// Fails if something goes wrong before the first write. Later failures are in the result.
pub async fn deploy(
    api: &Api,
    snapshot: &mut Snapshot,
    request: &DeployRequest<'_>,
    options: &Options,
    progress: &(dyn Fn(&str) + Sync),
) -> Result<DeployResult, ClusterError> {
    let denied = deny::refusals(&snapshot.objects, &options.deny);
    if !denied.is_empty() {
        let errors = denied
            .into_iter()
            .map(|(object, reason)| format!("{}: {reason}", object.subject()))
            .collect();
        let failure = Some(Failure::Refused {
            errors,
            is_guarded: true,
            is_forbidden: false,
        });
        return Ok(DeployResult {
            failure,
            ..DeployResult::default()
        });
    }
    if request.saved_plan.is_none()
        && let Some(reason) = unapproved_reason(api, snapshot, options).await?
    {
        let errors = vec![format!("nothing was done: {reason}")];
        let failure = Some(Failure::Refused {
            errors,
            is_guarded: true,
            is_forbidden: false,
        });
        return Ok(DeployResult {
            failure,
            ..DeployResult::default()
        });
    }
    let applied = apply(api, snapshot, &request.actions, options, progress).await?;
    let mut deployed = DeployResult {
        diffs: applied.diffs.clone(),
        ..DeployResult::default()
    };
    deployed.failure = if api.stop.is_stopped() {
        Some(Failure::Stopped)
    } else {
        refusal(&applied)
    };
    if let Some(inventory) = &mut snapshot.inventory {
        // Write the inventory before the wait, which may be cut short.
        let (to_the_end, writer) = (api.to_the_end(), options.writer());
        let settled = inventory.write_if_changed(&to_the_end, &snapshot.served, &writer);
        deployed.record_write_error(with_write_timeout(api, settled).await);
    }
    if deployed.failure.is_none()
        && let Some(waiting) = &request.waiting
    {
        deployed.failure =
            match wait(api, &snapshot.served, applied.objects, waiting, progress).await {
                WaitOutcome::Ready => None,
                WaitOutcome::Unrecoverable(all) | WaitOutcome::TimedOut(all) => {
                    Some(Failure::NotReady(all))
                }
                WaitOutcome::Stopped => Some(Failure::Stopped),
            };
    }
    if deployed.failure.is_none()
        && let Err(error) = prune_listed(api, snapshot, request, options, &mut deployed).await
    {
        deployed.failure = Some(error.into());
    }
    // Record what was done even after a stop.
    let to_the_end = api.to_the_end();
    let remembered = with_write_timeout(
        api,
        record_deploy(&to_the_end, snapshot, request, options, &deployed),
    )
    .await;
    deployed.record_write_error(remembered);
    Ok(deployed)
}

/// Runs a final write with a timeout.
pub(super) async fn with_write_timeout(
    api: &Api,
    write: impl Future<Output = Result<(), ClusterError>>,
) -> Result<(), ClusterError> {
    let late = |_| ClusterError::Timeout {
        what: "the inventory was not written".into(),
        waited: FINAL_WRITE_TIMEOUT,
    };
    api.clock
        .timeout(FINAL_WRITE_TIMEOUT, write)
        .await
        .map_err(late)?
}

/// Returns why deletions that nobody has approved are refused; runs before anything is written.
async fn unapproved_reason(
    api: &Api,
    snapshot: &Snapshot,
    options: &Options,
) -> Result<Option<String>, ClusterError> {
    let pruning = prune::plan(api, snapshot, options).await?;
    let help = "approve a plan that lists them (plan --out PLAN, then apply PLAN)";
    Ok(prune::approval_reason(snapshot, &pruning, options)
        .map(|reason| format!("{reason}; {help}")))
}

fn refusal(applied: &ApplyResult) -> Option<Failure> {
    if !applied.conflicts.is_empty() {
        return Some(Failure::PlanConflict(applied.conflicts.clone()));
    }
    let errors = applied.errors();
    let is_forbidden = applied.is_forbidden
        || applied
            .aborted
            .as_ref()
            .is_some_and(ClusterError::is_forbidden);
    (!errors.is_empty()).then_some(Failure::Refused {
        errors,
        is_guarded: applied.is_owned_by_others,
        is_forbidden,
    })
}

async fn prune_listed(
    api: &Api,
    snapshot: &mut Snapshot,
    request: &DeployRequest<'_>,
    options: &Options,
    deployed: &mut DeployResult,
) -> Result<(), ClusterError> {
    let mut pruning = prune::plan(api, snapshot, options).await?;
    deployed.notes.append(&mut pruning.notes);
    match request.saved_plan {
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
                    "{} stays, because {}; it is deleted only if a plan lists it",
                    one.id, one.needs_plan?
                ))
            });
            deployed.notes.extend(told);
        }
    }
    // Recompute: objects kept above also keep their namespace and CRD.
    pruning.protect(snapshot);
    deployed.notes.append(&mut pruning.notes);
    let now = api.clock.elapsed();
    let patience = request.waiting.as_ref().map_or(PRUNE_TIMEOUT, |waiting| {
        waiting.deadline(now + waiting.timeout).saturating_sub(now)
    });
    let (diffs, still, is_forbidden) =
        prune::prune(api, snapshot, &pruning, options, patience).await;
    deployed.notes.extend(still);
    let errors = crate::cluster::rollout::plan::errors(diffs.iter());
    deployed.diffs.extend(diffs);
    if !errors.is_empty() {
        deployed.failure = Some(Failure::Refused {
            errors,
            is_guarded: false,
            is_forbidden,
        });
    }
    Ok(())
}

/// Writes the inventory, and adds the deploy to its history unless nothing is new.
async fn record_deploy(
    api: &Api,
    snapshot: &mut Snapshot,
    request: &DeployRequest<'_>,
    options: &Options,
    deployed: &DeployResult,
) -> Result<(), ClusterError> {
    let Some(inventory) = &mut snapshot.inventory else {
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
    let is_cut = request
        .waiting
        .as_ref()
        .and_then(|waiting| waiting.until)
        .is_some_and(|until| api.clock.elapsed() >= until);
    let outcome = match &deployed.failure {
        None => DeployOutcome::Succeeded,
        Some(Failure::NotReady(_)) if !is_cut => DeployOutcome::Failed,
        Some(_) => DeployOutcome::Unfinished,
    };
    if changes == [0; 3] && inventory.is_recorded(outcome, request.artifact.as_deref()) {
        return Ok(());
    }
    inventory.add_to_history(api.clock.now(), request.artifact.clone(), outcome, changes);
    inventory
        .write(api, &snapshot.served, &options.writer())
        .await
}
