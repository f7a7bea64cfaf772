//! A job's failure as a value: one sentence for the user, a closed reason for metrics, the chain of
//! causes for the operator.

/// Why a job failed. A closed set, for metrics and for those who sort failures.
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
    /// A registry did not do what it was asked for.
    Registry,
    /// The cluster could not be reached or read.
    Cluster,
    /// Objects could not be applied or deleted.
    Apply,
    /// Objects did not become ready.
    NotReady,
    /// This version cannot do it.
    Unsupported,
    /// The control plane refused what the job cannot do without.
    ControlPlane,
    /// Disk, journal or another part of the machine.
    Machine,
    /// A fault of the runner itself.
    Internal,
}

impl FailureKind {
    /// Its name in metrics.
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

/// Why a step did not do what it was for.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// The reason.
    pub kind: FailureKind,
    /// One sentence that tells the user what is wrong and what to do.
    pub message: String,
    /// What led to it, outermost first.
    pub causes: Vec<String>,
}

impl Failure {
    /// A failure without further causes.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            causes: Vec::new(),
        }
    }

    /// A failure whose sentence is the error's own and whose causes are the error's.
    pub fn from_error(kind: FailureKind, error: &(dyn std::error::Error + 'static)) -> Self {
        Self {
            kind,
            message: error.to_string(),
            causes: chain(error),
        }
    }

    /// The sentence with its causes, in one line.
    pub fn text(&self) -> String {
        let mut text = self.message.clone();
        for cause in &self.causes {
            // Some errors print their cause themselves.
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

/// Turns an error into a failure of a kind: `.map_err(because(FailureKind::Source))`.
pub fn because<E: std::error::Error + 'static>(kind: FailureKind) -> impl FnOnce(E) -> Failure {
    move |error| Failure::from_error(kind, &error)
}
