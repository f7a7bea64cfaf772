//! Whether the control plane answers, and accepts the token.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::error::ControlError;
use super::route::Route;
use crate::base::clock::Clock;
use crate::base::secret::Redactor;

/// Interval between two errors about the same refusal.
const REPORT_INTERVAL: Duration = Duration::from_secs(3600);

/// How the latest calls to the control plane ended. Cheap to clone; all clients of a process share
/// one. It logs a refusal of the token once and then hourly, so that callers need not.
#[derive(Clone, Default)]
pub struct ControlStatus(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    /// Refusals of the token since it was accepted.
    refusals: Option<Refusals>,
    /// Why the last call of a route that jobs depend on failed; none if it was answered.
    failures: BTreeMap<Route, String>,
}

struct Refusals {
    since: Timestamp,
    count: u64,
    /// When the last one came, as time since the clock started; `reported` likewise.
    last: Duration,
    reported: Duration,
}

impl ControlStatus {
    /// Returns how long ago the last refusal of the token was; `None` if the token was not refused
    /// since it was accepted.
    pub fn refused_ago(&self, clock: &Clock) -> Option<Duration> {
        let last = self.known().refusals.as_ref()?.last;
        Some(clock.elapsed().saturating_sub(last))
    }

    /// Returns why no jobs are received: the last failure of each route that they depend on, if its
    /// last call was not answered.
    pub fn failures(&self) -> Vec<String> {
        self.known().failures.values().cloned().collect()
    }

    /// Records a refusal of the token. `help` says how to set another one.
    pub(super) fn refused(&self, clock: &Clock, help: &str) {
        let now = clock.elapsed();
        let mut known = self.known();
        let refusals = known.refusals.get_or_insert_with(|| Refusals {
            since: clock.now(),
            count: 0,
            last: now,
            reported: now,
        });
        refusals.count += 1;
        refusals.last = now;
        if refusals.count > 1 && now < refusals.reported + REPORT_INTERVAL {
            return;
        }
        refusals.reported = now;
        tracing::error!(since = %refusals.since, tries = refusals.count, help, "the control plane refuses the token (401)");
    }

    /// Records that a call failed.
    pub(super) fn failed(&self, route: Route, error: &ControlError, redactor: &Redactor) {
        let keeps_from_jobs = match route {
            Route::Settings | Route::Jobs => true,
            // Not every control plane has these.
            Route::CreateProcess | Route::JobsTail => !error.is_status(404),
            _ => false,
        };
        let mut known = self.known();
        match keeps_from_jobs {
            true => {
                let why = redactor.mask(&error.to_string()).into_owned();
                known.failures.insert(route, why);
            }
            false => drop(known.failures.remove(&route)),
        }
    }

    /// Records that a call was answered with success.
    pub(super) fn accepted(&self, route: Route) {
        let mut known = self.known();
        known.failures.remove(&route);
        if let Some(refusals) = known.refusals.take() {
            tracing::info!(
                tries = refusals.count,
                "the control plane accepts the token again"
            );
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
