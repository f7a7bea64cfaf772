//! What Go's libraries do where kustomize's output depends on it: decoding of settings, JSON,
//! patterns, YAML that is written within texts.

pub mod decode;
pub mod encode;
pub mod json;
pub mod pattern;
pub mod write;
