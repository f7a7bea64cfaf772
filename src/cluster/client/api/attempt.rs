//! Attempts of a request: their timeout, the renewal of the token, and retries.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::Api;
use super::refusal::{classify, requested_delay, stopped, unreachable};
use crate::base::backoff::delays;
use crate::base::retry::{MayRetry, Retry, with_retries};
use crate::cluster::client::ClusterError;

/// Timeout of one attempt.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);

/// Maximum attempts for a cluster that has not responded yet: about half a minute.
const MAX_FIRST_ATTEMPTS: usize = 6;

/// Maximum attempts for a cluster that has responded before: about two and a half minutes, enough
/// for an upgrade of its control plane.
const MAX_ATTEMPTS: usize = 10;

/// Maximum attempts for a request that the server answers with status 500.
const MAX_ATTEMPTS_ON_500: usize = 4;

/// The error of one attempt.
struct FailedAttempt {
    error: ClusterError,
    retry: Retry,
    /// The number of the attempt, from 1.
    number: usize,
}

impl MayRetry for FailedAttempt {
    fn retry(&self) -> Retry {
        self.retry
    }
}

impl Api {
    /// Retries until an attempt succeeds, fails permanently, or attempts run out.
    pub(in crate::cluster::client) async fn with_retries<
        T,
        F: Future<Output = Result<T, kube::Error>>,
    >(
        &self,
        action: &str,
        attempt: impl Fn() -> F,
    ) -> Result<T, ClusterError> {
        let may_renew = AtomicBool::new(self.tokens.is_some());
        let mut attempts = 0;
        let log = |failed: &FailedAttempt, wait| {
            let error = &failed.error;
            if failed.number == 1 && matches!(error, ClusterError::Unreachable { .. }) {
                tracing::warn!(%error, "retrying the request to the cluster");
            } else {
                tracing::debug!(%error, ?wait, "retrying the request to the cluster");
            }
        };
        let work = with_retries(&self.clock, delays(), log, || {
            attempts += 1;
            self.attempt(action, &attempt, &may_renew, attempts)
        });
        match self.stop.run(work).await {
            None => Err(stopped(action)),
            Some(done) => done.map_err(|failed| failed.error),
        }
    }

    /// Makes one attempt, or two if the token must be renewed, which happens once a request.
    async fn attempt<T, F: Future<Output = Result<T, kube::Error>>>(
        &self,
        action: &str,
        attempt: impl Fn() -> F,
        may_renew: &AtomicBool,
        number: usize,
    ) -> Result<T, FailedAttempt> {
        let failed = |error, retry| FailedAttempt {
            retry: match number < self.max_attempts(&error) {
                true => retry,
                false => Retry::Never,
            },
            error,
            number,
        };
        loop {
            let error = match self.clock.timeout(ATTEMPT_TIMEOUT, attempt()).await {
                Err(elapsed) => {
                    let error = unreachable(action, &self.address, elapsed.to_string());
                    return Err(failed(error, Retry::Backoff));
                }
                Ok(Ok(done)) => {
                    self.is_reached.store(true, Ordering::Relaxed);
                    return Ok(done);
                }
                Ok(Err(error)) => error,
            };
            if let (Some(tokens), kube::Error::Api(status)) = (&self.tokens, &error)
                && status.code == 401
                && may_renew.swap(false, Ordering::Relaxed)
            {
                tokens.invalidate().await;
                continue;
            }
            let later = Retry::later(requested_delay(&error));
            let (error, is_temporary) = classify(action, &self.address, error);
            return Err(failed(
                error,
                if is_temporary { later } else { Retry::Never },
            ));
        }
    }

    /// Returns how often a request with this error is tried.
    fn max_attempts(&self, error: &ClusterError) -> usize {
        match error {
            ClusterError::Refused { code: 500, .. } => MAX_ATTEMPTS_ON_500,
            _ if self.is_reached.load(Ordering::Relaxed) => MAX_ATTEMPTS,
            _ => MAX_FIRST_ATTEMPTS,
        }
    }
}
