//! The operator's certificates and proxies apply to control plane, git, registry and cluster alike.

use nuon_runner::dev::server::build_plan;
use nuon_runner::dev::store::StoredJob;
use nuon_runner::dev::{ControlPlane, Generation, NewJob};
use serde_json::{Value, json};

use crate::support::daemon::{Daemon, Setup, WAIT_TIMEOUT, control_plane};
use crate::support::parts::git::GitServer;
use crate::support::parts::proxy::{self, Proxy};
use crate::support::parts::{testbed, tls, unique};

/// Addresses of the servers.
struct Hosts {
    git: String,
    registry: String,
    cluster: String,
}

impl Hosts {
    fn build(&self, name: &str) -> Value {
        let source = json!({"source_type": "kustomize", "kustomize_path": ".", "kustomize_config": {"patches": []}});
        let from =
            json!({"url": format!("https://{}/app.git", self.git), "ref": "main", "path": ""});
        build_plan(self.repository(name), "v1", source, from)
    }

    fn deploy(&self, name: &str) -> Value {
        let kubeconfig = kubeconfig(&self.cluster);
        let mut plan = crate::support::plans::deploy(&unique("network"), "", &kubeconfig);
        plan["src_registry"] = self.repository(name);
        plan["src_tag"] = "v1".into();
        plan
    }

    fn repository(&self, name: &str) -> Value {
        testbed().repository_on(&self.registry, name)
    }
}

/// Returns the testbed's kubeconfig for this host, without its CA certificate.
fn kubeconfig(host: &str) -> String {
    let whole = testbed().kubeconfig();
    let lines = whole
        .lines()
        .map(|line| match line.split_once("cluster: {") {
            Some((indent, _)) => format!("{indent}cluster: {{server: \"https://{host}\"}}"),
            None => line.to_owned(),
        });
    lines.collect::<Vec<_>>().join("\n")
}

async fn git_server() -> (GitServer, String) {
    let files = [
        (
            "cm.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: app, namespace: default}\n",
        ),
        ("kustomization.yaml", "resources: [cm.yaml]\n"),
    ];
    let git = GitServer::start(&files, None).await;
    let front = tls::front(git.host.clone()).await;
    (git, front)
}

async fn run(control: &ControlPlane, new: NewJob) -> StoredJob {
    let id = control.offer(new);
    control.wait(&id, WAIT_TIMEOUT).await.unwrap()
}

/// Builds from git into the registry, and plans a deploy of the artifact. Returns the log.
async fn assert_works(control: &ControlPlane, mut daemon: Daemon, hosts: &Hosts) -> String {
    let name = unique("network");
    let plan = NewJob::deploy("create-apply-plan", hosts.deploy(&name));
    for new in [NewJob::build(hosts.build(&name)), plan] {
        daemon.expect_finished(control, &control.offer(new)).await;
    }
    daemon.shut_down(control).await;
    daemon.log()
}

#[tokio::test]
async fn a_ca_file_and_a_proxy_are_used_for_every_server() {
    let control = control_plane(Generation::Second).await;
    let (_git, git) = git_server().await;
    let authority = control.url().authority().to_owned();
    let proxy = Proxy::start(&[
        ("control.test", tls::front(authority).await),
        ("git.test", git),
        ("registry.test", testbed().tls_registry().to_owned()),
        ("cluster.test", testbed().apiserver().to_owned()),
    ])
    .await;
    let state = tempfile::tempdir().unwrap();
    let daemon = Setup::new(state.path(), &control)
        .env("RUNNER_API_URL", "https://control.test")
        .env("HTTPS_PROXY", proxy.url())
        .env(
            "NUON_RUNNER_TLS_CA_FILE",
            testbed().authority().display().to_string(),
        )
        .start();
    let hosts = Hosts {
        git: "git.test".into(),
        registry: "registry.test".into(),
        cluster: "cluster.test".into(),
    };
    let log = assert_works(&control, daemon, &hosts).await;
    assert_eq!(
        proxy.reached(),
        [
            "cluster.test:443",
            "control.test:443",
            "git.test:443",
            "registry.test:443"
        ]
    );
    assert!(!log.contains(proxy::PASSWORD));
}

#[tokio::test]
async fn no_proxy_and_ssl_cert_file_are_respected() {
    let control = control_plane(Generation::Second).await;
    let (_git, git) = git_server().await;
    let state = tempfile::tempdir().unwrap();
    let front = tls::front(control.url().authority().to_owned()).await;
    let daemon = Setup::new(state.path(), &control)
        .env("RUNNER_API_URL", format!("https://{front}"))
        // Nothing listens there.
        .env("https_proxy", "127.0.0.1:9")
        .env("NO_PROXY", "example.com, 127.0.0.0/8")
        .env("SSL_CERT_FILE", testbed().authority().display().to_string())
        .start();
    let hosts = Hosts {
        git,
        registry: testbed().tls_registry().into(),
        cluster: testbed().apiserver().into(),
    };
    assert_works(&control, daemon, &hosts).await;
}

#[tokio::test]
async fn a_server_with_an_unknown_ca_is_refused() {
    let control = control_plane(Generation::Second).await;
    let (_git, git) = git_server().await;
    let name = unique("network");
    let state = tempfile::tempdir().unwrap();
    let mut daemon = Setup::new(state.path(), &control).start();
    let unknown = Hosts {
        git,
        registry: testbed().tls_registry().into(),
        cluster: testbed().apiserver().into(),
    };
    let inline = json!({"source_type": "inline", "inline_manifest": "apiVersion: v1\nkind: Namespace\nmetadata: {name: unseen}\n"});
    let builds = [
        unknown.build(&name),
        build_plan(unknown.repository(&name), "v1", inline, Value::Null),
    ]
    .map(NewJob::build);
    let mut deploy = crate::support::plans::deploy(&name, "", &kubeconfig(&unknown.cluster));
    deploy["kubernetes_manifest"]["manifest"] =
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: unseen}\n".into();
    let deploy = NewJob::deploy("create-apply-plan", deploy);
    for new in builds.into_iter().chain([deploy]) {
        let job = run(&control, new).await;
        assert_eq!(job.status, "failed");
        assert!(
            job.description.to_lowercase().contains("certificate"),
            "{}\n{}",
            job.description,
            daemon.log()
        );
    }
    assert_eq!(daemon.terminate().await, 0);
}

#[tokio::test]
async fn an_invalid_proxy_or_certificate_fails_the_start_in_one_line() {
    let control = control_plane(Generation::Second).await;
    let state = tempfile::tempdir().unwrap();
    let file = state.path().join("ca.crt");
    std::fs::write(&file, "not a certificate\n").unwrap();
    let wrong = [
        ("HTTPS_PROXY", "http://agent:marked-secret@", "HTTPS_PROXY"),
        (
            "NUON_RUNNER_TLS_CA_FILE",
            file.to_str().unwrap(),
            "tls.ca_file",
        ),
    ];
    for (name, value, expected) in wrong {
        let mut daemon = Setup::new(&state.path().join("state"), &control)
            .env(name, value)
            .start();
        assert_eq!(daemon.wait_for_exit().await, 64);
        let log = daemon.log();
        let complaint = log.lines().last().unwrap();
        assert!(
            complaint.contains(r#""level":"ERROR""#) && complaint.contains(expected),
            "{log}"
        );
        assert!(!log.contains("marked-secret"));
    }
}
