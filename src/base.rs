//! What every room stands on: time, waiting, secrets, stopping and trust. Nothing here knows the domain.

pub mod backoff;
pub mod clock;
pub mod secret;
pub mod stop;
pub mod trust;
