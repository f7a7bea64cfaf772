//! One repository: the calls of git in it, and their errors.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::error::GitError;
use super::listing::Budget;
use super::location::Location;
use super::{
    Fetcher, MAX_CPU_SECONDS, MAX_GITMODULES, MAX_LISTING, MAX_MEMORY, MAX_PROCESSES, config,
    is_full_id, is_hex, listing, submodules,
};
use crate::base::stop::Stop;
use crate::workspace::child::{
    ChildCommand, ChildError, ChildOutput, OUTPUT_LIMIT, Overflow, ResourceLimits,
};

/// A repository whose address has been checked.
pub(super) struct Repository<'a> {
    pub(super) fetcher: &'a Fetcher<'a>,
    pub(super) location: &'a Location,
    /// Addresses that git must connect to; empty if it may resolve the host itself.
    pub(super) pins: Vec<SocketAddr>,
    pub(super) store: PathBuf,
    pub(super) tree: &'a Path,
}

impl Repository<'_> {
    /// Fetches a revision. Returns its commit.
    // Long: the calls of git, in order.
    pub(super) async fn fetch(&self, reference: &str, stop: &Stop) -> Result<String, GitError> {
        self.run_checked(
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
        let revision = if shallow.status.success() {
            "FETCH_HEAD"
        } else if is_hex(reference) && reference.len() >= 5 {
            // A shortened commit cannot be requested, and some servers serve commits only with a
            // branch. So fetch all branches and tags.
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
        let commit = format!("{revision}^{{commit}}");
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
        let is_requested = !is_full_id(reference) || commit.eq_ignore_ascii_case(reference);
        if is_found && is_requested {
            Ok(commit)
        } else {
            Err(missing())
        }
    }

    /// Returns when a commit was committed.
    pub(super) async fn committed_at(
        &self,
        commit: &str,
        stop: &Stop,
    ) -> Result<Timestamp, GitError> {
        let args = ["rev-list", "--max-count=1", "--timestamp", commit];
        let action = "read the time of the commit from";
        let listed = self.run_checked(action, &args, stop).await?;
        let text = String::from_utf8_lossy(&listed.stdout);
        let seconds = text
            .split_whitespace()
            .next()
            .and_then(|text| text.parse().ok());
        seconds
            .and_then(|seconds| Timestamp::from_second(seconds).ok())
            .ok_or_else(|| self.failed(action, &listed))
    }

    /// Lists the files of a commit and subtracts their size from the budget, before any of them is
    /// written.
    pub(super) async fn list(
        &self,
        commit: &str,
        remaining: &mut Budget,
        stop: &Stop,
    ) -> Result<listing::Listing, GitError> {
        let limit = self.fetcher.policy.budget();
        let args = ["ls-tree", "-r", "-t", "-l", "-z", "--full-tree", commit];
        let listed = match self.run_whole(&args, MAX_LISTING, stop).await {
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
        listing::parse(&listed.stdout, self.location, remaining, limit)
    }

    /// Returns the entries of the commit's `.gitmodules`.
    pub(super) async fn modules(
        &self,
        commit: &str,
        stop: &Stop,
    ) -> Result<Vec<submodules::SubmoduleEntry>, GitError> {
        let blob = format!("--blob={commit}:.gitmodules");
        let read = self
            .run_whole(&["config", "--null", &blob, "--list"], MAX_GITMODULES, stop)
            .await?;
        if !read.status.success() {
            return Err(self.failed("read the .gitmodules of", &read));
        }
        Ok(submodules::parse(&read.stdout))
    }

    pub(super) async fn run_checked(
        &self,
        action: &'static str,
        args: &[&str],
        stop: &Stop,
    ) -> Result<ChildOutput, GitError> {
        let ended = self.run(args, stop).await?;
        if ended.status.success() {
            Ok(ended)
        } else {
            Err(self.failed(action, &ended))
        }
    }

    fn failed(&self, action: &'static str, ended: &ChildOutput) -> GitError {
        let stderr = String::from_utf8_lossy(&ended.stderr);
        let mut message = stderr
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect::<Vec<_>>()
            .join("; ");
        if let Some(limit) = ended.limit() {
            message = format!("it was killed by the limit on {limit}");
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

    pub(super) async fn run(&self, args: &[&str], stop: &Stop) -> Result<ChildOutput, GitError> {
        Ok(self.child(args).run(stop).await?)
    }

    /// Runs git with complete output: fails if it is longer than `keep` bytes.
    async fn run_whole(
        &self,
        args: &[&str],
        keep: usize,
        stop: &Stop,
    ) -> Result<ChildOutput, GitError> {
        Ok(ChildCommand {
            max_output: keep,
            overflow: Overflow::Stop,
            ..self.child(args)
        }
        .run(stop)
        .await?)
    }

    pub(super) fn child(&self, args: &[&str]) -> ChildCommand {
        let policy = self.fetcher.policy;
        ChildCommand {
            program: "git".into(),
            args: args.iter().map(OsString::from).collect(),
            env: config::environment(self.location, policy, &self.pins, &self.store, self.tree),
            directory: self.fetcher.stores.to_owned(),
            max_output: OUTPUT_LIMIT,
            overflow: Overflow::Discard,
            limits: ResourceLimits {
                memory: MAX_MEMORY,
                cpu_seconds: MAX_CPU_SECONDS,
                file_bytes: policy.max_bytes,
                processes: MAX_PROCESSES,
            },
            is_offline: false,
            files: config::files(self.fetcher.root, self.location, policy, &self.pins),
            input: Vec::new(),
            supervisor: policy.supervisor.clone(),
        }
    }
}
