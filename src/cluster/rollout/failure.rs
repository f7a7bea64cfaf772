//! Why a deploy failed.

use serde_json::{Value, json};

use crate::cluster::client::ClusterError;
use crate::cluster::health::wait::{NotReady, document};
use crate::cluster::rollout::item::Conflict;
use crate::cluster::rollout::refusal::Refusal;

/// Maximum number of reasons in one line.
const MAX_REASONS: usize = 10;

/// Why a deploy failed.
#[derive(Debug, Clone, PartialEq)]
pub enum DeployFailure {
    /// Objects are not as the approved plan expects.
    PlanConflict(Vec<Conflict>),
    /// Objects were refused.
    Refused {
        /// The objects, each with its reason.
        errors: Vec<String>,
        /// The most severe refusal.
        refusal: Refusal,
    },
    /// Objects did not become ready.
    NotReady(Vec<NotReady>),
    /// The job was stopped.
    Stopped,
}

impl DeployFailure {
    /// Formats the failure in one line.
    pub fn sentence(&self) -> String {
        match self {
            Self::PlanConflict(conflicts) => {
                let reasons = conflicts
                    .iter()
                    .map(|conflict| format!("{}: {conflict}", conflict.subject));
                format!(
                    "the approved plan no longer fits: {}; plan again, as deploy.moved: replan does by \
                     itself",
                    join_reasons(reasons)
                )
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
            Self::NotReady(all) => json!({"not_ready": document(all)}),
            other => json!({"message": other.sentence()}),
        }
    }
}

impl From<ClusterError> for DeployFailure {
    fn from(error: ClusterError) -> Self {
        Self::Refused {
            errors: vec![error.to_string()],
            refusal: Refusal::from(&error),
        }
    }
}

/// Joins the first reasons in one line, with the number of those left out.
pub fn join_reasons(reasons: impl ExactSizeIterator<Item = String>) -> String {
    let more = reasons.len().saturating_sub(MAX_REASONS);
    let shown = reasons.take(MAX_REASONS).collect::<Vec<_>>().join("; ");
    if more > 0 {
        format!("{shown}; and {more} more")
    } else {
        shown
    }
}
