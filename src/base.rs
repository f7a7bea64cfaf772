//! What every room stands on: time, waiting, secrets and stopping. Nothing here knows the domain.

pub mod backoff;
pub mod clock;
pub mod secret;
pub mod stop;
