//! Fetches one revision of a git repository with the `git` program, hardened.
//!
//! * Only https and ssh; plain http and `git://` only to loopback or to hosts that the operator
//!   named; never `file://`, a path or a helper (`ext::`). The host is resolved once, checked by the
//!   [guard](crate::base::guard), and git connects to the address that was checked. No redirect is followed.
//! * Credentials and proxy travel in a configuration in memory ([`config`]): not in arguments,
//!   environment or files. They are bound to the origin of the repository.
//! * The repository's own data lie beside the work tree, never in it, and git is always told where:
//!   it looks for no repository, and nothing that a tree brings along is one.
//! * A commit is listed before it is checked out, and refused if it is too large.
//! * Submodules are repositories of their own ([`submodules`]), held to the same rules.
//! * No hooks, no prompts, no system or user configuration, no shell; shallow; bounded in bytes and
//!   entries by a watch over the directories, in memory, processor time and processes by the
//!   supervisor, and in time by the step's stop token.

mod config;
mod listing;
mod location;
mod submodules;

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use listing::{BLOCK, Budget};
pub use location::{Location, LocationError};

use super::child::{Child, ChildError, Ended, Limits, OUTPUT_LIMIT, Overflow, Supervisor};
use crate::base::guard::{Reach, SsrfError, SsrfGuard};
use crate::base::secret::{Redactor, Secret};
use crate::base::stop::Stop;

/// How often the size of a checkout under way is looked at.
const SIZE_INTERVAL: Duration = Duration::from_millis(200);

/// Address space of one git process: its packs are mapped in windows of 256 MiB together.
const MAX_MEMORY: u64 = 2 << 30;

/// Processor time of one git process, in seconds.
const MAX_CPU: u64 = 1800;

/// git, its transport helper, ssh, and the checks beside them.
const MAX_PROCESSES: usize = 32;

/// The largest listing of a commit.
const MAX_LISTING: usize = 64 << 20;

/// The largest `.gitmodules`, as git prints it.
const MAX_MODULES: usize = 1 << 20;

/// Before this version git cannot be told the address to connect to (`http.curloptResolve`, 2.37), nor to leave bare
/// repositories in a tree alone (`safe.bareRepository`, 2.38).
const OLDEST: (u32, u32) = (2, 38);

/// What may be fetched and how; from the operator's settings.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Which hosts are reached, those of `allow_insecure` among them.
    pub guard: SsrfGuard,
    /// What starts and ends git.
    pub supervisor: Supervisor,
    /// Hosts to which plain `http://` and `git://` are allowed besides loopback.
    pub allow_insecure: Vec<String>,
    /// The most bytes that a clone may take on disk, counted in blocks.
    pub max_bytes: u64,
    /// The most files, links and directories of a clone.
    pub max_entries: u64,
    /// CA bundle (PEM) for https, if not the system's.
    pub authorities: Option<Arc<Vec<u8>>>,
    /// Private key for ssh.
    pub ssh_key_file: Option<PathBuf>,
    /// Known hosts for ssh; without it the system's are used. Unknown hosts are refused.
    pub ssh_known_hosts_file: Option<PathBuf>,
    /// Proxy for https, with its credentials.
    pub proxy: Option<Secret>,
    /// Hosts that are reached without the proxy (`NO_PROXY`).
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
            authorities: None,
            ssh_key_file: None,
            ssh_known_hosts_file: None,
            proxy: None,
            no_proxy: None,
        }
    }
}

impl Policy {
    /// What a checkout may take on disk.
    fn budget(&self) -> Budget {
        Budget {
            entries: self.max_entries,
            bytes: self.max_bytes,
        }
    }
}

/// One revision to fetch.
#[derive(Debug, Clone)]
pub struct Source {
    /// Where from.
    pub location: Location,
    /// Who names it.
    pub reach: Reach,
    /// Branch, tag or commit.
    pub reference: String,
    /// Whether submodules are fetched too.
    pub submodules: bool,
}

/// A revision on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkout {
    /// The full id of the commit.
    pub commit: String,
}

