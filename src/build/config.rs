//! Settings of builds.

use crate::registry::format::OutputLayout;

/// Settings of builds.
#[derive(Debug, Clone)]
pub struct BuildConfig {
    /// Whether overlays may name remote bases, files and charts.
    pub allow_remote: bool,
    /// Layout of the artifacts that builds write.
    pub layout: OutputLayout,
}
