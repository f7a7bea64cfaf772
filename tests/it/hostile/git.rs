//! Repositories that try to run programs on the machine that fetches them, to write outside the
//! tree, or to use up resources. Each contains a canary program that leaves a mark when it runs.

use std::path::{Path, PathBuf};
use std::process::Command;

use nuon_runner::base::guard::Reach;
use nuon_runner::base::secret::Redactor;
use nuon_runner::base::stop::Stop;
use nuon_runner::workspace::git::{GitError, GitRevision, Location, Policy};

use crate::support::parts::git::{GitServer, git};
use crate::support::parts::git_policy;

/// The server, and the canary program that must never run.
struct HostileRepository {
    server: GitServer,
    dir: tempfile::TempDir,
}

impl HostileRepository {
    async fn new() -> Self {
        let repository = Self {
            server: GitServer::start(&[], None).await,
            dir: tempfile::tempdir().unwrap(),
        };
        let script = format!("#!/bin/sh\n: > {}\ncat\n", repository.mark().display());
        std::fs::write(repository.canary(), script).unwrap();
        std::fs::set_permissions(
            repository.canary(),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )
        .unwrap();
        repository
    }

    fn canary(&self) -> PathBuf {
        self.dir.path().join("canary")
    }

    /// Path of a file that exists once the canary has run.
    fn mark(&self) -> PathBuf {
        self.dir.path().join("mark")
    }

    /// Returns a git configuration that runs the canary on every possible occasion.
    fn config(&self) -> String {
        let canary = self.canary().display().to_string();
        format!(
            "[core]\n\trepositoryformatversion = 0\n\tbare = false\n\tworktree = .\n\tfsmonitor = \
             {canary}\n\thooksPath = {dir}\n\tsshCommand = {canary}\n\tpager = \
             {canary}\n\taskPass = {canary}\n\tgitProxy = {canary}\n\talternateRefsCommand = \
             {canary}\n[filter \"x\"]\n\tclean = {canary}\n\tsmudge = {canary}\n\tprocess = \
             {canary}\n\trequired = true\n[diff \"x\"]\n\tcommand = {canary}\n\ttextconv = \
             {canary}\n[merge \"x\"]\n\tdriver = {canary}\n[credential]\n\thelper = \
             {canary}\n[remote \"origin\"]\n\turl = ext::{canary}\n\tuploadpack = \
             {canary}\n[submodule \"s\"]\n\tupdate = !{canary}\n\tactive = true\n",
            dir = self.dir.path().display()
        )
    }

    /// Returns the files of a bare repository with that configuration, below `at`.
    fn bare(&self, at: &str) -> Vec<(String, String)> {
        let file = |name: &str, content: String| (format!("{at}/{name}"), content);
        vec![
            file("HEAD", "ref: refs/heads/main\n".into()),
            file("config", self.config()),
            file("objects/info/packs", String::new()),
            file("refs/heads/.keep", String::new()),
            file(
                "hooks/post-checkout",
                format!("#!/bin/sh\n{}\n", self.canary().display()),
            ),
        ]
    }

