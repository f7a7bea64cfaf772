//! What a build may use besides files. Everything is refused unless the caller provides it.

use crate::kustomize::BuildError;
use crate::kustomize::error::HostError;
use crate::kustomize::load::files::Files;
use crate::kustomize::load::remote::RemoteRepository;

/// Services that the caller provides to a build.
pub trait Host {
    /// Returns true if the build should stop. Checked before each kustomization and each
    /// transformer.
    fn cancelled(&self) -> bool {
        false
    }

    /// Receives a warning: one line, in kustomize's words.
    fn warn(&self, _warning: &str) {}

    /// Receives a note about what is probably a mistake, such as a patch that matches nothing. The
    /// output is the same with and without it.
    fn note(&self, _note: BuildError) {}

    /// Returns the Helm runner; `None` if the build may not inflate charts.
    fn helm(&self) -> Option<&dyn Helm> {
        None
    }

    /// Returns the fetcher; `None` if the build may not use remote bases and files.
    fn remote(&self) -> Option<&dyn Remote> {
        None
    }
}

/// A host that provides nothing and never cancels the build.
#[derive(Debug, Clone, Copy)]
pub struct NoHost;

impl Host for NoHost {}

/// Runs Helm.
pub trait Helm {
    /// Downloads a chart that is not in the tree. Returns its files, by their paths relative to the
    /// chart's directory.
    ///
    /// # Errors
    /// Fails if the chart cannot be downloaded. The message is one sentence.
    fn pull(&self, pull: &Pull) -> Result<Vec<(String, Vec<u8>)>, HostError>;

    /// Returns the output of `helm template`.
    ///
    /// # Errors
    /// Fails if the chart cannot be rendered. The message is one sentence.
    fn template(&self, template: &Template) -> Result<String, HostError>;
}

/// A chart to download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pull {
    /// The URL of a chart repository, or of a registry with `oci://`.
    pub repo: String,
    /// The name of the chart.
    pub name: String,
    /// The version; empty for the newest.
    pub version: String,
    /// True if prereleases are allowed (`--devel`).
    pub devel: bool,
}

/// A chart to render.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// The chart's name.
    pub name: String,
    /// Its files, by their paths relative to the chart's directory.
    pub chart: Vec<(String, Vec<u8>)>,
    /// The name of the release; with `None` Helm generates one.
    pub release: Option<String>,
    /// The contents of the values files; later ones win.
    pub values: Vec<Vec<u8>>,
    /// Additional flags of `helm template`. None of them names a file.
    pub flags: Vec<String>,
}

/// Fetches remote repositories and files.
pub trait Remote {
    /// Fetches the tree of a repository.
    ///
    /// # Errors
    /// Fails if the repository cannot be fetched. The message is one sentence.
    fn repository(&self, repository: &RemoteRepository) -> Result<Box<dyn Files>, HostError>;

    /// Downloads the file at an `https://` or `http://` URL.
    ///
    /// # Errors
    /// Fails if the file cannot be downloaded. The message is one sentence.
    fn file(&self, address: &str) -> Result<Vec<u8>, HostError>;
}
