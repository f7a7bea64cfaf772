//! What every room stands on: time, waiting, secrets, stopping, trust, errors and misspelt words. Nothing here knows the domain.

pub mod backoff;
pub mod bounded;
pub mod clock;
pub mod error;
pub mod guard;
pub mod interrupt;
pub mod nearest;
pub mod protect;
pub mod secret;
pub mod stop;
pub mod trust;