/// Why there is no checkout.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// The reference cannot be one.
    #[error("{0:?} is not a git branch, tag or commit")]
    BadReference(String),
    /// A submodule's address is not used.
    #[error("the submodule {path:?} of {location}: {source}")]
    Submodule {
        /// Where it would lie, from the top of the work tree.
        path: String,
        /// The repository, without credentials.
        location: String,
        /// Why.
        source: LocationError,
    },
    /// Submodules of submodules, without end.
    #[error("submodules of {0} are nested more than {MAX_DEPTH} deep", MAX_DEPTH = submodules::MAX_DEPTH)]
    TooDeep(String),
    /// The host is not reached.
    #[error(transparent)]
    Guard(#[from] SsrfError),
    /// The program is too old.
    #[error("git {}.{} or newer is needed; the program says {said:?}", OLDEST.0, OLDEST.1)]
    Version {
        /// Its words.
        said: String,
    },
    /// A tree holds a name that cannot be written.
    #[error("the repository {location} holds a path that is not used: {path:?}")]
    Path {
        /// The repository, without credentials.
        location: String,
        /// Which path.
        path: String,
    },
    /// More files than allowed.
    #[error(
        "the repository {location} has more than {limit} files; raise git.max_entries if it may \
         have"
    )]
    TooMany {
        /// The repository, without credentials.
        location: String,
        /// The limit.
        limit: u64,
    },
    /// git refused; its words, without secrets.
    #[error("git could not {action} {location}: {message}")]
    Failed {
        /// What was tried.
        action: &'static str,
        /// The repository, without credentials.
        location: String,
        /// What git said.
        message: String,
    },
    /// More bytes than allowed.
    #[error(
        "the repository {location} is larger than {limit} bytes; raise git.max_bytes if it may be"
    )]
    TooLarge {
        /// The repository, without credentials.
        location: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// The work tree could not be prepared.
    #[error("cannot prepare the checkout")]
    Prepare(#[source] std::io::Error),
    /// git could not be run to its end.
    #[error(transparent)]
    Child(#[from] ChildError),
}

impl Source {
    /// Fetches the revision into the empty directory `tree`. The repository itself lies beside it while that goes on.
    ///
    /// # Errors
    /// [`GitError`]; no text of it holds a credential.
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
            made: AtomicU32::new(0),
        };
        let budget = policy.budget();
        let work = async {
            fetcher.check_version(tree, stop).await?;
            let mut left = budget;
            let wanted = Wanted {
                location: self.location.clone(),
                reach: self.reach,
                reference: &self.reference,
                submodules: self.submodules.then_some(submodules::MAX_DEPTH),
            };
            fetcher.repository(wanted, tree, &mut left, stop).await
        };
        let location = || self.location.to_string();
        let commit = tokio::select! {
            done = work => done?,
            grown = outgrown([tree, stores.path()], budget) => return Err(match grown {
                Grown::Entries => GitError::TooMany { location: location(), limit: budget.entries },
                Grown::Bytes => GitError::TooLarge { location: location(), limit: budget.bytes },
            }),
        };
        Ok(Checkout { commit })
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

/// Returns true for the full id of a commit, which is never taken for the name of something else.
fn is_full_id(text: &str) -> bool {
    is_hex(text) && matches!(text.len(), 40 | 64)
}

/// One repository to fetch: the source itself, or a submodule.
struct Wanted<'a> {
    location: Location,
    reach: Reach,
    reference: &'a str,
    /// How many levels of submodules are fetched, if any.
    submodules: Option<usize>,
}

/// Fetches a source and its submodules.
struct Fetcher<'a> {
    /// The source's own address, to whose origin its credential is bound.
    root: &'a Location,
    root_reach: Reach,
    /// Holds a folder for each repository.
    stores: &'a Path,
    policy: &'a Policy,
    redactor: &'a Redactor,
    made: AtomicU32,
}

/// One repository whose address was checked.
struct Repository<'a> {
    fetcher: &'a Fetcher<'a>,
    location: &'a Location,
    /// The addresses of its host, if they are to be used.
    pins: Vec<SocketAddr>,
    store: PathBuf,
    tree: &'a Path,
}

