//! Settings of builds.

use std::path::PathBuf;

use jiff::Timestamp;

use crate::registry::format::OutputLayout;

/// Settings of builds.
#[derive(Debug, Clone)]
pub struct BuildConfig {
    /// Whether overlays may name remote bases, files and charts.
    pub allow_remote: bool,
    /// Layout of the artifacts that builds write.
    pub layout: OutputLayout,
    /// The time that artifacts carry; `None` for that of the commit, or a fixed one without git.
    pub source_date: Option<Timestamp>,
    /// Private key (PEM) that signs what is built.
    pub sign_key_file: Option<PathBuf>,
}
