//! Runs a deploy: apply, wait until ready, prune, record it in the inventory. Prunes only after all
//! objects are ready.

use std::time::Duration;

use jiff::Timestamp;

use crate::cluster::client::{Api, ClusterError};
use crate::cluster::health::wait::{WaitOptions, WaitOutcome, Waited, wait};
use crate::cluster::rollout::apply::apply;
use crate::cluster::rollout::failure::DeployFailure;
use crate::cluster::rollout::inventory::{Claims, DeployOutcome, Inventory, Takeover};
use crate::cluster::rollout::item::Item;
use crate::cluster::rollout::options::Options;
use crate::cluster::rollout::plan::Plan;
use crate::cluster::rollout::prune::Pruning;
use crate::cluster::rollout::prune::execute::{Pruned, prune};
use crate::cluster::rollout::refusal::Refusal;
use crate::cluster::rollout::refused::errors;
use crate::cluster::rollout::saved::subject;
use crate::cluster::rollout::snapshot::Snapshot;
use crate::cluster::rollout::write::PREREQUISITE_TIMEOUT;
use crate::cluster::rollout::{deny, preconditions, prune, takeover};
use crate::plan::changeset::{ChangeKind, ResourceDiff};
use crate::plan::saved_plan::SavedPlan;

/// Timeout of the final inventory write, which is not ended by a stop.
const FINAL_WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Time for pruned objects to be gone, if the deploy does not wait.
const PRUNE_TIMEOUT: Duration = Duration::from_secs(60);

/// Result of a deploy.
#[derive(Debug, Default)]
pub struct DeployResult {
    /// What happened to each object, deletions last.
    pub diffs: Vec<ResourceDiff>,
    /// Notes for the user.
    pub notes: Vec<String>,
    /// Why it failed; `None` if it succeeded.
    pub failure: Option<DeployFailure>,
}

/// The result of a deploy that failed before anything was done.
impl From<DeployFailure> for DeployResult {
    fn from(failure: DeployFailure) -> Self {
        Self {
            failure: Some(failure),
            ..Self::default()
        }
    }
}

impl DeployResult {
    /// Adds what pruning did.
    fn add_pruned(&mut self, notes: Vec<String>, pruned: Pruned) {
        self.notes.extend(notes);
        self.notes.extend(pruned.remaining);
        let errors = errors(pruned.diffs.iter());
        self.diffs.extend(pruned.diffs);
        if !errors.is_empty() {
            self.failure = Some(DeployFailure::Refused {
                errors,
                refusal: pruned.refusal.unwrap_or(Refusal::Server),
            });
        }
    }

    /// Adds the deploy to the inventory's history. Returns false if nothing is new. A deploy whose
    /// wait was cut short by the job's time is unfinished, not failed.
    fn add_to_history(
        &self,
        inventory: &mut Inventory,
        now: Timestamp,
        artifact: Option<String>,
        is_cut: bool,
    ) -> bool {
        let count = |change: ChangeKind| {
            let diffs = self.diffs.iter();
            diffs.filter(|diff| diff.change == change).count()
        };
        let changes = [ChangeKind::Added, ChangeKind::Modified, ChangeKind::Removed].map(count);
        let outcome = match &self.failure {
            None => DeployOutcome::Succeeded,
            Some(DeployFailure::NotReady(_)) if !is_cut => DeployOutcome::Failed,
            Some(_) => DeployOutcome::Unfinished,
        };
        if changes == [0; 3] && inventory.is_recorded(outcome, artifact.as_deref()) {
            return false;
        }
        inventory.add_to_history(now, artifact, outcome, changes);
        true
    }

    /// Records that the inventory write failed. An earlier failure stays.
    fn record_write_error(&mut self, written: Result<(), ClusterError>) {
        let Err(error) = written else { return };
        self.notes
            .push(format!("the inventory could not be written: {error}"));
        self.failure.get_or_insert_with(|| error.into());
    }
}

/// What a deploy does, decided before anything is written.
#[derive(Debug)]
pub struct DeployRequest<'s> {
    /// The objects, each with its action.
    items: Vec<Item<'s>>,
    /// What happens to the objects that are no longer part of the component.
    pruning: Pruning,
    /// Objects that are taken over from other components.
    takeovers: Vec<Takeover>,
    /// `oci://…@sha256:…` of the artifact, for the history.
    artifact: Option<String>,
    /// How to wait for the objects; `None` to not wait.
    waiting: Option<WaitOptions>,
}

