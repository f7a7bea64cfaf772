//! Submodules, one level after the other: git resolves their addresses, each is checked as the
//! repository's own was, and only then is it fetched.

use std::path::Path;

use futures_util::future::BoxFuture;

use super::{Git, GitError, Location};
use crate::base::stop::Stop;

/// The most levels of submodules in submodules.
pub(super) const MAX_DEPTH: usize = 10;

impl Git<'_> {
    /// Fetches the submodules of the work tree `tree`, and theirs, down to `levels` below it.
    pub(super) fn submodules<'a>(
        &'a self,
        tree: &'a Path,
        levels: usize,
        stop: &'a Stop,
    ) -> BoxFuture<'a, Result<(), GitError>> {
        Box::pin(async move {
            if !tree.join(".gitmodules").symlink_metadata().is_ok_and(|found| found.is_file()) {
                return Ok(());
            }
            if levels == 0 {
                return Err(GitError::TooDeep(self.source.location.to_string()));
            }
            self.git(tree, &self.source.location, &["submodule", "--quiet", "init"], stop).await?;
            let addresses = self.values(tree, "--local", "url", stop).await?;
            for (name, path) in self.values(tree, "--file=.gitmodules", "path", stop).await? {
                // What is named but is no entry of this revision was given no address.
                let Some((_, address)) = addresses.iter().find(|(known, _)| *known == name) else { continue };
                let location = Location::parse(address, self.policy).map_err(|source| GitError::Submodule {
                    path: path.clone(),
                    location: self.source.location.to_string(),
                    source,
                })?;
                let update = ["submodule", "--quiet", "update", "--depth=1", "--", &path];
                if self.git(tree, &location, &update, stop).await.is_err() {
                    // Some servers give a commit only with the branch that leads to it.
                    self.git(tree, &location, &["submodule", "--quiet", "update", "--", &path], stop).await?;
                }
                self.submodules(&tree.join(&path), levels - 1, stop).await?;
            }
            Ok(())
        })
    }

    /// What a configuration says of each submodule's `key`: name and value.
    async fn values(&self, tree: &Path, file: &str, key: &str, stop: &Stop) -> Result<Vec<(String, String)>, GitError> {
        let pattern = format!("^submodule\\..*\\.{key}$");
        let args = ["config", file, "--null", "--get-regexp", &pattern];
        // It ends with an error when there are none.
        let listed = self.run_in(tree, &self.source.location, &args, stop).await?;
        let text = String::from_utf8_lossy(&listed.stdout).into_owned();
        let ending = format!(".{key}");
        let value = |entry: &str| {
            let (name, value) = entry.split_once('\n')?;
            Some((name.strip_prefix("submodule.")?.strip_suffix(&ending)?.to_owned(), value.to_owned()))
        };
        Ok(text.split('\0').filter_map(value).collect())
    }

    async fn git(&self, tree: &Path, location: &Location, args: &[&str], stop: &Stop) -> Result<(), GitError> {
        let ended = self.run_in(tree, location, args, stop).await?;
        if ended.status.success() { Ok(()) } else { Err(self.failed("fetch the submodules of", &ended)) }
    }
}
