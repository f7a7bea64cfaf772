//! Concurrency keys: executions with the same key do not run at the same time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OwnedMutexGuard;

/// The keys in use and their locks. Cheap to clone.
#[derive(Clone, Default)]
pub struct ConcurrencyKeys(Arc<Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>>);

/// Holds a concurrency key until it is dropped.
pub type KeyGuard = OwnedMutexGuard<()>;

impl ConcurrencyKeys {
    /// Waits for `key` and returns the guard that holds it. Calls `on_wait` first if another
    /// execution holds the key.
    ///
    /// # Cancel safety
    /// May be dropped while it waits.
    pub async fn acquire(&self, key: &str, on_wait: impl FnOnce()) -> KeyGuard {
        let lock = {
            let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            locks.retain(|_, lock| lock.strong_count() > 0);
            match locks.get(key).and_then(Weak::upgrade) {
                Some(lock) => lock,
                None => {
                    let lock = Arc::default();
                    locks.insert(key.to_owned(), Arc::downgrade(&lock));
                    lock
                }
            }
        };
        match lock.clone().try_lock_owned() {
            Ok(guard) => guard,
            Err(_) => {
                on_wait();
                lock.lock_owned().await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_second_waits_for_the_first_and_a_stranger_does_not() {
        let keys = ConcurrencyKeys::default();
        let first = keys.acquire("a", || panic!("nobody holds it")).await;
        let _other = keys.acquire("b", || panic!("nobody holds it")).await;
        let (waiting, mut waits) = tokio::sync::oneshot::channel();
        let second = tokio::spawn({
            let keys = keys.clone();
            async move { keys.acquire("a", || waiting.send(()).unwrap()).await }
        });
        (&mut waits).await.unwrap();
        assert!(!second.is_finished());
        drop(first);
        second.await.unwrap();
    }
}
