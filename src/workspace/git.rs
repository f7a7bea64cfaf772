//! Fetches one revision of a git repository with the `git` program, hardened.
//!
//! - Only https and ssh are allowed; plain http and `git://` only to loopback or to hosts that the
//!   operator named; never `file://`, a path or a helper (`ext::`). The host is resolved once and
//!   checked by the [guard](crate::base::guard), and git connects to the address that was checked.
//!   Redirects are not followed.
//! - Credentials and the proxy are passed in an in-memory configuration (`config`), not in
//!   arguments, environment or files. They are bound to the origin of the repository.
//! - The repository's own data are next to the work tree, never in it, and git always gets their
//!   path: it does not search for a repository, and nothing in a fetched tree is treated as one.
//! - The files of a commit are listed before it is checked out. A commit that is too large is
//!   refused.
//! - Submodules are fetched as separate repositories (`submodules`), under the same rules.
//! - No hooks, no prompts, no system or user configuration, no shell. Clones are shallow. Bytes and
//!   entries are bounded by polling the size of the directories; memory, processor time and
//!   processes by the supervisor; time by the step's stop token.

mod config;
mod error;
mod listing;
mod location;
mod repository;
mod size;
mod submodules;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

pub use error::GitError;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use listing::Budget;
pub use location::{Location, LocationError};
use repository::Repository;
use size::{ExceededLimit, wait_until_exceeded};

use super::child::Supervisor;
use crate::base::guard::{Reach, SsrfGuard};
use crate::base::secret::{Redactor, Secret};
use crate::base::stop::Stop;

/// Maximum nesting of submodules.
const MAX_SUBMODULE_DEPTH: usize = 10;

/// Address space of one git process, in bytes. Its packs are mapped in windows of 256 MiB together.
const MAX_MEMORY: u64 = 2 << 30;

/// Processor time of one git process, in seconds.
const MAX_CPU_SECONDS: u64 = 1800;

/// Enough for git, its transport helper, ssh, and the checks beside them.
const MAX_PROCESSES: usize = 32;

/// Maximum bytes of a commit's listing.
const MAX_LISTING: usize = 64 << 20;

/// Maximum bytes of `.gitmodules`, as git prints it.
const MAX_GITMODULES: usize = 1 << 20;

/// Older versions cannot be given the address to connect to (`http.curloptResolve`, 2.37), or
/// cannot be told to ignore bare repositories in a tree (`safe.bareRepository`, 2.38).
const MIN_GIT_VERSION: (u32, u32) = (2, 38);

/// What may be fetched, and how. Comes from the operator's settings.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Decides which hosts may be reached; also allows those of `allow_insecure`.
    pub guard: SsrfGuard,
    /// Executable that supervises git.
    pub supervisor: Supervisor,
    /// Hosts that may be reached over plain `http://` and `git://`, in addition to loopback.
    pub allow_insecure: Vec<String>,
    /// Maximum bytes of a clone on disk, counted in blocks.
    pub max_bytes: u64,
    /// Maximum files, links and directories of a clone.
    pub max_entries: u64,
    /// CA bundle (PEM) for https; `None` means the system's.
    pub ca_bundle: Option<Arc<Vec<u8>>>,
    /// Private key for ssh.
    pub ssh_key_file: Option<PathBuf>,
    /// Known hosts for ssh; `None` means the system's. Unknown hosts are refused.
    pub ssh_known_hosts_file: Option<PathBuf>,
    /// Proxy for https, with its credentials.
    pub proxy: Option<Secret>,
    /// Hosts to reach without the proxy (`NO_PROXY`).
    pub no_proxy: Option<String>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            allow_insecure: Vec::new(),
            guard: SsrfGuard::default(),
            supervisor: Supervisor::default(),
            max_bytes: 1 << 30,
            max_entries: 250_000,
            ca_bundle: None,
            ssh_key_file: None,
            ssh_known_hosts_file: None,
            proxy: None,
            no_proxy: None,
        }
    }
}

impl Policy {
    /// Returns the maximum size of a checkout on disk.
    fn budget(&self) -> Budget {
        Budget {
            entries: self.max_entries,
            bytes: self.max_bytes,
        }
    }
}

