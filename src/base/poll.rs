//! Waiting for something that sends no event.

use std::time::Duration;

use super::clock::Clock;
use super::stop::Stop;

/// The checks of a condition, one after the other, up to a deadline:
///
/// ```text
/// while poll.next_check().await {
///     if is_met().await {
///         return Ok(());
///     }
/// }
/// Err(Timeout)
/// ```
///
/// A loop and not a function with a closure, because the future of an async closure that borrows is
/// not known to be `Send`.
pub struct Poll<'a> {
    clock: &'a Clock,
    stop: &'a Stop,
    /// As time since the clock started.
    deadline: Duration,
    /// The next interval. The first check is due at once.
    interval: Option<Duration>,
    intervals: (Duration, Duration),
    is_over: bool,
}

impl<'a> Poll<'a> {
    /// Polls for at most `timeout`. The interval between two checks grows from the first of
    /// `intervals` to the second, twofold each time.
    pub fn new(
        clock: &'a Clock,
        stop: &'a Stop,
        timeout: Duration,
        intervals: (Duration, Duration),
    ) -> Self {
        Self {
            clock,
            stop,
            deadline: clock.elapsed() + timeout,
            interval: None,
            intervals,
            is_over: false,
        }
    }

    /// Waits until the next check is due. Returns false after the check that follows the deadline
    /// or the stop: a condition is checked at least once.
    ///
    /// # Cancel safety
    /// May be dropped while it waits.
    pub async fn next_check(&mut self) -> bool {
        if self.is_over {
            return false;
        }
        let (first, longest) = self.intervals;
        match self.interval {
            None => self.interval = Some(first),
            Some(interval) => {
                self.stop.run(self.clock.sleep(interval)).await;
                self.interval = Some((interval * 2).min(longest));
            }
        }
        self.is_over = self.clock.elapsed() >= self.deadline || self.stop.is_stopped();
        true
    }
}

/// Lets words about a wait through, once per interval; the first after one interval.
pub struct Pace<'a> {
    clock: &'a Clock,
    interval: Duration,
    next: Duration,
}

impl<'a> Pace<'a> {
    /// Starts the first interval.
    pub fn new(clock: &'a Clock, interval: Duration) -> Self {
        let next = clock.elapsed() + interval;
        Self {
            clock,
            interval,
            next,
        }
    }

    /// Returns true if an interval is over, and starts the next one.
    pub fn is_due(&mut self) -> bool {
        let now = self.clock.elapsed();
        let is_due = now >= self.next;
        if is_due {
            self.next = now + self.interval;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::task::AbortOnDropHandle;

    use super::*;
    use crate::base::stop::StopCause;

    const SECOND: Duration = Duration::from_secs(1);

    async fn checks(clock: &Clock, stop: &Stop, timeout: Duration) -> usize {
        let mut poll = Poll::new(clock, stop, timeout, (SECOND, 4 * SECOND));
        let mut checks = 0;
        while poll.next_check().await {
            checks += 1;
        }
        checks
    }

    #[tokio::test]
    async fn a_condition_is_checked_until_time_is_up() {
        let stop = Stop::default();
        let (clock, handle) = Clock::manual(jiff::Timestamp::UNIX_EPOCH);
        let _ticking = AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                handle.advance(SECOND / 4);
                tokio::task::yield_now().await;
            }
        }));
        assert_eq!(checks(&clock, &stop, Duration::ZERO).await, 1);
        // At 0, 1, 3 and 7 s.
        let timeout = Duration::from_millis(6500);
        assert_eq!(checks(&clock, &stop, timeout).await, 4);
        stop.stop(StopCause::Cancelled);
        assert_eq!(checks(&clock, &stop, 9 * SECOND).await, 1);
    }
}