impl Fetcher<'_> {
    /// Fetches a repository into `tree`, and its submodules below; returns the commit.
    fn repository<'a>(
        &'a self,
        wanted: Wanted<'a>,
        tree: &'a Path,
        left: &'a mut Budget,
        stop: &'a Stop,
    ) -> BoxFuture<'a, Result<String, GitError>> {
        Box::pin(async move {
            let Wanted {
                location,
                reach,
                reference,
                submodules,
            } = wanted;
            let pins = self.pins(&location, reach).await?;
            let store = self
                .stores
                .join(self.made.fetch_add(1, Ordering::Relaxed).to_string());
            let repository = Repository {
                fetcher: self,
                location: &location,
                pins,
                store,
                tree,
            };
            let commit = repository.fetch(reference, stop).await?;
            let listing = repository.list(&commit, left, stop).await?;
            repository
                .must(
                    "check out",
                    &["checkout", "--quiet", "--detach", &commit],
                    stop,
                )
                .await?;
            let Some(levels) =
                submodules.filter(|_| listing.has_modules && !listing.links.is_empty())
            else {
                return Ok(commit);
            };
            let levels = levels
                .checked_sub(1)
                .ok_or_else(|| GitError::TooDeep(self.root.to_string()))?;
            let modules = repository.modules(&commit, stop).await?;
            for (path, id) in &listing.links {
                // What is no entry of `.gitmodules` was never asked for, as for git itself.
                let module = modules
                    .iter()
                    .find(|module| module.path == *path && !module.is_skipped);
                let Some(module) = module.filter(|module| !module.url.is_empty()) else {
                    continue;
                };
                let named = |source| GitError::Submodule {
                    path: path.clone(),
                    location: location.to_string(),
                    source,
                };
                let location =
                    submodules::locate(&module.url, &location, self.policy).map_err(named)?;
                let directory = submodules::directory(tree, path, &location)?;
                // The server that was named already may be named again.
                let is_same = location.endpoint() == self.root.endpoint();
                let reach = if is_same {
                    self.root_reach
                } else {
                    Reach::Author
                };
                let wanted = Wanted {
                    location,
                    reach,
                    reference: id,
                    submodules: Some(levels),
                };
                self.repository(wanted, &directory, left, stop).await?;
            }
            Ok(commit)
        })
    }

    /// The addresses that git is to connect to; none where it needs no name, or where a proxy resolves it.
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
            (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= OLDEST => Ok(()),
            _ => Err(GitError::Version {
                said: text.chars().take(100).collect(),
            }),
        }
    }
}

