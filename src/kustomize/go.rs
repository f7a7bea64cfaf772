//! What Go's libraries do where kustomize's output depends on it: decoding of settings, JSON,
//! patterns.

pub mod decode;
pub mod json;
pub mod pattern;
