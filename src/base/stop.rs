//! One mechanism for cancellation, deadlines and shutdown: a tree of stop tokens (process → job →
//! step).

use std::future::Future;
use std::sync::{Arc, OnceLock};

use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

/// Why work was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopCause {
    /// A user cancelled the job in the control plane.
    Cancelled,
    /// The job's deadline has passed.
    DeadlinePassed,
    /// The control plane ended the execution (timed out, failed) and expects nothing more.
    EndedByServer,
    /// The runner is shutting down and its drain time is over.
    Shutdown,
}

/// A cancellation token with a cause. A child stops with its parent, never the other way round.
#[derive(Clone, Default)]
pub struct Stop {
    token: CancellationToken,
    cause: Arc<OnceLock<StopCause>>,
    parent: Option<Arc<Stop>>,
}

impl Stop {
    /// Creates a child token.
    pub fn child(&self) -> Self {
        Self {
            token: self.token.child_token(),
            cause: Arc::default(),
            parent: Some(Arc::new(self.clone())),
        }
    }

    /// Stops this token and its children. The first cause is kept.
    pub fn stop(&self, cause: StopCause) {
        // The error means that a cause is already set, which is kept.
        let _ = self.cause.set(cause);
        self.token.cancel();
    }

    /// Returns true if this token or an ancestor is stopped.
    pub fn is_stopped(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Returns the cause of the stop: the token's own, else the nearest ancestor's.
    pub fn cause(&self) -> Option<StopCause> {
        self.cause
            .get()
            .copied()
            .or_else(|| self.parent.as_ref().and_then(|parent| parent.cause()))
    }

    /// Completes when this token is stopped.
    pub fn stopped(&self) -> WaitForCancellationFuture<'_> {
        self.token.cancelled()
    }

    /// Runs `work` to completion (`Some`), or drops it when this token is stopped (`None`).
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
        job.stop(StopCause::Cancelled);
        assert!(!process.is_stopped() && !other.is_stopped());
        process.stop(StopCause::Shutdown);
        assert_eq!(job.cause(), Some(StopCause::Cancelled));
        assert_eq!(other.cause(), Some(StopCause::Shutdown));
        assert_eq!(other.run(std::future::pending::<()>()).await, None);
    }
}