    /// Returns true if git, run in the bare repository as it is checked out, runs the canary.
    fn git_runs_canary(&self) -> bool {
        let tree = self.dir.path().join("evil-tree");
        for (path, content) in self.bare("evil") {
            let path = tree.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        let _ = Command::new("git")
            .args(["status", "--short"])
            .current_dir(tree.join("evil"))
            .output()
            .unwrap();
        std::fs::remove_file(self.mark()).is_ok()
    }

    async fn fetch(&self, policy: &Policy) -> (tempfile::TempDir, Result<String, GitError>) {
        self.fetch_reference("main", policy).await
    }

    async fn fetch_reference(
        &self,
        reference: &str,
        policy: &Policy,
    ) -> (tempfile::TempDir, Result<String, GitError>) {
        let top = tempfile::tempdir().unwrap();
        let tree = top.path().join("source");
        std::fs::create_dir(&tree).unwrap();
        let location = Location::parse(&self.server.url(), policy).unwrap();
        let source = GitRevision {
            location,
            reach: Reach::Source,
            reference: reference.into(),
            submodules: true,
        };
        let fetched = source
            .fetch(&tree, policy, &Redactor::default(), &Stop::default())
            .await;
        // The fetch has written nothing beside the tree.
        let beside: Vec<_> = std::fs::read_dir(top.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(beside, ["source"]);
        (top, fetched.map(|checkout| checkout.commit))
    }

    /// Fetches a commit with submodules, and checks that the canary has not run.
    async fn fetch_and_check(&self, what: &str) -> Result<String, GitError> {
        let (top, fetched) = self.fetch(&git_policy()).await;
        assert!(!self.mark().exists(), "{what}: the canary has run");
        assert!(
            !top.path().join("source/.git").exists(),
            "{what}: the tree contains a repository"
        );
        fetched
    }

    fn module(&self, name: &str, lines: &str) -> String {
        format!("[submodule \"{name}\"]\n{lines}")
    }

    /// Commits any files and links, including those that `git add` would refuse.
    fn commit(&self, files: &[(String, String)], links: &[(&str, &str)], modules: &[(&str, &str)]) {
        let (server, work) = (&self.server, self.dir.path().join("work"));
        let _ = std::fs::remove_dir_all(&work);
        std::fs::create_dir_all(&work).unwrap();
        git(&work, &["init", "--quiet", "--initial-branch=main"]);
        for (index, (path, content)) in files.iter().enumerate() {
            let file = self.dir.path().join(format!("content-{index}"));
            std::fs::write(&file, content).unwrap();
            let id = git(
                &work,
                &[
                    "hash-object",
                    "-w",
                    "--no-filters",
                    "--literally",
                    "-t",
                    "blob",
                    file.to_str().unwrap(),
                ],
            );
            index_entry(&work, "100644", &id, path);
        }
        for (path, commit) in modules {
            index_entry(&work, "160000", commit, path);
        }
        let mut tree = git(&work, &["write-tree", "--missing-ok"]);
        for (name, target) in links {
            let file = self.dir.path().join("link");
            std::fs::write(&file, target).unwrap();
            let id = git(
                &work,
                &["hash-object", "-w", "--no-filters", file.to_str().unwrap()],
            );
            // Adds a link even if another entry has the same name, which `git add` would refuse.
            let entries = git(&work, &["ls-tree", &tree]);
            tree = mktree(&work, &format!("{entries}\n120000 blob {id}\t{name}\n"));
        }
        let commit = git(&work, &["commit-tree", "-m", "x", &tree]);
        git(&work, &["update-ref", "refs/heads/main", &commit]);
        publish(&work, &server.root().join("app.git"));
    }
}

fn index_entry(work: &Path, mode: &str, id: &str, path: &str) {
    git(
        work,
        &[
            "update-index",
            "--add",
            "--cacheinfo",
            &format!("{mode},{id},{path}"),
        ],
    );
}

/// Copies a repository without changes.
fn publish(work: &Path, bare: &Path) {
    let _ = std::fs::remove_dir_all(bare);
    let status = Command::new("cp")
        .arg("-a")
        .arg(work.join(".git"))
        .arg(bare)
        .status()
        .unwrap();
    assert!(status.success());
    git(bare, &["config", "core.bare", "true"]);
    git(bare, &["config", "uploadpack.allowAnySHA1InWant", "true"]);
}

/// A hostile tree: files, links, and submodules for its `.gitmodules`.
struct Variant {
    name: String,
    files: Vec<(String, String)>,
    links: Vec<(&'static str, String)>,
    modules: Vec<(&'static str, String)>,
}

#[tokio::test]
async fn no_tree_runs_a_program() {
    let repository = HostileRepository::new().await;
    let lib = repository.server.commit("lib", &[("lib.txt", "lib")], &[]);
    let url = format!("http://{}/lib.git", repository.server.host);
    assert!(
        repository.git_runs_canary(),
        "git does not run the canary, so the test would prove nothing"
    );
    let mut variants = Vec::new();
    let mut variant = |name: &str, gitmodules: String, files: Vec<(String, String)>| {
        let mut files = files;
        if !gitmodules.is_empty() {
            files.push((".gitmodules".into(), gitmodules));
        }
        let modules = vec![("libs/lib", lib.clone())];
        variants.push(Variant {
            name: name.into(),
            files,
            links: Vec::new(),
            modules,
        });
    };
    let canary = repository.canary().display().to_string();
    let good = format!("\tpath = libs/lib\n\turl = {url}\n");

    // Two paths of one submodule; one of them is a repository in the tree.
    for at in [
        "evil",
        "a/b/evil",
        "libs/evil",
        "evil.git",
        "HEAD.d",
        "modules/s",
    ] {
        let paths = format!("\tpath = {at}\n{good}");
        variant(
            &format!("the first path is the bare repository {at}"),
            repository.module("s", &paths),
            repository.bare(at),
        );
        let paths = format!("{good}\tpath = {at}\n");
        variant(
            &format!("the last path is the bare repository {at}"),
            repository.module("s", &paths),
            repository.bare(at),
        );
    }
    let two = format!(
        "{}{}",
        repository.module("s", "\tpath = evil\n"),
        repository.module("s", &good)
    );
    variant("two sections of one name", two, repository.bare("evil"));
    let two = format!(
        "{}{}",
        repository.module("S", "\tpath = evil\n\turl = ./\n"),
        repository.module("s", &good)
    );
    variant(
        "two names that differ in case",
        two,
        repository.bare("evil"),
    );
    // A repository in the place of the submodule's own.
    for at in [
        "libs",
        "libs/lib2",
        "git/modules/s",
        ".github",
        "git~1",
        "dot.git",
    ] {
        variant(
            &format!("a bare repository at {at}"),
            repository.module("s", &good),
            repository.bare(at),
        );
    }
    // Fields of a submodule in `.gitmodules`.
    for (what, lines) in [
        (
            "a command to update by",
            format!("{good}\tupdate = !{canary}\n"),
        ),
        (
            "a command to update by, last",
            format!("{good}\tupdate = none\n\tupdate = !{canary}\n"),
        ),
        ("a name that leaves", String::new()),
        (
            "an option as the address",
            format!("\tpath = libs/lib\n\turl = --upload-pack={canary}\n"),
        ),
        (
            "an option in the host",
            "\tpath = libs/lib\n\turl = ssh://-oProxyCommand=x/y\n".into(),
        ),
        (
            "a helper as the address",
            format!("\tpath = libs/lib\n\turl = ext::{canary}\n"),
        ),
        (
            "a file as the address",
            format!(
                "\tpath = libs/lib\n\turl = file://{}\n",
                repository.server.root().join("lib.git").display()
            ),
        ),
        (
            "a path as the address",
            format!(
                "\tpath = libs/lib\n\turl = {}\n",
                repository.server.root().join("lib.git").display()
            ),
        ),
        (
            "a bundle as the address",
            "\tpath = libs/lib\n\turl = ./evil.bundle\n".into(),
        ),
        (
            "a line break in the address",
            "\tpath = libs/lib\n\turl = \"http://x/\\n[core]\\nfsmonitor=x\"\n".into(),
        ),
        ("an empty address", "\tpath = libs/lib\n\turl = \n".into()),
        (
            "a path that leaves",
            format!("\tpath = ../lib\n\turl = {url}\n"),
        ),
        (
            "an absolute path",
            format!("\tpath = /tmp/lib\n\turl = {url}\n"),
        ),
        (
            "the repository's own folder as the path",
            format!("\tpath = .git/modules\n\turl = {url}\n"),
        ),
        (
            "a carriage return at the end of the path",
            format!("\tpath = \"libs/lib\\r\"\n\turl = {url}\n"),
        ),
        (
            "a dash before the path",
            format!("\tpath = -libs/lib\n\turl = {url}\n"),
        ),
        (
            "settings of another section",
            format!("{good}[core]\n\tfsmonitor = {canary}\n\tsshCommand = {canary}\n"),
        ),
        (
            "an include",
            format!("{good}[include]\n\tpath = evil/config\n"),
        ),
    ] {
        let name = if what == "a name that leaves" {
            "../../evil"
        } else {
            "s"
        };
        let lines = if lines.is_empty() {
            good.clone()
        } else {
            lines
        };
        variant(
            what,
            repository.module(name, &lines),
            repository.bare("evil"),
        );
    }
    // Attributes, filters, hooks, and Git LFS.
    let attributes = "* filter=x diff=x merge=x\n*.bin filter=lfs diff=lfs merge=lfs -text\n* \
                      ident export-subst\n* text working-tree-encoding=UTF-16\n";
    variant(
        "attributes",
        repository.module("s", &good),
        vec![
            (".gitattributes".into(), attributes.into()),
            ("x.txt".into(), "$Id$\n".into()),
            (
                "x.bin".into(),
                "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n".into(),
            ),
            (
                ".lfsconfig".into(),
                format!(
                    "[lfs]\n\turl = http://127.0.0.1:1/\n[lfs \"customtransfer.x\"]\n\tpath = \
                     {canary}\n"
                ),
            ),
        ],
    );
    variant(
        "files that look like git's own",
        String::new(),
        vec![
            ("config".into(), repository.config()),
            ("HEAD".into(), "ref: refs/heads/main\n".into()),
            (
                "objects/info/alternates".into(),
                format!(
                    "{}\n",
                    repository.server.root().join("lib.git/objects").display()
                ),
            ),
            ("refs/heads/main".into(), format!("{lib}\n")),
            (
                "hooks/post-checkout".into(),
                format!("#!/bin/sh\n{canary}\n"),
            ),
            (".gitconfig".into(), repository.config()),
            (".config/git/config".into(), repository.config()),
            ("commondir".into(), "evil\n".into()),
            ("gitdir".into(), "evil\n".into()),
        ],
    );
    // Symbolic links.
    for (path, target) in [
        (".gitmodules", "evil/config"),
        (".gitattributes", "evil/attributes"),
        ("libs", "evil"),
        ("libs", "/tmp"),
        ("source", "/"),
        ("x", "../../../../etc/passwd"),
    ] {
        let modules = vec![("libs/lib", lib.clone())];
        let mut files = repository.bare("evil");
        files.push(("evil/attributes".into(), attributes.into()));
        if path != ".gitmodules" {
            files.push((".gitmodules".into(), repository.module("s", &good)));
        }
        variants.push(Variant {
            name: format!("{path} is a link to {target}"),
            files,
            links: vec![(path, target.into())],
            modules,
        });
    }
    assert!(variants.len() >= 40, "{}", variants.len());
    let mut fetched = 0;
    for Variant {
        name,
        files,
        links,
        modules,
    } in variants
    {
        let links: Vec<_> = links
            .iter()
            .map(|(path, target)| (*path, target.as_str()))
            .collect();
        let modules: Vec<_> = modules
            .iter()
            .map(|(path, commit)| (*path, commit.as_str()))
            .collect();
        repository.commit(&files, &links, &modules);
        fetched += usize::from(repository.fetch_and_check(&name).await.is_ok());
    }
    // Not all are refused: trees that git reads safely are fetched.
    assert!(fetched >= 10, "only {fetched} were fetched at all");
}

/// The submodule that is fetched is the one that git would fetch.
#[tokio::test]
async fn the_last_of_two_submodule_paths_is_used() {
    let repository = HostileRepository::new().await;
    let lib = repository.server.commit("lib", &[("lib.txt", "lib")], &[]);
    let url = format!("http://{}/lib.git", repository.server.host);
    let mut files = repository.bare("evil");
    files.push((
        ".gitmodules".into(),
        repository.module(
            "s",
            &format!("\tpath = evil\n\tpath = libs/lib\n\turl = {url}\n"),
        ),
    ));
    repository.commit(&files, &[], &[("libs/lib", &lib)]);
    let (top, fetched) = repository.fetch(&git_policy()).await;
    fetched.unwrap();
    assert_eq!(
        std::fs::read_to_string(top.path().join("source/libs/lib/lib.txt")).unwrap(),
        "lib"
    );
}

#[tokio::test]
async fn git_directories_in_a_tree_are_not_checked_out() {
    let repository = HostileRepository::new().await;
    for path in [
        ".git/config",
        ".GIT/config",
        "a/.git/config",
        ".git",
        "a/.Git/hooks/post-checkout",
    ] {
        // `git add` refuses such names, so the tree is written directly.
        let work = repository.dir.path().join("work");
        repository.commit(&[("x".into(), "x".into())], &[], &[]);
        let blob = git(
            &work,
            &["hash-object", "-w", repository.canary().to_str().unwrap()],
        );
        let mut entry = format!("100755 blob {blob}");
        let mut parts: Vec<&str> = path.split('/').collect();
        let mut tree = String::new();
        while let Some(part) = parts.pop() {
            tree = mktree(&work, &format!("{entry}\t{part}\n"));
            entry = format!("040000 tree {tree}");
        }
        let commit = git(&work, &["commit-tree", "-m", "x", &tree]);
        git(&work, &["update-ref", "refs/heads/main", &commit]);
        publish(&work, &repository.server.root().join("app.git"));
        assert!(repository.fetch_and_check(path).await.is_err(), "{path}");
    }
}

fn mktree(work: &Path, text: &str) -> String {
    use std::io::Write as _;
    let mut child = Command::new("git")
        .args(["mktree", "--missing"])
        .current_dir(work)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout)
        .unwrap()
        .trim()
        .to_owned()
}

#[tokio::test]
async fn an_oversized_tree_is_refused_before_it_is_written() {
    let repository = HostileRepository::new().await;
    let work = repository.dir.path().join("work");
    // Nested directories with ten entries each, down to one file.
    repository.commit(&[("x".into(), "x".into())], &[], &[]);
    let mut tree = git(&work, &["write-tree"]);
    for _ in 0..9 {
        let entries: String = (0..10)
            .map(|name| format!("040000 tree {tree}\t{name}\n"))
            .collect();
        tree = mktree(&work, &entries);
    }
    let commit = git(&work, &["commit-tree", "-m", "x", &tree]);
    git(&work, &["update-ref", "refs/heads/main", &commit]);
    publish(&work, &repository.server.root().join("app.git"));
    let (_, fetched) = repository.fetch(&git_policy()).await;
    assert!(
        matches!(fetched, Err(GitError::TooMany { .. })),
        "{fetched:?}"
    );

    // Many files of one byte, and one large file.
    let files: Vec<_> = (0..300)
        .map(|at| (format!("f{at}"), "x".to_owned()))
        .collect();
    repository.commit(&files, &[], &[]);
    let (_, fetched) = repository
        .fetch(&Policy {
            max_entries: 200,
            ..git_policy()
        })
        .await;
    assert!(
        matches!(fetched, Err(GitError::TooMany { limit: 200, .. })),
        "{fetched:?}"
    );
    let (_, fetched) = repository
        .fetch(&Policy {
            max_bytes: 1_000_000,
            ..git_policy()
        })
        .await;
    assert!(
        matches!(fetched, Err(GitError::TooLarge { .. })),
        "files take blocks: {fetched:?}"
    );
    repository.commit(&[("zeros".into(), "\0".repeat(50 << 20))], &[], &[]);
    let (top, fetched) = repository
        .fetch(&Policy {
            max_bytes: 10 << 20,
            ..git_policy()
        })
        .await;
    assert!(
        matches!(fetched, Err(GitError::TooLarge { .. })),
        "{fetched:?}"
    );
    assert!(!top.path().join("source/zeros").exists());
    assert!(repository.fetch(&git_policy()).await.1.is_ok());
}

#[tokio::test]
async fn a_full_commit_id_is_never_a_name() {
    let repository = HostileRepository::new().await;
    repository.server.commit("app", &[("x", "1")], &[]);
    let bare = repository.server.root().join("app.git");
    let head = git(&bare, &["rev-parse", "main"]);
    for name in ["0123456789012345678901234567890123456789", &"ab".repeat(32)] {
        git(&bare, &["update-ref", &format!("refs/heads/{name}"), &head]);
        let (_, fetched) = repository.fetch_reference(name, &git_policy()).await;
        assert!(fetched.is_err(), "{name}: {fetched:?}");
    }
    git(&bare, &["config", "uploadpack.allowAnySHA1InWant", "true"]);
    assert_eq!(
        repository
            .fetch_reference(&head, &git_policy())
            .await
            .1
            .unwrap(),
        head
    );
}

#[tokio::test]
async fn redirects_are_not_followed_and_internal_hosts_are_not_contacted() {
    let repository = HostileRepository::new().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap();
    let target = repository.server.url();
    let redirect = move |uri: axum::http::Uri| {
        let to = format!(
            "{}{}",
            target,
            uri.path_and_query()
                .unwrap()
                .as_str()
                .trim_start_matches("/app.git")
        );
        async move { axum::response::Redirect::temporary(&to) }
    };
    tokio::spawn(
        async move { axum::serve(listener, axum::Router::new().fallback(redirect)).await },
    );
    let policy = git_policy();
    let fetch = async |url: &str, policy: &Policy, reach| {
        let tree = tempfile::tempdir().unwrap();
        let location = Location::parse(url, policy).unwrap();
        let source = GitRevision {
            location,
            reach,
            reference: "main".into(),
            submodules: false,
        };
        source
            .fetch(tree.path(), policy, &Redactor::default(), &Stop::default())
            .await
    };
    let error = fetch(&format!("http://{host}/app.git"), &policy, Reach::Source)
        .await
        .unwrap_err();
    assert!(matches!(error, GitError::Failed { .. }), "{error}");
    let closed = Policy {
        guard: nuon_runner::base::guard::SsrfGuard::default(),
        ..git_policy()
    };
    for url in [
        format!("http://{host}/app.git"),
        format!("https://{host}/app.git"),
        "https://2130706433/a".into(),
        "https://[::ffff:127.0.0.1]/a".into(),
        "ssh://git@127.1/a".into(),
        "git@localhost:a".into(),
        "https://10.0.0.1/a".into(),
        "https://168.63.129.16/a".into(),
    ] {
        for reach in [Reach::Author, Reach::Source] {
            let error = fetch(&url, &closed, reach).await.unwrap_err();
            assert!(matches!(error, GitError::Guard(_)), "{url}: {error}");
        }
    }
}
