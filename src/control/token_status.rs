//! Whether the control plane accepts the token.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::base::clock::Clock;

/// Interval between two errors about the same refusal.
const REPORT_INTERVAL: Duration = Duration::from_secs(3600);

/// Refusals of the token by the control plane. Cheap to clone; all clients of a process share one.
/// It logs a refusal once and then hourly, so that callers need not.
#[derive(Clone, Default)]
pub struct TokenStatus(Arc<Mutex<Option<Refusals>>>);

struct Refusals {
    since: Timestamp,
    count: u64,
    /// When the last one came, as time since the clock started; `reported` likewise.
    last: Duration,
    reported: Duration,
}

impl TokenStatus {
    /// Returns how long ago the last refusal was; `None` if the token was not refused since it was
    /// accepted.
    pub fn refused_ago(&self, clock: &Clock) -> Option<Duration> {
        let refusals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = refusals.as_ref()?.last;
        Some(clock.elapsed().saturating_sub(last))
    }

    /// Records a refusal. `help` says how to set another token.
    pub(super) fn refused(&self, clock: &Clock, help: &str) {
        let now = clock.elapsed();
        let mut refusals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = refusals.get_or_insert_with(|| Refusals {
            since: clock.now(),
            count: 0,
            last: now,
            reported: now,
        });
        known.count += 1;
        known.last = now;
        if known.count > 1 && now < known.reported + REPORT_INTERVAL {
            return;
        }
        known.reported = now;
        tracing::error!(since = %known.since, tries = known.count, help, "the control plane refuses the token (401)");
    }

    /// Records that a call was answered with success.
    pub(super) fn accepted(&self) {
        let mut refusals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(refusals) = refusals.take() {
            tracing::info!(
                tries = refusals.count,
                "the control plane accepts the token again"
            );
        }
    }
}