impl Repository<'_> {
    /// Fetches a revision; returns its commit.
    async fn fetch(&self, reference: &str, stop: &Stop) -> Result<String, GitError> {
        self.must(
            "prepare the checkout of",
            &["init", "--quiet", "--template="],
            stop,
        )
        .await?;
        let url = self.location.url();
        let fetch = [
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-recurse-submodules",
            "--no-auto-maintenance",
        ];
        let shallow = self
            .run(
                &[&fetch[..], &["--depth=1", "--", url, reference]].concat(),
                stop,
            )
            .await?;
        let wanted = if shallow.status.success() {
            "FETCH_HEAD"
        } else if is_hex(reference) && reference.len() >= 5 {
            // A shortened commit cannot be asked for, and some servers give commits only with a branch.
            let all = [
                "--",
                url,
                "+refs/heads/*:refs/remotes/origin/*",
                "+refs/tags/*:refs/tags/*",
            ];
            let everything = self.run(&[&fetch[..], &all].concat(), stop).await?;
            if !everything.status.success() {
                return Err(self.failed("fetch from", &everything));
            }
            reference
        } else {
            return Err(self.failed("fetch the revision from", &shallow));
        };
        let missing = || GitError::Failed {
            action: "find the revision in",
            location: self.location.to_string(),
            message: format!("no commit {reference}"),
        };
        let commit = format!("{wanted}^{{commit}}");
        let parsed = self
            .run(
                &[
                    "rev-parse",
                    "--verify",
                    "--quiet",
                    "--end-of-options",
                    &commit,
                ],
                stop,
            )
            .await?;
        let commit = String::from_utf8_lossy(&parsed.stdout).trim().to_owned();
        let is_found = parsed.status.success() && is_full_id(&commit);
        let is_it = !is_full_id(reference) || commit.eq_ignore_ascii_case(reference);
        if is_found && is_it {
            Ok(commit)
        } else {
            Err(missing())
        }
    }

    /// Lists the files of a commit and takes what they need from the budget, before any of them is written.
    async fn list(
        &self,
        commit: &str,
        left: &mut Budget,
        stop: &Stop,
    ) -> Result<listing::Listing, GitError> {
        let limit = self.fetcher.policy.budget();
        let args = ["ls-tree", "-r", "-t", "-l", "-z", "--full-tree", commit];
        let listed = match self.run_keeping(&args, MAX_LISTING, stop).await {
            Err(GitError::Child(ChildError::TooMuchOutput { .. })) => {
                return Err(GitError::TooMany {
                    location: self.location.to_string(),
                    limit: limit.entries,
                });
            }
            listed => listed?,
        };
        if !listed.status.success() {
            return Err(self.failed("list the files of", &listed));
        }
        listing::read(&listed.stdout, self.location, left, limit)
    }

    /// What the commit's `.gitmodules` says.
    async fn modules(
        &self,
        commit: &str,
        stop: &Stop,
    ) -> Result<Vec<submodules::Module>, GitError> {
        let blob = format!("--blob={commit}:.gitmodules");
        let read = self
            .run_keeping(&["config", "--null", &blob, "--list"], MAX_MODULES, stop)
            .await?;
        if !read.status.success() {
            return Err(self.failed("read the .gitmodules of", &read));
        }
        Ok(submodules::modules(&read.stdout))
    }

    async fn must(
        &self,
        action: &'static str,
        args: &[&str],
        stop: &Stop,
    ) -> Result<Ended, GitError> {
        let ended = self.run(args, stop).await?;
        if ended.status.success() {
            Ok(ended)
        } else {
            Err(self.failed(action, &ended))
        }
    }

    fn failed(&self, action: &'static str, ended: &Ended) -> GitError {
        let stderr = String::from_utf8_lossy(&ended.stderr);
        let mut message = stderr
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect::<Vec<_>>()
            .join("; ");
        if let Some(limit) = ended.limit() {
            message = format!("it was ended by the limit on {limit}");
        }
        GitError::Failed {
            action,
            location: self.location.to_string(),
            message: self
                .fetcher
                .redactor
                .mask(&message)
                .chars()
                .take(1000)
                .collect(),
        }
    }

    async fn run(&self, args: &[&str], stop: &Stop) -> Result<Ended, GitError> {
        Ok(self.child(args).run(stop).await?)
    }

    /// Runs git for an output that is needed whole, of at most `keep` bytes.
    async fn run_keeping(
        &self,
        args: &[&str],
        keep: usize,
        stop: &Stop,
    ) -> Result<Ended, GitError> {
        Ok(Child {
            keep,
            overflow: Overflow::Stop,
            ..self.child(args)
        }
        .run(stop)
        .await?)
    }

    fn child(&self, args: &[&str]) -> Child {
        let policy = self.fetcher.policy;
        Child {
            program: "git".into(),
            args: args.iter().map(OsString::from).collect(),
            env: config::environment(self.location, policy, &self.pins, &self.store, self.tree),
            directory: self.fetcher.stores.to_owned(),
            keep: OUTPUT_LIMIT,
            overflow: Overflow::Discard,
            limits: Limits {
                memory: MAX_MEMORY,
                cpu_seconds: MAX_CPU,
                file_bytes: policy.max_bytes,
                processes: MAX_PROCESSES,
            },
            is_offline: false,
            files: config::files(self.fetcher.root, self.location, policy, &self.pins),
            supervisor: policy.supervisor.clone(),
        }
    }
}

/// What has grown beyond its limit.
enum Grown {
    Entries,
    Bytes,
}

/// Ends when the directories together hold more than the limit. A repository takes its share twice: packed and checked
/// out.
async fn outgrown(directories: [&Path; 2], limit: Budget) -> Grown {
    loop {
        tokio::time::sleep(SIZE_INTERVAL).await;
        for directory in directories {
            let directory = directory.to_owned();
            // A measuring task that panicked says nothing about the size; the next look will.
            let Ok(size) = tokio::task::spawn_blocking(move || size_of(&directory)).await else {
                continue;
            };
            if size.entries > limit.entries {
                return Grown::Entries;
            }
            if size.bytes > limit.bytes {
                return Grown::Bytes;
            }
        }
    }
}

/// What is below a directory that changes while it is read, links not followed.
fn size_of(directory: &Path) -> Budget {
    let mut size = Budget {
        entries: 0,
        bytes: 0,
    };
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            size.entries += 1;
            size.bytes = size
                .bytes
                .saturating_add((metadata.blocks() * 512).max(BLOCK));
            if metadata.is_dir() {
                open.push(entry.path());
            }
        }
    }
    size
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
