//! Retries of failed requests: whether and when, the same for control plane, registries and
//! clusters.

use std::time::Duration;

use backon::Retryable as _;

use super::backoff::wait;
use super::clock::Clock;

/// What an error says about another attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Another attempt would fail too, or might do harm.
    Never,
    /// Another attempt may succeed later.
    Backoff,
    /// The server asks to wait this long.
    After(Duration),
}

impl Retry {
    /// Another attempt, after the delay that the server asks for, if any.
    pub fn later(delay: Option<Duration>) -> Self {
        delay.map_or(Self::Backoff, Self::After)
    }
}

/// An error that knows whether its request may be repeated.
pub trait MayRetry {
    /// Returns whether and when to try again.
    fn retry(&self) -> Retry;
}

/// Tries again as long as the error allows it and `delays` has another delay. Each delay is
/// lengthened by up to 10 %; a server can lengthen it to at most
/// [`MAX_SERVER_DELAY`](super::backoff::MAX_SERVER_DELAY), never shorten it. Calls `on_retry` with
/// the error and the delay before each wait.
///
/// # Errors
/// The error of the last attempt.
///
/// # Cancel safety
/// May be dropped at any point, as the attempt may be.
pub async fn with_retries<T, E: MayRetry, F: Future<Output = Result<T, E>>>(
    clock: &Clock,
    delays: impl Iterator<Item = Duration> + Send + Sync + Unpin,
    on_retry: impl FnMut(&E, Duration),
    attempt: impl FnMut() -> F,
) -> Result<T, E> {
    let clock = clock.clone();
    attempt
        .retry(delays)
        .sleep(move |delay| clock.sleep(delay))
        .when(|error: &E| error.retry() != Retry::Never)
        .adjust(|error: &E, scheduled| {
            let server_delay = match error.retry() {
                Retry::After(delay) => Some(delay),
                Retry::Backoff | Retry::Never => None,
            };
            scheduled.map(|scheduled| wait(scheduled, server_delay))
        })
        .notify(on_retry)
        .await
}

#[cfg(test)]
mod tests {
    use tokio_util::task::AbortOnDropHandle;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    impl MayRetry for Retry {
        fn retry(&self) -> Retry {
            *self
        }
    }

    /// Returns the number of attempts, and how long they took together.
    async fn attempts(answers: &[Retry]) -> (usize, Duration) {
        let (clock, handle) = Clock::manual(jiff::Timestamp::UNIX_EPOCH);
        let _ticking = AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                handle.advance(SECOND / 4);
                tokio::task::yield_now().await;
            }
        }));
        let mut left = answers.iter();
        let delays = [SECOND, 2 * SECOND].into_iter();
        let result = with_retries(
            &clock,
            delays,
            |_, _| {},
            || {
                let answer = left.next().copied();
                async move { answer.map_or(Ok(()), Err) }
            },
        )
        .await;
        let made = answers.len() - left.len() + usize::from(result.is_ok());
        (made, clock.elapsed())
    }

    #[tokio::test]
    async fn the_error_decides_about_another_attempt() {
        assert_eq!(attempts(&[]).await.0, 1);
        assert_eq!(attempts(&[Retry::Never]).await.0, 1);
        assert_eq!(attempts(&[Retry::Backoff, Retry::Never]).await.0, 2);
        assert_eq!(attempts(&[Retry::Backoff; 2]).await.0, 3);
        assert_eq!(attempts(&[Retry::Backoff; 9]).await.0, 3, "two delays");
    }

    #[tokio::test]
    async fn a_server_lengthens_a_delay_within_a_limit() {
        let (_, took) = attempts(&[Retry::After(20 * SECOND)]).await;
        assert!(took >= 20 * SECOND && took < 24 * SECOND, "{took:?}");
        let (_, took) = attempts(&[Retry::After(Duration::ZERO)]).await;
        assert!(took >= SECOND, "{took:?}");
        let (_, took) = attempts(&[Retry::After(86_400 * SECOND)]).await;
        assert!(took < 400 * SECOND, "{took:?}");
    }
}
