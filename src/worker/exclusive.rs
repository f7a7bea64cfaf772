//! Executions that must not run at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OwnedMutexGuard;

/// Keys and who holds them. Cheap to clone.
#[derive(Clone, Default)]
pub struct Exclusive(Arc<Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>>);

impl Exclusive {
    /// Waits for `key`; `waits` is called first if somebody else holds it.
    ///
    /// # Cancel safety
    /// May be dropped while it waits.
    pub async fn enter(&self, key: &str, waits: impl FnOnce()) -> OwnedMutexGuard<()> {
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
                waits();
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
        let exclusive = Exclusive::default();
        let first = exclusive.enter("a", || panic!("nobody holds it")).await;
        let _other = exclusive.enter("b", || panic!("nobody holds it")).await;
        let (told, mut heard) = tokio::sync::oneshot::channel();
        let second = tokio::spawn({
            let exclusive = exclusive.clone();
            async move { exclusive.enter("a", || told.send(()).unwrap()).await }
        });
        (&mut heard).await.unwrap();
        assert!(!second.is_finished());
        drop(first);
        second.await.unwrap();
    }
}
