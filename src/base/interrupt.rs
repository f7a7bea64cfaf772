//! Cancellation of long synchronous work: parsing and printing have no await points, so they check
//! from time to time whether their result is still wanted.
//!
//! The stop token belongs to the thread while [`with_stop`] runs and is not passed to each
//! function. Those stay functions of their arguments, and never end early outside of it.

use std::cell::RefCell;

use super::stop::Stop;

thread_local! {
    static CURRENT: RefCell<Option<Stop>> = const { RefCell::new(None) };
}

/// Runs `work` and makes [`is_stopped`] true within it once `stop` is stopped. `work` then returns
/// its own error.
pub fn with_stop<T>(stop: &Stop, work: impl FnOnce() -> T) -> T {
    /// Restores the thread's previous token, also after a panic.
    struct Restore(Option<Stop>);
    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT.set(self.0.take());
        }
    }
    let _restore = Restore(CURRENT.replace(Some(stop.clone())));
    work()
}

/// Returns true if the work on this thread was stopped.
pub fn is_stopped() -> bool {
    CURRENT.with_borrow(|current| current.as_ref().is_some_and(Stop::is_stopped))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::stop::StopCause;

    #[test]
    fn work_is_unwanted_only_inside_and_only_when_it_was_stopped() {
        let stop = Stop::default();
        assert!(!with_stop(&stop, is_stopped));
        stop.stop(StopCause::Cancelled);
        assert!(with_stop(&stop, is_stopped));
        assert!(with_stop(&stop, || !with_stop(
            &Stop::default(),
            is_stopped
        ) && is_stopped()));
        assert!(!is_stopped());
    }
}
