//! Sources from real git servers: submodules, and git over ssh.

use std::path::Path;

use nuon_runner::base::guard::Reach;
use nuon_runner::base::secret::Redactor;
use nuon_runner::base::stop::Stop;
use nuon_runner::workspace::git::{Checkout, GitError, GitRevision, Location, Policy};

use crate::support::parts::git::GitServer;
use crate::support::parts::git_policy;
use crate::support::parts::ssh::SshServer;

async fn fetch(
    url: &str,
    submodules: bool,
    policy: &Policy,
    tree: &Path,
) -> Result<Checkout, GitError> {
    let location = Location::parse(url, policy).unwrap();
    let source = GitRevision {
        location,
        reach: Reach::Source,
        reference: "main".into(),
        submodules,
    };
    source
        .fetch(tree, policy, &Redactor::default(), &Stop::default())
        .await
}

#[tokio::test]
async fn submodules_are_fetched_at_every_depth_only_when_asked_for() {
    let git = GitServer::start(&[], Some("robot:marked-git-password")).await;
    let deep = git.commit("deep", &[("deep.txt", "deep")], &[]);
    let lib = git.commit(
        "lib",
        &[("lib.txt", "lib")],
        &[("sub/deep", &format!("http://{}/deep.git", git.host), &deep)],
    );
    // The submodule's commit is not the newest.
    git.commit("lib", &[("lib.txt", "newer")], &[]);
    let head = git.commit(
        "app",
        &[("app.txt", "app")],
        &[("libs/lib", "../lib.git", &lib)],
    );
    for (submodules, expected) in [(true, [true, true, true]), (false, [true, false, false])] {
        let tree = tempfile::tempdir().unwrap();
        let checkout = fetch(&git.url(), submodules, &git_policy(), tree.path())
            .await
            .unwrap();
        assert_eq!(checkout.commit, head);
        let files = ["app.txt", "libs/lib/lib.txt", "libs/lib/sub/deep/deep.txt"];
        assert_eq!(files.map(|file| tree.path().join(file).exists()), expected);
        if submodules {
            assert_eq!(
                std::fs::read_to_string(tree.path().join("libs/lib/lib.txt")).unwrap(),
                "lib"
            );
        }
    }
}

#[tokio::test]
async fn submodule_addresses_have_the_same_restrictions() {
    let git = GitServer::start(&[], None).await;
    let lib = git.commit("lib", &[("lib.txt", "lib")], &[]);
    let local = git.root().join("lib.git").display().to_string();
    for url in [
        &local,
        &format!("file://{local}"),
        "http://example.com/lib.git",
        "ext::sh -c id",
    ] {
        git.commit("app", &[], &[("libs/lib", url, &lib)]);
        let tree = tempfile::tempdir().unwrap();
        let error = fetch(&git.url(), true, &git_policy(), tree.path())
            .await
            .unwrap_err();
        assert!(
            matches!(&error, GitError::Submodule { path, .. } if path == "libs/lib"),
            "{url}: {error}"
        );
        assert!(!tree.path().join("libs/lib/lib.txt").exists());
    }
}

#[tokio::test]
async fn endless_submodules_are_refused() {
    let git = GitServer::start(&[], None).await;
    let mut commit = git.commit("app", &[], &[]);
    for _ in 0..12 {
        commit = git.commit("app", &[], &[("again", "./", &commit)]);
    }
    let tree = tempfile::tempdir().unwrap();
    let error = fetch(&git.url(), true, &git_policy(), tree.path())
        .await
        .unwrap_err();
    assert!(matches!(error, GitError::TooDeep(_)), "{error}");
}

#[tokio::test]
async fn git_over_ssh_requires_the_operators_key_and_a_known_host() {
    let git = GitServer::start(&[("app.txt", "app")], None).await;
    let ssh = SshServer::start().await;
    let url = ssh.url(&git.root().join("app.git"));
    let policy = |key: &str, hosts: &str| Policy {
        ssh_key_file: Some(ssh.file(key)),
        ssh_known_hosts_file: Some(ssh.file(hosts)),
        ..git_policy()
    };
    let tree = tempfile::tempdir().unwrap();
    let checkout = fetch(&url, false, &policy("client", "known"), tree.path())
        .await
        .unwrap();
    assert_eq!(checkout.commit, git.head());
    assert!(tree.path().join("app.txt").exists());
    for (key, hosts, expected) in [
        ("stranger", "known", "Permission denied"),
        ("client", "unknown", "Host key verification"),
    ] {
        let tree = tempfile::tempdir().unwrap();
        let error = fetch(&url, false, &policy(key, hosts), tree.path())
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{error}");
    }
}
