//! Retries of requests to a registry.

use std::time::Duration;

use crate::base::clock::Clock;
use crate::base::retry;
use crate::base::retry::{MayRetry, Retry};
use crate::registry::RegistryError;

/// Delays between attempts, which end after the last.
const RETRY_DELAYS: [Duration; 5] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
];

impl MayRetry for RegistryError {
    fn retry(&self) -> Retry {
        match self {
            Self::Refused { delay, .. } if self.is_temporary() => Retry::later(*delay),
            _ if self.is_temporary() => Retry::Backoff,
            _ => Retry::Never,
        }
    }
}

pub(super) async fn with_retries<T, F: Future<Output = Result<T, RegistryError>>>(
    clock: &Clock,
    attempt: impl FnMut() -> F,
) -> Result<T, RegistryError> {
    let log = |error: &RegistryError, wait| {
        tracing::debug!(%error, ?wait, "retrying the request to the registry");
    };
    retry::with_retries(clock, RETRY_DELAYS.into_iter(), log, attempt).await
}
