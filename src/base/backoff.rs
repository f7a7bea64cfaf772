//! Delays between retries of a request.
//!
//! The schedule guarantees that **no request is sent more than six times in any minute**, however
//! it fails. The poll for jobs has a schedule of its own. The delays are 1, 2, 4, 8, 15, 30, 30 … seconds. Each is lengthened (never shortened)
//! by up to 10 %, so that many runners do not retry in step.

use std::time::Duration;

/// Minimum delays, in order. The last one repeats.
const DELAYS: [Duration; 6] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(15),
    Duration::from_secs(30),
];

/// Upper bound on the delay that a server may request. Without it, a mistaken `Retry-After` of a
/// day would be an outage of the runner.
pub const MAX_SERVER_DELAY: Duration = Duration::from_secs(300);

/// Returns the delays without end.
pub fn delays() -> impl Iterator<Item = Duration> + Send + Sync + Unpin {
    let [.., last] = DELAYS;
    DELAYS.into_iter().chain(std::iter::repeat(last))
}

/// Retry state of a request that a loop of its own repeats.
#[derive(Debug, Default, Clone)]
pub struct Backoff {
    tries: usize,
}

impl Backoff {
    /// Returns the delay before the next try: the scheduled one, or the server's if that is longer
    /// (at most [`MAX_SERVER_DELAY`]).
    pub fn next(&mut self, server_delay: Option<Duration>) -> Duration {
        let [.., last] = DELAYS;
        let scheduled = DELAYS.get(self.tries).copied().unwrap_or(last);
        self.tries += 1;
        wait(scheduled, server_delay)
    }
}

/// Returns the scheduled delay, or the server's if that is longer (at most [`MAX_SERVER_DELAY`]),
/// lengthened by up to 10 %.
pub(super) fn wait(scheduled: Duration, server_delay: Option<Duration>) -> Duration {
    let requested = server_delay.unwrap_or_default().min(MAX_SERVER_DELAY);
    stretch(scheduled.max(requested))
}

/// Lengthens `wait` by up to 10 %.
pub fn stretch(wait: Duration) -> Duration {
    wait.mul_f64(rand::random_range(1.0..1.1))
}

/// Changes `period` by up to 10 % in either direction. For polling, where the mean must stay
/// `period`.
pub fn jitter(period: Duration) -> Duration {
    period.mul_f64(rand::random_range(0.9..1.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_minute_holds_more_than_six_tries() {
        let mut backoff = Backoff::default();
        let mut at = vec![Duration::ZERO];
        for _ in 0..40 {
            let last = at.last().copied().unwrap_or_default();
            at.push(last + backoff.next(None));
        }
        for window in at.windows(7) {
            assert!(
                window[6] - window[0] >= Duration::from_secs(60),
                "{window:?}"
            );
        }
    }

    #[test]
    fn a_server_can_lengthen_a_wait_but_not_shorten_it() {
        assert!(Backoff::default().next(Some(Duration::from_secs(20))) >= Duration::from_secs(20));
        assert!(Backoff::default().next(Some(Duration::ZERO)) >= Duration::from_secs(1));
        assert!(
            Backoff::default().next(Some(Duration::from_secs(86_400))) < Duration::from_secs(400)
        );
    }
}
