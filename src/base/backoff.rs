//! How long to wait before a request is tried again.
//!
//! The schedule keeps one promise to the servers we talk to: **no request is tried more than six
//! times in any minute**, however it fails. The waits are 1, 2, 4, 8, 15, 30, 30 … seconds, each
//! stretched (never shortened) by up to a tenth so that many runners do not fall into step.

use std::time::Duration;

/// The shortest waits, in order; the last one repeats for ever.
const WAITS: [Duration; 6] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(15),
    Duration::from_secs(30),
];

/// A server may ask for more patience than this; it does not get it, because a mistaken
/// `Retry-After` of a day would be an outage of ours.
pub const LONGEST_SERVER_DELAY: Duration = Duration::from_secs(300);

/// Waits between the tries of one request.
#[derive(Debug, Default, Clone)]
pub struct Backoff {
    tries: usize,
}

impl Backoff {
    /// The wait before the next try: the schedule's, or the server's if that is longer
    /// (bounded by [`LONGEST_SERVER_DELAY`]).
    pub fn next(&mut self, server_delay: Option<Duration>) -> Duration {
        let [.., last] = WAITS;
        let scheduled = WAITS.get(self.tries).copied().unwrap_or(last);
        self.tries += 1;
        let asked = server_delay.unwrap_or_default().min(LONGEST_SERVER_DELAY);
        stretch(scheduled.max(asked))
    }

    /// How many waits were handed out.
    pub fn tries(&self) -> usize {
        self.tries
    }
}

/// `wait`, lengthened by up to a tenth.
pub fn stretch(wait: Duration) -> Duration {
    wait.mul_f64(rand::random_range(1.0..1.1))
}

/// `period`, moved by up to a tenth either way: for polls, whose mean must stay the period.
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
