//! Time as a value that is handed in.
//!
//! The daemon runs on [`Clock::system`]. Tests that need an hour to pass run daemon and control
//! plane on one [`Clock::manual`], which stands still until [`Hand::advance`] moves it.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::watch;

/// Long waits end on the edges of this grid. The runtime keeps its timers in slots of this length:
/// it wakes twice for a time within a slot and once for one on its edge, and an idle daemon does
/// little else than wake.
const GRID: Duration = Duration::from_millis(64);

/// The shortest wait that may end up to one [`GRID`] late.
const LONG: Duration = Duration::from_millis(500);

/// The runtime rounds up to this, and started that much earlier than the clock.
const RUNTIME_TICK: Duration = Duration::from_millis(1);

/// Says what time it is and wakes those who wait for a later one. Cheap to clone.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System(Instant),
    Manual(Arc<Manual>),
}

struct Manual {
    start: Timestamp,
    elapsed: watch::Sender<Duration>,
    /// How many sleepers are waiting; lets a test see that everything has come to rest.
    sleepers: Mutex<usize>,
}

/// The waited-for future did not end in time.
#[derive(Debug, thiserror::Error)]
#[error("no answer within {0:?}")]
pub struct Elapsed(pub Duration);

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self(Source::System(Instant::now()))
    }

    /// A clock that starts at `start` and moves only by its [`Hand`].
    pub fn manual(start: Timestamp) -> (Self, Hand) {
        let manual = Arc::new(Manual {
            start,
            elapsed: watch::Sender::new(Duration::ZERO),
            sleepers: Mutex::new(0),
        });
        (Self(Source::Manual(manual.clone())), Hand(manual))
    }

    /// The time of day.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System(_) => Timestamp::now(),
            Source::Manual(manual) => {
                let elapsed = *manual.elapsed.borrow();
                manual.start.checked_add(elapsed).unwrap_or(Timestamp::MAX)
            }
        }
    }

    /// Time since this clock was made; never goes back.
    pub fn elapsed(&self) -> Duration {
        match &self.0 {
            Source::System(start) => start.elapsed(),
            Source::Manual(manual) => *manual.elapsed.borrow(),
        }
    }

    /// Time of day `later` from now.
    pub fn after(&self, later: Duration) -> Timestamp {
        self.now().checked_add(later).unwrap_or(Timestamp::MAX)
    }

    /// How long ago `then` was; zero if it is still to come.
    pub fn since(&self, then: Timestamp) -> Duration {
        Duration::try_from(self.now().duration_since(then)).unwrap_or_default()
    }

    /// Waits for `wait` to pass. May be dropped at any point.
    pub fn sleep(&self, wait: Duration) -> BoxFuture<'static, ()> {
        match &self.0 {
            Source::System(start) => Box::pin(tokio::time::sleep_until(
                (*start + on_grid(start.elapsed(), wait)).into(),
            )),
            Source::Manual(manual) => {
                let manual = manual.clone();
                Box::pin(async move {
                    let mut elapsed = manual.elapsed.subscribe();
                    let until = *elapsed.borrow() + wait;
                    let _sleeper = Sleeper::new(&manual);
                    // An error means that the clock is gone, and with it the one who waits.
                    let _ = elapsed.wait_for(|now| *now >= until).await;
                })
            }
        }
    }

    /// Runs `work` for at most `limit`; what is not done by then is dropped.
    ///
    /// # Errors
    /// [`Elapsed`] when the limit struck first.
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

/// When a wait that begins at `now` ends.
fn on_grid(now: Duration, wait: Duration) -> Duration {
    let until = now.saturating_add(wait);
    if wait < LONG {
        return until;
    }
    let past = until.as_nanos() % GRID.as_nanos();
    let rest = Duration::from_nanos(u64::try_from(GRID.as_nanos() - past).unwrap_or_default());
    until.saturating_add(rest).saturating_sub(RUNTIME_TICK)
}

/// Moves a manual clock.
pub struct Hand(Arc<Manual>);

impl Hand {
    /// Moves the clock by `step` and wakes those whose time has come.
    pub fn advance(&self, step: Duration) {
        self.0.elapsed.send_modify(|elapsed| *elapsed += step);
    }

    /// How many sleepers the clock has.
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
        assert_eq!(on_grid(millis(7), millis(3)), millis(10));
        assert_eq!(on_grid(millis(7), millis(1000)), millis(16 * 64 - 1));
        assert_eq!(on_grid(millis(24), millis(1000)), millis(17 * 64 - 1));
    }

    #[tokio::test]
    async fn a_manual_clock_wakes_a_sleeper_only_when_moved_past_its_time() {
        let (clock, hand) = Clock::manual(Timestamp::UNIX_EPOCH);
        let sleeper = tokio::spawn(clock.sleep(Duration::from_secs(10)));
        while hand.sleepers() == 0 {
            tokio::task::yield_now().await;
        }
        hand.advance(Duration::from_secs(9));
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished());
        hand.advance(Duration::from_secs(1));
        sleeper.await.unwrap();
        assert_eq!(clock.now().as_second(), 10);
    }
}