impl<'s> DeployRequest<'s> {
    /// A request to do what a plan says, that was just made of the snapshot. If a person has
    /// approved it, it deletes what it lists; otherwise the prune limits apply.
    ///
    /// # Errors
    /// Fails if the plan holds objects that are refused, or deletions that nobody has approved.
    pub fn of_plan(
        plan: Plan<'s>,
        snapshot: &Snapshot,
        options: &Options,
        is_approved: bool,
    ) -> Result<Self, DeployFailure> {
        let failure = plan.refusal().or_else(|| takeover::refusal(&plan.held()));
        if let Some(failure) = failure {
            return Err(failure);
        }
        let takeovers = plan.takeovers();
        let (items, mut pruning) = plan.into_items(options, is_approved);
        if !is_approved {
            if let Some(reason) = prune::approval_reason(snapshot, &pruning, options) {
                let help = "approve a plan that lists them (plan --out PLAN, then apply PLAN)";
                return Err(DeployFailure::Refused {
                    errors: vec![format!("nothing was done: {reason}; {help}")],
                    refusal: Refusal::Guard,
                });
            }
            pruning.restrict(snapshot, |deletion| {
                let reason = deletion.needs_plan?;
                Some(format!("{reason}; it is deleted only if a plan lists it"))
            });
        }
        Ok(Self {
            items,
            pruning,
            takeovers,
            artifact: None,
            waiting: None,
        })
    }

    /// A request to do what a saved plan says, if it still fits. `is_resumed` says that an attempt of
    /// the same deploy was cut off.
    ///
    /// # Errors
    /// [`DeployFailure::PlanConflict`] if it does not fit any more. Also fails if `deploy.deny` forbids
    /// an object, or the inventories of other components cannot be read.
    pub async fn of_saved_plan(
        api: &Api,
        saved_plan: &SavedPlan,
        snapshot: &'s Snapshot,
        options: &Options,
        is_resumed: bool,
    ) -> Result<Self, DeployFailure> {
        let denied = deny::refusals(&snapshot.objects, &options.deny);
        if !denied.is_empty() {
            let errors = denied
                .into_iter()
                .map(|(object, reason)| format!("{}: {reason}", object.subject()))
                .collect();
            return Err(DeployFailure::Refused {
                errors,
                refusal: Refusal::Guard,
            });
        }
        let items =
            preconditions::check_saved_plan(api, saved_plan, snapshot, options, is_resumed).await?;
        let (claims, _) = takeover::claims(api, snapshot).await?;
        let takeovers = planned_takeovers(saved_plan, snapshot, options, &claims)?;
        let mut pruning = prune::decide(api, snapshot, options, claims).await?;
        pruning.restrict(snapshot, |deletion| deletion.unapproved_reason(saved_plan));
        Ok(Self {
            items,
            pruning,
            takeovers,
            artifact: None,
            waiting: None,
        })
    }
}

/// Returns the objects that a saved plan takes over.
///
/// # Errors
/// Fails if another component has an object that the plan changes and does not take over from it.
fn planned_takeovers(
    saved_plan: &SavedPlan,
    snapshot: &Snapshot,
    options: &Options,
    claims: &Claims,
) -> Result<Vec<Takeover>, DeployFailure> {
    let (mut takeovers, mut held) = (Vec::new(), Vec::new());
    for object in &snapshot.objects {
        let live = snapshot.live.get(&object.id());
        let Some((live, holder)) = live.zip(takeover::holder(claims, live)) else {
            continue;
        };
        let subject = subject(&object.id());
        let expected = saved_plan.objects.iter().find(|one| one.subject == subject);
        let is_planned = expected.is_some_and(|one| one.taken_from.as_deref() == Some(holder));
        if is_planned || takeover::is_allowed(object, options) {
            takeovers.extend(Takeover::of(live));
        } else if expected.is_none_or(|one| one.change != ChangeKind::Unchanged) {
            held.push((object.subject(), holder.to_owned()));
        }
    }
    takeover::refusal(&held).map_or(Ok(takeovers), Err)
}

