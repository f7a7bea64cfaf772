//! Signatures of artifacts: made by openssl from the specifications, never by nuon-runner itself.

mod jobs;
pub mod signer;
mod variants;
