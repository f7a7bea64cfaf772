//! One mechanism for cancel, deadline and shutdown: a tree of stop tokens, process → job → step.

use std::future::Future;
use std::sync::{Arc, OnceLock};

use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

/// Why work was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A user cancelled the job in the control plane.
    Cancelled,
    /// The job's own deadline has passed.
    DeadlinePassed,
    /// The control plane has ended the execution (timed out, failed); nothing more is wanted.
    EndedByServer,
    /// The runner is going down and the drain time is over.
    Shutdown,
}

/// A token that says "stop", and why. A child stops with its parent, never the other way round.
#[derive(Clone, Default)]
pub struct Stop {
    token: CancellationToken,
    cause: Arc<OnceLock<Cause>>,
    parent: Option<Arc<Stop>>,
}

impl Stop {
    /// A token below this one.
    pub fn child(&self) -> Self {
        Self {
            token: self.token.child_token(),
            cause: Arc::default(),
            parent: Some(Arc::new(self.clone())),
        }
    }

    /// Asks for the stop of everything at and below this token. The first cause stays.
    pub fn stop(&self, cause: Cause) {
        // A second cause changes nothing, so its rejection is not an error.
        let _ = self.cause.set(cause);
        self.token.cancel();
    }

    /// Whether a stop was asked for here or above.
    pub fn is_stopped(&self) -> bool {
        self.token.is_cancelled()
    }

    /// The cause, if stopped: the nearest token's own, else its parent's.
    pub fn cause(&self) -> Option<Cause> {
        self.cause
            .get()
            .copied()
            .or_else(|| self.parent.as_ref().and_then(|parent| parent.cause()))
    }

    /// Ends when a stop is asked for.
    pub fn stopped(&self) -> WaitForCancellationFuture<'_> {
        self.token.cancelled()
    }

    /// Runs `work` until it is done (`Some`) or a stop is asked for (`None`, and `work` is dropped).
    pub async fn run<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.token.run_until_cancelled(work).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_child_stops_with_its_parent_and_names_the_nearest_cause() {
        let process = Stop::default();
        let job = process.child();
        let other = process.child();
        job.stop(Cause::Cancelled);
        assert!(!process.is_stopped() && !other.is_stopped());
        process.stop(Cause::Shutdown);
        assert_eq!(job.cause(), Some(Cause::Cancelled));
        assert_eq!(other.cause(), Some(Cause::Shutdown));
        assert_eq!(other.run(std::future::pending::<()>()).await, None);
    }
}
