//! Building blocks without domain knowledge: time, backoff, secrets, cancellation, network access,
//! process hardening, error texts, numbers with their nouns, and spelling suggestions.

pub mod backoff;
pub mod bounded;
pub mod clock;
pub mod counted;
pub mod error;
pub mod guard;
pub mod hardening;
pub mod interrupt;
pub mod invalid;
pub mod nearest;
pub mod poll;
pub mod retry;
pub mod secret;
pub mod stop;
pub mod trust;
pub mod url_mask;
pub mod version_range;
