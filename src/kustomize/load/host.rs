//! What a build may ask of the world beside files. All of it is refused unless the caller gives it.

use crate::kustomize::load::files::Files;
use crate::kustomize::load::remote::Repository;

/// The caller of a build.
pub trait Host {
    /// Whether the build is no longer wanted; asked now and then.
    fn cancelled(&self) -> bool {
        false
    }

    /// Takes a warning, one line, as kustomize words it.
    fn warn(&self, _warning: &str) {}

    /// The way to Helm, if charts may be inflated.
    fn helm(&self) -> Option<&dyn Helm> {
        None
    }

    /// The way to other machines, if bases and files may be there.
    fn remote(&self) -> Option<&dyn Remote> {
        None
    }
}

/// A host that allows nothing and wants every build.
#[derive(Debug, Clone, Copy)]
pub struct Alone;

impl Host for Alone {}

/// Runs Helm.
pub trait Helm {
    /// The files of a chart that is not in the tree, by their paths below the chart's directory.
    ///
    /// # Errors
    /// A sentence.
    fn pull(&self, pull: &Pull) -> Result<Vec<(String, Vec<u8>)>, String>;

    /// What a chart says with values: the text that `helm template` prints.
    ///
    /// # Errors
    /// A sentence.
    fn template(&self, template: &Template) -> Result<String, String>;
}

/// A chart on another machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pull {
    /// A chart repository, or a registry with `oci://`.
    pub repo: String,
    /// The chart.
    pub name: String,
    /// Its version; empty: the newest.
    pub version: String,
    /// Whether development versions count.
    pub devel: bool,
}

/// A chart with values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// The chart's name.
    pub name: String,
    /// Its files, by their paths below the chart's directory.
    pub chart: Vec<(String, Vec<u8>)>,
    /// The name of the release; none lets Helm make one.
    pub release: Option<String>,
    /// Files of values; later ones win.
    pub values: Vec<Vec<u8>>,
    /// Further flags of `helm template`, none of which names a file.
    pub flags: Vec<String>,
}

/// Fetches what is on other machines.
pub trait Remote {
    /// The tree of a repository.
    ///
    /// # Errors
    /// A sentence.
    fn repository(&self, repository: &Repository) -> Result<Box<dyn Files>, String>;

    /// The content of a file at an address with `https://` or `http://`.
    ///
    /// # Errors
    /// A sentence.
    fn file(&self, address: &str) -> Result<Vec<u8>, String>;
}
