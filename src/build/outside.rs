//! What a build may access besides the files of its source, as far as the operator and the plan
//! allow: Helm, git repositories and files on the web.

use std::path::PathBuf;

use url::Url;

use crate::base::error::chain;
use crate::base::guard::Reach;
use crate::base::stop::Stop;
use crate::build::{RemoteAccess, Tree, charts};
use crate::kustomize::load::host::{Helm, Host, Pull, Remote, Template};
use crate::kustomize::load::remote::RemoteRepository;
use crate::kustomize::{BuildError, Files, HostError};
use crate::workspace::git::{GitRevision, Location};
use crate::workspace::helm;

/// Maximum size of a file from the web, in bytes.
const MAX_FILE_BYTES: usize = 64 << 20;

/// The [`Host`] of a build: gives it Helm and remote access.
pub struct BuildHost {
    /// Returns a runtime that other threads drive. The build's own thread blocks on it.
    pub runtime: Box<dyn Fn() -> Result<tokio::runtime::Handle, HostError> + Send>,
    /// Cancels the build.
    pub stop: Stop,
    /// Directory for fetched trees and charts during the build.
    pub scratch: PathBuf,
    /// Helm, if charts may be inflated.
    pub helm: Option<helm::Helm>,
    /// Remote access, if it is allowed.
    pub remote: Option<RemoteAccess>,
    /// Receives warnings in kustomize's words.
    pub warn: Box<dyn Fn(&str) + Send>,
    /// Receives notes about what is probably a mistake.
    pub note: Box<dyn Fn(BuildError) + Send>,
}

impl Host for BuildHost {
    fn cancelled(&self) -> bool {
        self.stop.is_stopped()
    }

    fn warn(&self, warning: &str) {
        (self.warn)(warning);
    }

    fn note(&self, note: BuildError) {
        (self.note)(note);
    }

    fn helm(&self) -> Option<&dyn Helm> {
        self.helm.is_some().then_some(self as &dyn Helm)
    }

    fn remote(&self) -> Option<&dyn Remote> {
        self.remote.is_some().then_some(self as &dyn Remote)
    }
}

impl Helm for BuildHost {
    fn pull(&self, pull: &Pull) -> Result<Vec<(String, Vec<u8>)>, HostError> {
        let Some(fetching) = &self.remote else {
            return Err(format!(
                "the chart {} is not in the source, and fetching it from {} is not allowed in \
                 this build",
                pull.name, pull.repo
            )
            .into());
        };
        let pulled = self.stop.run(charts::pull(pull, fetching));
        (self.runtime)()?
            .block_on(pulled)
            .unwrap_or_else(|| Err("the build was cancelled".into()))
    }

    fn template(&self, template: &Template) -> Result<String, HostError> {
        let Some(helm) = &self.helm else {
            return Err("this build may not inflate charts".into());
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

impl Remote for BuildHost {
    fn repository(&self, repository: &RemoteRepository) -> Result<Box<dyn Files>, HostError> {
        let Some(RemoteAccess { git, redactor, .. }) = &self.remote else {
            return Err("fetching is not allowed".into());
        };
        let location = Location::parse(&repository.url, git).map_err(|error| error.to_string())?;
        let reference = if repository.reference.is_empty() {
            "HEAD"
        } else {
            &repository.reference
        };
        let source = GitRevision {
            location,
            reach: Reach::Author,
            reference: reference.to_owned(),
            submodules: repository.submodules,
        };
        let fetch = async {
            let tree = tempfile::tempdir_in(&self.scratch)
                .map_err(|error| format!("cannot create a directory: {error}"))?;
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
                    )
                    .into());
                }
            };
            Ok::<_, HostError>(tree)
        };
        let tree = (self.runtime)()?.block_on(fetch)?;
        let tree = Tree::fetched(tree).map_err(|error| error.to_string())?;
        Ok(Box::new(tree))
    }

    fn file(&self, address: &str) -> Result<Vec<u8>, HostError> {
        let Some(fetching) = &self.remote else {
            return Err("fetching is not allowed".into());
        };
        let url = Url::parse(address).map_err(|_| "it is not a URL")?;
        let fetch = self.stop.run(fetching.get(url, MAX_FILE_BYTES));
        (self.runtime)()?
            .block_on(fetch)
            .unwrap_or_else(|| Err("the build was cancelled".into()))
    }
}