/// A revision to fetch.
#[derive(Debug, Clone)]
pub struct GitRevision {
    /// Address of the repository.
    pub location: Location,
    /// Who names the address; decides which hosts are allowed.
    pub reach: Reach,
    /// Branch, tag or commit.
    pub reference: String,
    /// If true, submodules are fetched too.
    pub submodules: bool,
}

/// A revision that was fetched and checked out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkout {
    /// Full id of the commit.
    pub commit: String,
    /// When it was committed.
    pub committed_at: Timestamp,
}

impl GitRevision {
    /// Fetches the revision into the empty directory `tree`. The repository's data are kept next to
    /// `tree` until then.
    ///
    /// # Errors
    /// [`GitError`]; no message contains a credential.
    ///
    /// # Cancel safety
    /// Dropping the future kills git; the directory is left as it is.
    pub async fn fetch(
        &self,
        tree: &Path,
        policy: &Policy,
        redactor: &Redactor,
        stop: &Stop,
    ) -> Result<Checkout, GitError> {
        check_reference(&self.reference)?;
        let _learned: Vec<_> = self
            .location
            .secrets()
            .map(|secret| redactor.learn(secret))
            .collect();
        let stores =
            tempfile::tempdir_in(tree.parent().unwrap_or(tree)).map_err(GitError::Prepare)?;
        let fetcher = Fetcher {
            root: &self.location,
            root_reach: self.reach,
            stores: stores.path(),
            policy,
            redactor,
            store_count: AtomicU32::new(0),
        };
        let budget = policy.budget();
        let work = async {
            fetcher.check_version(tree, stop).await?;
            let mut remaining = budget;
            let wanted = FetchRequest {
                location: self.location.clone(),
                reach: self.reach,
                reference: &self.reference,
                submodules: self.submodules.then_some(MAX_SUBMODULE_DEPTH),
            };
            fetcher.repository(wanted, tree, &mut remaining, stop).await
        };
        let location = || self.location.to_string();
        tokio::select! {
            done = work => done,
            exceeded = wait_until_exceeded([tree, stores.path()], budget) => Err(match exceeded {
                ExceededLimit::Entries => GitError::TooMany { location: location(), limit: budget.entries },
                ExceededLimit::Bytes => GitError::TooLarge { location: location(), limit: budget.bytes },
            }),
        }
    }
}

fn check_reference(reference: &str) -> Result<(), GitError> {
    let bad = reference.is_empty()
        || reference.starts_with('-')
        || reference.contains("..")
        || reference.contains(':')
        || reference
            .chars()
            .any(|c| c.is_control() || c.is_whitespace() || "~^?*[\\".contains(c));
    if bad {
        Err(GitError::BadReference(
            reference.chars().take(200).collect(),
        ))
    } else {
        Ok(())
    }
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Returns true for the full id of a commit, which git never takes for the name of something else.
fn is_full_id(text: &str) -> bool {
    is_hex(text) && matches!(text.len(), 40 | 64)
}

/// A repository to fetch: the source itself, or a submodule.
struct FetchRequest<'a> {
    location: Location,
    reach: Reach,
    reference: &'a str,
    /// Levels of submodules that may still be fetched; `None` if submodules are not fetched.
    submodules: Option<usize>,
}

/// Fetches a source and its submodules.
struct Fetcher<'a> {
    /// Address of the source itself. Its credential is bound to the origin of this address.
    root: &'a Location,
    root_reach: Reach,
    /// Directory with one subdirectory for each repository's data.
    stores: &'a Path,
    policy: &'a Policy,
    redactor: &'a Redactor,
    store_count: AtomicU32,
}

