//! What a deploy job is to do.

use crate::job::Operation;
use crate::plan::changeset::{Op, PlanContents};
use crate::plan::contents;
use crate::plan::deploy::DeployPlan;
use crate::plan::saved_plan::{SavedPlan, VERSION, digest_of};
use crate::worker::failure::because;
use crate::worker::{Context, FailureKind, StepFailure};

/// What a deploy job is to do.
pub enum Task {
    /// Plan an apply.
    PlanApply,
    /// Plan a teardown.
    PlanTeardown,
    /// Execute an approved plan.
    Execute(Box<Approved>),
}

/// An approved plan.
pub struct Approved {
    /// The plan.
    pub contents: PlanContents,
    /// Its text, which the result repeats.
    pub text: String,
}

impl Task {
    /// Reads the task from the job's operation and its plan.
    pub fn read(operation: &Operation, plan: &DeployPlan) -> Result<Self, StepFailure> {
        match operation {
            Operation::CreateApplyPlan => Ok(Self::PlanApply),
            Operation::CreateTeardownPlan => Ok(Self::PlanTeardown),
            Operation::ApplyPlan => Ok(Self::Execute(Box::new(Approved::read(plan)?))),
            other => {
                let known = "create-apply-plan, apply-plan and create-teardown-plan are supported";
                let message =
                    format!("a deploy job does not support the operation {other}; {known}");
                Err(StepFailure::new(FailureKind::Unsupported, message))
            }
        }
    }

    /// Returns true if the task is about a teardown.
    pub fn is_teardown(&self) -> bool {
        match self {
            Self::PlanTeardown => true,
            Self::PlanApply => false,
            Self::Execute(approved) => approved.contents.op == Op::Delete,
        }
    }
}

impl Approved {
    fn read(plan: &DeployPlan) -> Result<Self, StepFailure> {
        let packed = plan.approved.as_deref().ok_or_else(|| {
            StepFailure::new(
                FailureKind::Plan,
                "the job applies a plan but has no apply_plan_contents; plan again",
            )
        })?;
        let text = contents::unpack(packed).map_err(because(FailureKind::Plan))?;
        let contents = serde_json::from_str(&text).map_err(|error| {
            let place = format!("line {}, column {}", error.line(), error.column());
            let message = format!("the approved plan cannot be read ({place}); plan again");
            StepFailure::new(FailureKind::Plan, message)
        })?;
        Ok(Self { contents, text })
    }

    /// Returns the saved plan in the contents. Plans of the Go runner have none.
    pub fn saved_plan(
        &self,
        is_required: bool,
        context: &Context,
    ) -> Result<Option<&SavedPlan>, StepFailure> {
        let Some(saved_plan) = &self.contents.runner else {
            let what = "the approved plan does not record the cluster state that it was made from";
            if is_required {
                let message = format!(
                    "{what}, and deploy.require_contract is set; plan again with this runner"
                );
                return Err(StepFailure::new(FailureKind::Plan, message));
            }
            context.log.warn(format!(
                "{what}; planning again, and executing the new plan"
            ));
            return Ok(None);
        };
        if saved_plan.schema_version != VERSION {
            let theirs = saved_plan.schema_version;
            let message = format!(
                "the approved plan has version {theirs}, but this runner supports {VERSION}; plan \
                 again"
            );
            return Err(StepFailure::new(FailureKind::Plan, message));
        }
        Ok(Some(saved_plan))
    }
}

/// Fails if a saved plan was made for other objects than those of the artifact, or, without one, of
/// the inline manifest.
pub fn check_same_objects(
    saved_plan: &SavedPlan,
    artifact: Option<&str>,
    manifest_hash: Option<&str>,
) -> Result<(), StepFailure> {
    let planned = saved_plan.artifact.as_deref().and_then(digest_of);
    let pulled = artifact.and_then(digest_of);
    if planned != pulled {
        let name = |digest: Option<&str>| digest.unwrap_or("no artifact").to_owned();
        let message = format!(
            "the plan was made for {}, but the job deploys {}; plan again",
            name(planned),
            name(pulled)
        );
        return Err(StepFailure::new(FailureKind::Plan, message));
    }
    if saved_plan.manifest.as_deref() != manifest_hash {
        let message = "the manifest has changed since the plan was made; plan again";
        return Err(StepFailure::new(FailureKind::Plan, message));
    }
    Ok(())
}
