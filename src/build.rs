//! From a source to objects: an overlay, an inline manifest or an existing artifact becomes
//! objects.

pub mod artifact;
pub mod outside;
pub mod overlay;
pub mod tree;

mod charts;
mod config;
mod fetch;

pub use config::BuildConfig;
pub use fetch::RemoteAccess;
pub use outside::BuildHost;
pub use tree::Tree;
