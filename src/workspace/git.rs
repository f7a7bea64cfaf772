//! Fetches one revision of a git repository with the `git` program, hardened.
//!
//! * Only https and ssh; plain http and `git://` only to loopback or to hosts that the operator
//!   named; never `file://`, a path or a helper (`ext::`).
//! * Credentials and proxy travel in a configuration that lives in anonymous memory of this process
//!   (`/proc/PID/fd/N`, named by `GIT_CONFIG_GLOBAL`): not in arguments, environment or files. They
//!   are bound to the origin of the repository.
//! * Submodules, at every depth, are held to the same rules as the repository that names them.
//! * No hooks, no prompts, no system or user configuration, no shell; shallow; bounded in bytes by
//!   a watch over the directory and in time by the step's stop token.

mod location;
mod submodules;

use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::child::{Child, ChildError, Ended, OUTPUT_LIMIT};
use crate::base::secret::{Redactor, Secret};
use crate::base::stop::Stop;

pub use location::{Location, LocationError};

/// How often the size of a checkout under way is looked at.
const SIZE_WATCH: Duration = Duration::from_millis(200);

/// What may be fetched and how; from the operator's settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Hosts to which plain `http://` and `git://` are allowed besides loopback.
    pub allow_insecure: Vec<String>,
    /// The most bytes that a clone may take on disk.
    pub max_bytes: u64,
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
            max_bytes: 1 << 30,
            authorities: None,
            ssh_key_file: None,
            ssh_known_hosts_file: None,
            proxy: None,
            no_proxy: None,
        }
    }
}

/// One revision to fetch.
#[derive(Debug, Clone)]
pub struct Source {
    /// Where from.
    pub location: Location,
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
    #[error("the repository {location} is larger than {limit} bytes; raise git.max_bytes if it may be")]
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
    /// Fetches the revision into the empty directory `tree`.
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
        let learned: Vec<_> = self.location.secrets().map(|secret| redactor.learn(secret)).collect();
        let authorities = policy.authorities.as_ref().map(|pem| memory_file(pem)).transpose()?;
        let config = memory_file(self.config(policy, authorities.as_ref()).as_bytes())?;
        let git = Git { source: self, tree, policy, redactor, config, _authorities: authorities };
        let size = stop.child();
        let checkout = tokio::select! {
            done = git.fetch(&size) => done,
            () = outgrown(tree, policy.max_bytes) => {
                Err(GitError::TooLarge { location: self.location.to_string(), limit: policy.max_bytes })
            }
        };
        drop(learned);
        checkout
    }

    /// The configuration that git reads from memory.
    fn config(&self, policy: &Policy, authorities: Option<&OwnedFd>) -> String {
        use std::fmt::Write as _;
        let mut config = String::from(
            "[core]\n\thooksPath = /dev/null\n\tfsmonitor = false\n\tattributesFile = /dev/null\n\
             [credential]\n\thelper =\n[gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n\
             [advice]\n\tdetachedHead = false\n[safe]\n\tdirectory = *\n[init]\n\tdefaultBranch = main\n",
        );
        // Writing to a String cannot fail.
        if let Some(authorities) = authorities {
            let _ = writeln!(config, "[http]\n\tsslCAInfo = {}", quote(&path_of(authorities)));
        }
        if let Some(proxy) = policy.proxy.as_ref().filter(|_| self.location.is_https()) {
            let _ = writeln!(config, "[http]\n\tproxy = {}", quote(proxy.expose()));
        }
        let follow = if self.location.credential().is_some() { "false" } else { "initial" };
        let _ = writeln!(config, "[http]\n\tfollowRedirects = {follow}");
        if let (Some((user, password)), Some(origin)) = (self.location.credential(), self.location.http_origin()) {
            let basic = STANDARD.encode(format!("{user}:{}", password.expose()));
            let _ = writeln!(
                config,
                "[http {}]\n\textraHeader = {}",
                quote(&origin),
                quote(&format!("Authorization: Basic {basic}"))
            );
        }
        config
    }
}

/// A text as git's configuration wants it.
fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

fn check_reference(reference: &str) -> Result<(), GitError> {
    let bad = reference.is_empty()
        || reference.starts_with('-')
        || reference.contains("..")
        || reference.contains(':')
        || reference.chars().any(|c| c.is_control() || c.is_whitespace() || "~^?*[\\".contains(c));
    if bad { Err(GitError::BadReference(reference.chars().take(200).collect())) } else { Ok(()) }
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A file that exists only in the memory of this process.
fn memory_file(content: &[u8]) -> Result<OwnedFd, GitError> {
    let handle = rustix::fs::memfd_create("git", rustix::fs::MemfdFlags::CLOEXEC)
        .map_err(|errno| GitError::Prepare(errno.into()))?;
    let mut file = fs::File::from(handle);
    file.write_all(content).map_err(GitError::Prepare)?;
    Ok(file.into())
}

/// Where a child finds a file of this process's memory.
fn path_of(file: &OwnedFd) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd())
}

struct Git<'a> {
    source: &'a Source,
    tree: &'a Path,
    policy: &'a Policy,
    redactor: &'a Redactor,
    config: OwnedFd,
    /// Named by the configuration.
    _authorities: Option<OwnedFd>,
}