impl DeployRequest<'_> {
    /// The artifact (`oci://…@sha256:…`) that the objects are of, for the history.
    pub fn of_artifact(self, artifact: Option<String>) -> Self {
        Self { artifact, ..self }
    }

    /// How to wait for the objects; `None`, as long as nothing is said, to not wait.
    pub fn waiting(self, waiting: Option<WaitOptions>) -> Self {
        Self { waiting, ..self }
    }
}

/// Deploys the snapshot's objects. Reports stages and objects to `progress`.
///
/// # Errors
/// Fails if something goes wrong before the first write. Later failures are in the result.
// Long: the stages of a deploy, in order.
pub async fn deploy(
    api: &Api,
    snapshot: &Snapshot,
    request: DeployRequest<'_>,
    options: &Options,
    progress: &(dyn Fn(&str) + Sync),
) -> Result<DeployResult, ClusterError> {
    let DeployRequest {
        items,
        pruning,
        takeovers,
        artifact,
        waiting,
    } = request;
    let patience = waiting.as_ref().map(|waiting| waiting.timeout);
    let patience = patience.map_or(PREREQUISITE_TIMEOUT, |time| time.min(PREREQUISITE_TIMEOUT));
    let mut applied = apply(api, snapshot, items, options, patience, progress).await?;
    let mut deployed = DeployResult {
        diffs: applied.diffs().cloned().collect(),
        failure: match api.stop.is_stopped() {
            true => Some(DeployFailure::Stopped),
            false => applied.failure(),
        },
        ..DeployResult::default()
    };
    deployed.notes.extend(api.take_warnings());
    let (to_the_end, writer) = (api.to_the_end(), options.writer());
    if let Some(inventory) = &mut applied.inventory {
        // Write the inventory before the wait, which may be cut short.
        let written = inventory.write_if_changed(&to_the_end, &applied.served, &writer);
        deployed.record_write_error(with_write_timeout(api, written).await);
    }
    if !takeovers.is_empty() && deployed.failure.is_none() {
        let own = applied.inventory.as_ref();
        let told =
            Inventory::take_over(own, &to_the_end, &applied.served, &writer, &takeovers).await;
        if let Err(error) = told {
            deployed.notes.push(format!(
                "the inventories of the components that had taken-over objects could not be changed: {error}"
            ));
        }
    }
    if deployed.failure.is_none()
        && let Some(waiting) = &waiting
    {
        let objects = applied.objects();
        let Waited { outcome, finished } =
            wait(api, &applied.served, objects, waiting, progress).await;
        if let Some(inventory) = &mut applied.inventory {
            inventory.record_finished(&finished);
        }
        deployed.failure = match outcome {
            WaitOutcome::Ready => None,
            WaitOutcome::Unrecoverable(all) => Some(DeployFailure::NotReady(all)),
            WaitOutcome::TimedOut(all, limit) => {
                deployed.notes.push(limit);
                Some(DeployFailure::NotReady(all))
            }
            WaitOutcome::Unauthorized(error) => Some(error.into()),
            WaitOutcome::Stopped => Some(DeployFailure::Stopped),
        };
    }
    let Some(mut inventory) = applied.inventory else {
        return Ok(deployed);
    };
    if deployed.failure.is_none() {
        let now = api.clock.elapsed();
        let timeout = waiting.as_ref().map_or(PRUNE_TIMEOUT, |waiting| {
            waiting.deadline(now + waiting.timeout).saturating_sub(now)
        });
        let served = &applied.served;
        let pruned = prune(
            api,
            served,
            &mut inventory,
            &pruning,
            options,
            timeout,
            progress,
        )
        .await;
        deployed.add_pruned(pruning.notes, pruned);
    }
    // Record what was done even after a stop.
    let is_cut = waiting
        .and_then(|waiting| waiting.until)
        .is_some_and(|until| api.clock.elapsed() >= until);
    if deployed.add_to_history(&mut inventory, api.clock.now(), artifact, is_cut) {
        let written = inventory.write(&to_the_end, &applied.served, &writer);
        deployed.record_write_error(with_write_timeout(api, written).await);
    }
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
