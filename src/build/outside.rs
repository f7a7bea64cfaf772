//! What a build may ask for beside the files of its source: Helm, repositories, files of the web, as
//! far as the operator and the plan allow it.

use std::path::PathBuf;

use url::Url;

use crate::base::error::chain;
use crate::base::guard::Reach;
use crate::base::stop::Stop;
use crate::build::{Fetching, Tree, charts};
use crate::kustomize::Files;
use crate::kustomize::host::{Helm, Host, Pull, Remote, Template};
use crate::kustomize::remote::Repository;
use crate::workspace::git::{Location, Source};
use crate::workspace::helm;
use crate::workspace::jail::Jail;

/// The largest file that is fetched from the web.
const LARGEST_FILE: usize = 64 << 20;

/// A build's way out.
pub struct Outside {
    /// Gives a runtime that other threads drive; the build's own thread only waits on it.
    pub runtime: Box<dyn Fn() -> Result<tokio::runtime::Handle, String> + Send>,
    /// Ends the build.
    pub stop: Stop,
    /// Where trees and charts lie while the build goes on.
    pub scratch: PathBuf,
    /// The program, if charts may be inflated.
    pub helm: Option<helm::Helm>,
    /// How other machines are reached, if they may be.
    pub remote: Option<Fetching>,
    /// Takes warnings.
    pub warn: Box<dyn Fn(&str) + Send>,
}

impl Host for Outside {
    fn cancelled(&self) -> bool {
        self.stop.is_stopped()
    }

    fn warn(&self, warning: &str) {
        (self.warn)(warning);
    }

    fn helm(&self) -> Option<&dyn Helm> {
        self.helm.is_some().then_some(self as &dyn Helm)
    }

    fn remote(&self) -> Option<&dyn Remote> {
        self.remote.is_some().then_some(self as &dyn Remote)
    }
}

impl Helm for Outside {
    fn pull(&self, pull: &Pull) -> Result<Vec<(String, Vec<u8>)>, String> {
        let Some(fetching) = &self.remote else {
            return Err(format!(
                "the chart {} is not in the source, and fetching it from {} is not allowed in \
                 this build",
                pull.name, pull.repo
            ));
        };
        let pulled = self.stop.run(charts::pull(pull, fetching));
        (self.runtime)()?
            .block_on(pulled)
            .unwrap_or_else(|| Err("the build was cancelled".into()))
    }

    fn template(&self, template: &Template) -> Result<String, String> {
        let Some(helm) = &self.helm else {
            return Err("charts are not inflated here".into());
        };
        let Template {
            name,
            chart,
            release,
            values,
            flags,
        } = template;
        let inflation = helm::Inflation {
            name,
            chart,
            release: release.as_deref(),
            values,
            flags,
        };
        let inflated =
            (self.runtime)()?.block_on(helm.template(&inflation, &self.scratch, &self.stop));
        let inflated = inflated.map_err(|error| chain(&error))?;
        inflated
            .warnings
            .iter()
            .for_each(|warning| (self.warn)(warning));
        Ok(inflated.text)
    }
}

impl Remote for Outside {
    fn repository(&self, repository: &Repository) -> Result<Box<dyn Files>, String> {
        let Some(Fetching { git, redactor, .. }) = &self.remote else {
            return Err("fetching is not allowed".into());
        };
        let location = Location::parse(&repository.url, git).map_err(|error| error.to_string())?;
        let reference = if repository.reference.is_empty() {
            "HEAD"
        } else {
            &repository.reference
        };
        let source = Source {
            location,
            reach: Reach::Author,
            reference: reference.to_owned(),
            submodules: repository.submodules,
        };
        let fetch = async {
            let tree = tempfile::tempdir_in(&self.scratch)
                .map_err(|error| format!("cannot make a directory: {error}"))?;
            let fetched = tokio::time::timeout(
                repository.timeout,
                source.fetch(tree.path(), git, redactor, &self.stop),
            );
            match fetched.await {
                Ok(fetched) => fetched.map_err(|error| chain(&error))?,
                Err(_) => {
                    let seconds = repository.timeout.as_secs();
                    return Err(format!(
                        "fetching {} took more than {seconds} s; ?timeout= allows more",
                        source.location
                    ));
                }
            };
            Ok(tree)
        };
        let tree = (self.runtime)()?.block_on(fetch)?;
        let jail = Jail::open(tree.path()).map_err(|error| error.to_string())?;
        Ok(Box::new(Fetched {
            tree: Tree(jail),
            _directory: tree,
        }))
    }

    fn file(&self, address: &str) -> Result<Vec<u8>, String> {
        let Some(fetching) = &self.remote else {
            return Err("fetching is not allowed".into());
        };
        let url = Url::parse(address).map_err(|_| "it is not a URL")?;
        let fetch = self.stop.run(fetching.get(url, LARGEST_FILE));
        (self.runtime)()?
            .block_on(fetch)
            .unwrap_or_else(|| Err("the build was cancelled".into()))
    }
}

/// A tree that is removed with the build.
struct Fetched {
    tree: Tree,
    _directory: tempfile::TempDir,
}

impl Files for Fetched {
    fn kind(&self, path: &str) -> Option<crate::kustomize::Kind> {
        self.tree.kind(path)
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        self.tree.read(path)
    }

    fn list(&self, path: &str) -> Result<Vec<String>, String> {
        self.tree.list(path)
    }
}
