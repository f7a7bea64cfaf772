//! Long work on one thread that can be told to end: parsing and printing have no place to wait at, so they look from time
//! to time whether anybody still wants their result.
//!
//! What to look at belongs to the thread for as long as [`while_wanted`] runs, not to each function on the way: those stay
//! functions of their arguments, and outside of it never end early.

use std::cell::RefCell;

use super::stop::Stop;

thread_local! {
    static CURRENT: RefCell<Option<Stop>> = const { RefCell::new(None) };
}

/// Runs work that ends early, with an error of its own, once `stop` is asked for.
pub fn while_wanted<T>(stop: &Stop, work: impl FnOnce() -> T) -> T {
    /// Gives the thread back as it was, also after a panic.
    struct Before(Option<Stop>);
    impl Drop for Before {
        fn drop(&mut self) {
            CURRENT.set(self.0.take());
        }
    }
    let _before = Before(CURRENT.replace(Some(stop.clone())));
    work()
}

/// Returns true if this thread's work is no longer wanted.
pub fn is_unwanted() -> bool {
    CURRENT.with_borrow(|current| current.as_ref().is_some_and(Stop::is_stopped))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::stop::Cause;

    #[test]
    fn work_is_unwanted_only_inside_and_only_when_it_was_stopped() {
        let stop = Stop::default();
        assert!(!while_wanted(&stop, is_unwanted));
        stop.stop(Cause::Cancelled);
        assert!(while_wanted(&stop, is_unwanted));
        assert!(while_wanted(&stop, || !while_wanted(
            &Stop::default(),
            is_unwanted
        ) && is_unwanted()));
        assert!(!is_unwanted());
    }
}
