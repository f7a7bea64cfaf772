//! Polls that fail: how long to wait after each, and what is logged of the outage.

use std::time::Duration;

use crate::base::backoff::{MAX_SERVER_DELAY, stretch};
use crate::control::ControlError;

/// Intervals between polls while they fail; the last one repeats. A job is available for 30 s only.
const INTERVALS: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(5),
];

/// In a long outage, every how many failed polls it is logged again: about once a minute.
const FAILURES_PER_WARNING: usize = 12;

/// The polls that have failed since the last one that did not.
#[derive(Default)]
pub(super) struct PollFailures(usize);

impl PollFailures {
    /// Logs a failed poll, and returns how long to wait before the next one.
    pub(super) fn add(&mut self, error: &ControlError) -> Duration {
        let server_delay = error.delay().unwrap_or_default().min(MAX_SERVER_DELAY);
        let [.., longest] = INTERVALS;
        let scheduled = INTERVALS.get(self.0).copied();
        let wait = stretch(scheduled.unwrap_or(longest).max(server_delay));
        self.0 += 1;
        let failures = self.0;
        // The status of the token has logged its refusal, and the first failures the outage.
        let is_told = error.is_status(401)
            || failures > INTERVALS.len() && !failures.is_multiple_of(FAILURES_PER_WARNING);
        match is_told {
            true => tracing::debug!(%error, failures, ?wait, "the poll for jobs failed"),
            false => tracing::warn!(%error, failures, ?wait, "the poll for jobs failed"),
        }
        wait
    }

    /// Notes a poll that did not fail. Returns true if it ends an outage, which is logged.
    pub(super) fn end(&mut self) -> bool {
        let failures = std::mem::take(&mut self.0);
        if failures > 0 {
            tracing::info!(failures, "polls for jobs succeed again");
        }
        failures > 0
    }
}
