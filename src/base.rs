//! What every room stands on: time, waiting, secrets, stopping, trust, errors and misspelt words. Nothing here knows the domain.

pub mod backoff;
pub mod clock;
pub mod error;
pub mod nearest;
pub mod secret;
pub mod stop;
pub mod trust;
