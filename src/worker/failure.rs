//! A job's failure as a value: one sentence for the user, a reason from a closed set for metrics,
//! and the chain of causes for the operator.

/// The reason why a job failed. A closed set, used in metrics and to sort failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// The plan is missing or cannot be used.
    Plan,
    /// A source could not be fetched.
    Source,
    /// A manifest or overlay is wrong.
    Render,
    /// An artifact is wrong.
    Artifact,
    /// A request to a registry failed.
    Registry,
    /// The cluster could not be reached or read.
    Cluster,
    /// Objects could not be applied or deleted.
    Apply,
    /// Objects did not become ready.
    NotReady,
    /// This version does not support what the job asks for.
    Unsupported,
    /// The control plane refused a call that the job depends on.
    ControlPlane,
    /// The disk, the journal, or another local resource failed.
    Machine,
    /// A bug in the runner.
    Internal,
}

impl FailureKind {
    /// Returns its name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Source => "source",
            Self::Render => "render",
            Self::Artifact => "artifact",
            Self::Registry => "registry",
            Self::Cluster => "cluster",
            Self::Apply => "apply",
            Self::NotReady => "not-ready",
            Self::Unsupported => "unsupported",
            Self::ControlPlane => "control-plane",
            Self::Machine => "machine",
            Self::Internal => "internal",
        }
    }
}

/// Why a step failed.
#[derive(Debug, Clone, PartialEq)]
pub struct StepFailure {
    /// The reason, for metrics.
    pub kind: FailureKind,
    /// One sentence for the user: what is wrong and what to do.
    pub message: String,
    /// The underlying errors, outermost first.
    pub causes: Vec<String>,
    /// What the control plane knows the failed step by, if not as the step of the lifecycle.
    pub step: Option<&'static str>,
}

impl StepFailure {
    /// Creates a failure without causes.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            causes: Vec::new(),
            step: None,
        }
    }

    /// Creates a failure from an error: its text becomes the message, its sources become the
    /// causes.
    pub fn from_error(kind: FailureKind, error: &(dyn std::error::Error + 'static)) -> Self {
        Self {
            kind,
            message: error.to_string(),
            causes: chain(error),
            step: None,
        }
    }

    /// Sets what the control plane knows the failed step by.
    #[must_use]
    pub fn in_step(self, step: &'static str) -> Self {
        Self {
            step: Some(step),
            ..self
        }
    }

    /// Returns the message and its causes in one line.
    pub fn text(&self) -> String {
        let mut text = self.message.clone();
        for cause in &self.causes {
            // Some errors already include their cause in their text.
            if !text.contains(cause.as_str()) {
                text.push_str(": ");
                text.push_str(cause);
            }
        }
        text
    }
}

fn chain(error: &(dyn std::error::Error + 'static)) -> Vec<String> {
    std::iter::successors(error.source(), |cause| cause.source())
        .map(ToString::to_string)
        .collect()
}

/// Converts an error into a failure of the given kind: `.map_err(because(FailureKind::Source))`.
pub fn because<E: std::error::Error + 'static>(kind: FailureKind) -> impl FnOnce(E) -> StepFailure {
    move |error| StepFailure::from_error(kind, &error)
}
