//! Settings of builds.

use crate::registry::format::Layout;

/// Settings of builds.
#[derive(Debug, Clone)]
pub struct BuildConfig {
    /// Whether overlays may name bases, files and charts on other machines.
    pub allow_remote: bool,
    /// The layout of artifacts that are written.
    pub layout: Layout,
}