impl Git<'_> {
    async fn fetch(&self, stop: &Stop) -> Result<Checkout, GitError> {
        self.must("prepare the checkout of", &["init", "--quiet"], stop).await?;
        let reference = self.source.reference.as_str();
        let url = self.source.location.url();
        let shallow = self.run(&["fetch", "--quiet", "--no-tags", "--depth=1", "--", url, reference], stop).await?;
        let wanted = if shallow.status.success() {
            "FETCH_HEAD".to_owned()
        } else if is_hex(reference) && reference.len() >= 5 {
            // A shortened commit cannot be asked for, and some servers give commits only with a branch.
            let all = ["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"];
            let args = ["fetch", "--quiet", "--no-tags", "--", url, all[0], all[1]];
            let everything = self.run(&args, stop).await?;
            if !everything.status.success() {
                return Err(self.failed("fetch from", &everything));
            }
            reference.to_owned()
        } else {
            return Err(self.failed("fetch the revision from", &shallow));
        };
        let commit = format!("{wanted}^{{commit}}");
        let parsed = self.run(&["rev-parse", "--verify", "--quiet", "--end-of-options", &commit], stop).await?;
        if !parsed.status.success() {
            return Err(GitError::Failed {
                action: "find the revision in",
                location: self.source.location.to_string(),
                message: format!("no commit {reference}"),
            });
        }
        let commit = String::from_utf8_lossy(&parsed.stdout).trim().to_owned();
        self.must("check out", &["checkout", "--quiet", "--detach", &commit], stop).await?;
        if self.source.submodules {
            // Relative addresses of submodules count from here.
            self.must("prepare the submodules of", &["config", "remote.origin.url", url], stop).await?;
            self.submodules(self.tree, submodules::MAX_DEPTH, stop).await?;
        }
        Ok(Checkout { commit })
    }

    async fn must(&self, action: &'static str, args: &[&str], stop: &Stop) -> Result<Ended, GitError> {
        let ended = self.run(args, stop).await?;
        if ended.status.success() { Ok(ended) } else { Err(self.failed(action, &ended)) }
    }

    fn failed(&self, action: &'static str, ended: &Ended) -> GitError {
        let stderr = String::from_utf8_lossy(&ended.stderr);
        let message = stderr.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
        GitError::Failed {
            action,
            location: self.source.location.to_string(),
            message: self.redactor.mask(&message).chars().take(1000).collect(),
        }
    }

    async fn run(&self, args: &[&str], stop: &Stop) -> Result<Ended, GitError> {
        self.run_in(self.tree, &self.source.location, args, stop).await
    }

    /// Runs git in `directory`; it may speak to `location` and to what is as safe.
    async fn run_in(
        &self,
        directory: &Path,
        location: &Location,
        args: &[&str],
        stop: &Stop,
    ) -> Result<Ended, GitError> {
        let child = Child {
            program: "git".into(),
            args: args.iter().map(OsString::from).collect(),
            env: self.environment(location),
            directory: directory.to_owned(),
            keep: OUTPUT_LIMIT,
        };
        Ok(child.run(stop).await?)
    }

    fn environment(&self, location: &Location) -> Vec<(OsString, OsString)> {
        let mut env: Vec<(OsString, OsString)> = vec![
            ("PATH".into(), std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into())),
            ("HOME".into(), "/nonexistent".into()),
            ("LC_ALL".into(), "C".into()),
            ("GIT_CONFIG_NOSYSTEM".into(), "1".into()),
            ("GIT_CONFIG_GLOBAL".into(), path_of(&self.config).into()),
            ("GIT_TERMINAL_PROMPT".into(), "0".into()),
            ("GIT_ASKPASS".into(), "/bin/false".into()),
            ("GIT_ALLOW_PROTOCOL".into(), location.protocols().into()),
        ];
        if let Some(no_proxy) = &self.policy.no_proxy {
            env.push(("NO_PROXY".into(), no_proxy.into()));
        }
        if location.is_ssh() {
            env.push(("GIT_SSH_COMMAND".into(), self.ssh_command().into()));
        }
        env
    }

    /// git hands this text to a shell, so it is made of the operator's settings alone, quoted.
    fn ssh_command(&self) -> String {
        let mut command = String::from("ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=yes");
        for (option, file) in [
            (" -o IdentitiesOnly=yes -i ", &self.policy.ssh_key_file),
            (" -o UserKnownHostsFile=", &self.policy.ssh_known_hosts_file),
        ] {
            if let Some(file) = file {
                command.push_str(option);
                command.push_str(&format!("'{}'", file.display().to_string().replace('\'', "'\\''")));
            }
        }
        command
    }
}

/// Ends when the tree has more than `limit` bytes.
async fn outgrown(tree: &Path, limit: u64) {
    loop {
        tokio::time::sleep(SIZE_WATCH).await;
        let tree = tree.to_owned();
        // A measuring task that panicked says nothing about the size; the next look will.
        if tokio::task::spawn_blocking(move || size_of(&tree)).await.is_ok_and(|size| size > limit) {
            return;
        }
    }
}

/// Bytes of the regular files below a directory that changes while it is read.
fn size_of(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => size_of(&entry.path()),
            Ok(kind) if kind.is_file() => entry.metadata().map_or(0, |metadata| metadata.len()),
            _ => 0,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_that_is_an_option_or_a_range_is_refused() {
        for bad in ["", "--upload-pack=x", "a..b", "a b", "a:b", "a\nb", "HEAD^"] {
            assert!(check_reference(bad).is_err(), "{bad:?}");
        }
        for good in ["main", "v1.2.3", "feature/x", "8f14e45fceea167a5a36dedd4bea2543c6e1f0aa"] {
            assert!(check_reference(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn a_credential_is_bound_to_the_origin_of_its_repository() {
        let location = Location::parse("https://user:to%40ken@git.example.com/a/b.git", &Policy::default()).unwrap();
        let source = Source { location, reference: "main".into(), submodules: false };
        let config = source.config(&Policy::default(), None);
        assert!(config.contains("[http \"https://git.example.com/\"]"), "{config}");
        assert!(config.contains(&STANDARD.encode("user:to@ken")));
        assert!(config.contains("followRedirects = false"));
        assert!(!source.location.url().contains("ken"));
    }
}