impl Fetcher<'_> {
    /// Fetches a repository into `tree`, and its submodules below it. Returns the commit.
    // Long: one repository and its submodules, in order.
    fn repository<'a>(
        &'a self,
        request: FetchRequest<'a>,
        tree: &'a Path,
        remaining: &'a mut Budget,
        stop: &'a Stop,
    ) -> BoxFuture<'a, Result<Checkout, GitError>> {
        Box::pin(async move {
            let FetchRequest {
                location,
                reach,
                reference,
                submodules,
            } = request;
            let pins = self.pins(&location, reach).await?;
            let store = self
                .stores
                .join(self.store_count.fetch_add(1, Ordering::Relaxed).to_string());
            let repository = Repository {
                fetcher: self,
                location: &location,
                pins,
                store,
                tree,
            };
            let commit = repository.fetch(reference, stop).await?;
            let checkout = Checkout {
                committed_at: repository.committed_at(&commit, stop).await?,
                commit: commit.clone(),
            };
            let listing = repository.list(&commit, remaining, stop).await?;
            repository
                .run_checked(
                    "check out",
                    &["checkout", "--quiet", "--detach", &commit],
                    stop,
                )
                .await?;
            let Some(levels) =
                submodules.filter(|_| listing.has_modules && !listing.gitlinks.is_empty())
            else {
                return Ok(checkout);
            };
            let levels = levels
                .checked_sub(1)
                .ok_or_else(|| GitError::TooDeep(self.root.to_string()))?;
            let modules = repository.modules(&commit, stop).await?;
            for (path, id) in &listing.gitlinks {
                // As in git itself, a submodule without an entry in `.gitmodules` is not fetched.
                let module = modules
                    .iter()
                    .find(|module| module.path == *path && !module.is_skipped);
                let Some(module) = module.filter(|module| !module.url.is_empty()) else {
                    continue;
                };
                let (location, reach) = self.locate_submodule(path, &module.url, &location)?;
                let directory = submodules::directory(tree, path, &location)?;
                let wanted = FetchRequest {
                    location,
                    reach,
                    reference: id,
                    submodules: Some(levels),
                };
                self.repository(wanted, &directory, remaining, stop).await?;
            }
            Ok(checkout)
        })
    }

    /// Returns the repository of a submodule, and which hosts it may be on.
    fn locate_submodule(
        &self,
        path: &str,
        url: &str,
        parent: &Location,
    ) -> Result<(Location, Reach), GitError> {
        let location = submodules::resolve_url(url, parent, self.policy).map_err(|source| {
            GitError::Submodule {
                path: path.to_owned(),
                location: parent.to_string(),
                source,
            }
        })?;
        // A submodule on the same server gets the same reach as the source.
        let reach = match location.endpoint() == self.root.endpoint() {
            true => self.root_reach,
            false => Reach::Author,
        };
        Ok((location, reach))
    }

    /// Returns the addresses that git must connect to. Returns none if the host is an IP address,
    /// or if a proxy resolves it.
    async fn pins(&self, location: &Location, reach: Reach) -> Result<Vec<SocketAddr>, GitError> {
        let guard = &self.policy.guard;
        let (host, port) = location.endpoint();
        let url = location.as_url();
        if let Some(url) = url.as_ref().filter(|url| guard.is_proxied(url)) {
            guard.check(url, reach)?;
            return Ok(Vec::new());
        }
        let pins = guard.resolve(&host, port, reach).await?;
        let is_literal = host.parse::<std::net::IpAddr>().is_ok();
        Ok(if is_literal { Vec::new() } else { pins })
    }

    async fn check_version(&self, tree: &Path, stop: &Stop) -> Result<(), GitError> {
        let repository = Repository {
            fetcher: self,
            location: self.root,
            pins: Vec::new(),
            store: self.stores.to_owned(),
            tree,
        };
        let ended = repository.run(&["version"], stop).await?;
        let text = String::from_utf8_lossy(&ended.stdout).trim().to_owned();
        let mut numbers = text
            .trim_start_matches("git version ")
            .split(['.', ' '])
            .map(str::parse::<u32>);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= MIN_GIT_VERSION => Ok(()),
            _ => Err(GitError::Version {
                said: text.chars().take(100).collect(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_that_is_an_option_or_a_range_is_refused() {
        for bad in ["", "--upload-pack=x", "a..b", "a b", "a:b", "a\nb", "HEAD^"] {
            assert!(check_reference(bad).is_err(), "{bad:?}");
        }
        for good in [
            "main",
            "v1.2.3",
            "feature/x",
            "8f14e45fceea167a5a36dedd4bea2543c6e1f0aa",
        ] {
            assert!(check_reference(good).is_ok(), "{good:?}");
        }
    }
}
