//! Time as a parameter.
//!
//! The daemon uses [`Clock::system`]. Tests that need an hour to pass run the daemon and the
//! control plane on one [`Clock::manual`], which stands still until [`ClockHandle::advance`] moves
//! it.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

/// Long sleeps end on multiples of this interval. Tokio keeps timers in slots of this length: it
/// wakes twice for a time inside a slot and once for a time on its edge. Timer wake-ups are most of
/// what an idle daemon does.
const TIMER_GRID: Duration = Duration::from_millis(64);

/// Shortest sleep that is aligned to [`TIMER_GRID`], and so may end up to one interval late.
const MIN_ALIGNED_SLEEP: Duration = Duration::from_millis(500);

/// Tokio rounds timers up to this, and its time origin is that much earlier than the clock's.
const RUNTIME_TICK: Duration = Duration::from_millis(1);

/// Tells the time and sleeps. Cheap to clone.
#[derive(Clone)]
pub struct Clock(TimeSource);

#[derive(Clone)]
enum TimeSource {
    System(Instant),
    Manual(Arc<Manual>),
}

struct Manual {
    start: Timestamp,
    /// How far the wall clock was set.
    stepped: Mutex<SignedDuration>,
    elapsed: watch::Sender<Duration>,
    /// Number of pending sleeps; lets a test wait until everything is idle.
    sleepers: Mutex<usize>,
}

/// The future did not complete within the time limit.
#[derive(Debug, thiserror::Error)]
#[error("timed out after {0:?}")]
pub struct Elapsed(pub Duration);

impl Clock {
    /// Creates a clock that follows the system time.
    pub fn system() -> Self {
        Self(TimeSource::System(Instant::now()))
    }

    /// Creates a clock that starts at `start` and moves only through its [`ClockHandle`].
    pub fn manual(start: Timestamp) -> (Self, ClockHandle) {
        let manual = Arc::new(Manual {
            start,
            stepped: Mutex::default(),
            elapsed: watch::Sender::new(Duration::ZERO),
            sleepers: Mutex::new(0),
        });
        (
            Self(TimeSource::Manual(manual.clone())),
            ClockHandle(manual),
        )
    }

    /// Returns the wall-clock time.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            TimeSource::System(_) => Timestamp::now(),
            TimeSource::Manual(manual) => {
                let elapsed = *manual.elapsed.borrow();
                let stepped = *manual
                    .stepped
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                let start = manual.start.checked_add(stepped);
                start
                    .and_then(|start| start.checked_add(elapsed))
                    .unwrap_or(Timestamp::MAX)
            }
        }
    }

    /// Returns the monotonic time since the clock was created.
    pub fn elapsed(&self) -> Duration {
        match &self.0 {
            TimeSource::System(start) => start.elapsed(),
            TimeSource::Manual(manual) => *manual.elapsed.borrow(),
        }
    }

    /// Returns the wall-clock time `later` from now.
    pub fn after(&self, later: Duration) -> Timestamp {
        self.now().checked_add(later).unwrap_or(Timestamp::MAX)
    }

    /// Returns how long ago `then` was; zero if it is in the future.
    pub fn since(&self, then: Timestamp) -> Duration {
        Duration::try_from(self.now().duration_since(then)).unwrap_or_default()
    }

    /// Sleeps for `wait`. Cancel safe.
    pub fn sleep(&self, wait: Duration) -> BoxFuture<'static, ()> {
        match &self.0 {
            TimeSource::System(start) => Box::pin(tokio::time::sleep_until(
                (*start + wake_time(start.elapsed(), wait)).into(),
            )),
            TimeSource::Manual(manual) => {
                let manual = manual.clone();
                Box::pin(async move {
                    let mut elapsed = manual.elapsed.subscribe();
                    let until = *elapsed.borrow() + wait;
                    let _sleeper = Sleeper::new(&manual);
                    // Cannot fail: `manual` owns the sender.
                    let _ = elapsed.wait_for(|now| *now >= until).await;
                })
            }
        }
    }

    /// Runs `work` for at most `limit`, then drops it.
    ///
    /// # Errors
    /// [`Elapsed`] if the limit is reached first.
    pub async fn timeout<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = T>,
    ) -> Result<T, Elapsed> {
        tokio::select! {
            biased;
            done = work => Ok(done),
            () = self.sleep(limit) => Err(Elapsed(limit)),
        }
    }
}

/// Returns when a sleep that starts at `now` ends, as time since the clock was created.
fn wake_time(now: Duration, wait: Duration) -> Duration {
    let until = now.saturating_add(wait);
    if wait < MIN_ALIGNED_SLEEP {
        return until;
    }
    let past = until.as_nanos() % TIMER_GRID.as_nanos();
    let rest =
        Duration::from_nanos(u64::try_from(TIMER_GRID.as_nanos() - past).unwrap_or_default());
    until.saturating_add(rest).saturating_sub(RUNTIME_TICK)
}

/// Moves a manual clock.
pub struct ClockHandle(Arc<Manual>);

impl ClockHandle {
    /// Moves the clock by `step` and wakes all sleeps that are due.
    pub fn advance(&self, step: Duration) {
        self.0.elapsed.send_modify(|elapsed| *elapsed += step);
    }

    /// Sets the wall clock forward or back, as an administrator or NTP does. No time passes.
    pub fn step_wall_clock(&self, step: SignedDuration) {
        let mut stepped = self
            .0
            .stepped
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *stepped += step;
    }

    /// Number of pending sleeps.
    pub fn sleepers(&self) -> usize {
        *self
            .0
            .sleepers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

struct Sleeper<'a>(&'a Manual);

impl<'a> Sleeper<'a> {
    fn new(manual: &'a Manual) -> Self {
        *manual
            .sleepers
            .lock()
            .unwrap_or_else(PoisonError::into_inner) += 1;
        Self(manual)
    }
}

impl Drop for Sleeper<'_> {
    fn drop(&mut self) {
        *self
            .0
            .sleepers
            .lock()
            .unwrap_or_else(PoisonError::into_inner) -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_wait_ends_on_the_grid_and_never_early_by_more_than_a_tick() {
        let millis = Duration::from_millis;
        assert_eq!(wake_time(millis(7), millis(3)), millis(10));
        assert_eq!(wake_time(millis(7), millis(1000)), millis(16 * 64 - 1));
        assert_eq!(wake_time(millis(24), millis(1000)), millis(17 * 64 - 1));
    }

    #[tokio::test]
    async fn a_manual_clock_wakes_a_sleeper_only_when_moved_past_its_time() {
        let (clock, handle) = Clock::manual(Timestamp::UNIX_EPOCH);
        let sleeper = tokio::spawn(clock.sleep(Duration::from_secs(10)));
        while handle.sleepers() == 0 {
            tokio::task::yield_now().await;
        }
        handle.advance(Duration::from_secs(9));
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished());
        handle.advance(Duration::from_secs(1));
        sleeper.await.unwrap();
        assert_eq!(clock.now().as_second(), 10);
    }
}
