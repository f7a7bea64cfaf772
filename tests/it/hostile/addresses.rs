//! Internal addresses in every notation, in every input that may name a host: no connection is
//! made.

use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nuon_runner::base::clock::Clock;
use nuon_runner::base::guard::{Reach, SsrfGuard};
use nuon_runner::base::secret::Redactor;
use nuon_runner::base::stop::Stop;
use nuon_runner::cluster::client::connect::{Network, connect};
use nuon_runner::plan::DeployPlan;
use nuon_runner::registry::Address;
use nuon_runner::registry::remote::RegistryClients;
use nuon_runner::workspace::git::{GitRevision, Location, Policy};
use serde_json::json;

use crate::support::parts::{supervisor, testbed};

/// Hosts on this machine or its link, and cloud metadata services. Only the operator may name them.
const LOCAL_HOSTS: [&str; 40] = [
    "127.0.0.1",
    "127.0.0.1.",
    "127.1",
    "127.0.1",
    "127.255.255.254",
    "2130706433",
    "0x7f000001",
    "0x7f.0.0.1",
    "0x7f.1",
    "0177.0.0.1",
    "017700000001",
    "0177.0x0.1",
    "%31%32%37.0.0.1",
    "①②⑦.⓪.⓪.①",
    "１２７.0.0.1",
    "127。0。0。1",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "a.localhost",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[2002:7f00:1::]",
    "0",
    "0.0.0.0",
    "0x0",
    "169.254.169.254",
    "2852039166",
    "0xa9fea9fe",
    "[::ffff:169.254.169.254]",
    "[fe80::1]",
    "[fd00:ec2::254]",
    "168.63.129.16",
    "100.100.100.200",
    "224.0.0.1",
];

/// Hosts in private networks. Component authors may not name them either.
const PRIVATE_HOSTS: [&str; 20] = [
    "10.0.0.1",
    "10.255.255.254",
    "167772161",
    "0x0a000001",
    "012.0.0.1",
    "172.16.0.1",
    "172.31.255.254",
    "192.168.0.1",
    "192.168.255.254",
    "3232235521",
    "100.64.0.1",
    "198.18.0.1",
    "192.0.2.1",
    "[fc00::1]",
    "[fd12:3456::1]",
    "[fec0::1]",
    "[::ffff:10.0.0.1]",
    "[64:ff9b::10.0.0.1]",
    "[64:ff9b:1::1]",
    "[2002:a00:1::]",
];

/// Counts connections to a port of this machine.
struct Canary {
    port: u16,
    connects: Arc<AtomicUsize>,
}

impl Canary {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let connects = Arc::<AtomicUsize>::default();
        let counted = connects.clone();
        std::thread::spawn(move || {
            for _ in listener.incoming() {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { port, connects }
    }

    fn assert_untouched(&self) {
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert_eq!(
            self.connects.load(Ordering::SeqCst),
            0,
            "somebody connected"
        );
    }
}

/// Kustomizations that fetch something. `HERE` stands for host and port.
const AUTHOR_INPUTS: [(&str, &str); 8] = [
    ("a resource", "resources: ['https://HERE/x.yaml']"),
    (
        "a base",
        "resources: ['https://HERE/o/r.git//p?ref=main&timeout=5s']",
    ),
    (
        "a base over ssh",
        "resources: ['ssh://git@HERE/o/r.git?ref=main&timeout=5s']",
    ),
    (
        "a component",
        "components: ['https://HERE/o/r.git?ref=main&timeout=5s']",
    ),
    (
        "a patch",
        "patches: [{path: 'https://HERE/p.yaml', target: {kind: X}}]",
    ),
    (
        "a generated file",
        "configMapGenerator: [{name: c, files: ['k=https://HERE/f']}]",
    ),
    (
        "a chart repository",
        "helmCharts: [{name: x, releaseName: r, version: 1.0.0, repo: 'https://HERE/charts'}]",
    ),
    (
        "a chart in a registry",
        "helmCharts: [{name: x, releaseName: r, version: 1.0.0, repo: 'oci://HERE/charts'}]",
    ),
];

/// Returns all hosts, or every fifth: each takes a run of the program.
fn sample_hosts() -> impl Iterator<Item = &'static str> {
    let step = if std::env::var("NUON_ADDRESSES").is_ok_and(|text| text == "all") {
        1
    } else {
        5
    };
    LOCAL_HOSTS
        .iter()
        .chain(&PRIVATE_HOSTS)
        .copied()
        .step_by(step)
}

#[test]
fn component_authors_cannot_reach_internal_addresses() {
    let canary = Canary::new();
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    for (who, text) in AUTHOR_INPUTS {
        for host in sample_hosts() {
            let overlay = dir.path().join("overlay");
            std::fs::create_dir_all(&overlay).unwrap();
            let text = text.replace("HERE", &format!("{host}:{}", canary.port));
            std::fs::write(overlay.join("kustomization.yaml"), text + "\n").unwrap();
            let output = Command::new("timeout")
                .args([
                    "20",
                    env!("CARGO_BIN_EXE_nuon-runner"),
                    "render",
                    "--allow-remote",
                    "--enable-helm",
                ])
                .arg(&overlay)
                .env_remove("HTTPS_PROXY")
                .env_remove("https_proxy")
                .output()
                .unwrap();
            assert_eq!(
                output.status.code(),
                Some(1),
                "{who} at {host}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        // Traces the system calls of one run, for addresses where nothing listens.
        let host = "10.0.0.1";
        let text = text.replace("HERE", host);
        std::fs::write(dir.path().join("overlay/kustomization.yaml"), text + "\n").unwrap();
        let strace = [
            "-f",
            "-qq",
            "-e",
            "trace=connect,sendto",
            "-e",
            "signal=none",
            "-o",
        ];
        let status = Command::new("timeout")
            .args(["30", "strace"])
            .args(strace)
            .arg(&trace)
            .args([
                env!("CARGO_BIN_EXE_nuon-runner"),
                "render",
                "--allow-remote",
                "--enable-helm",
            ])
            .arg(dir.path().join("overlay"))
            .env_remove("HTTPS_PROXY")
            .env_remove("https_proxy")
            .stderr(std::process::Stdio::null())
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(1), "{who}");
        let calls = std::fs::read_to_string(&trace).unwrap();
        assert!(!calls.contains("\"10.0.0.1\""), "{who}: {calls}");
    }
    canary.assert_untouched();
}

#[tokio::test]
async fn plans_cannot_reach_this_machine_or_its_metadata_service() {
    // Fails if a provider is already installed, which is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let canary = Canary::new();
    let builder = || Ok::<_, reqwest::Error>(reqwest::Client::builder().no_proxy());
    let connections =
        RegistryClients::new(builder, &SsrfGuard::default(), Clock::system()).unwrap();
    let policy = Policy {
        supervisor: supervisor(),
        ..Policy::default()
    };
    let (clock, stop, redactor) = (Clock::system(), Stop::default(), Redactor::default());
    let network = Network::default();
    let enter = async |cluster: serde_json::Value| {
        let plan = json!({"kubernetes_manifest": {"cluster_info": cluster, "manifest": "x"}});
        let plan = DeployPlan::parse(&plan.to_string()).unwrap();
        let api = connect(plan.manifest.cluster.as_ref(), &network, &clock, &stop).await?;
        // Names are checked when they are resolved.
        stop.run(clock.timeout(
            std::time::Duration::from_secs(2),
            nuon_runner::cluster::client::discovery::ServedKinds::discover(&api),
        ))
        .await;
        Ok::<_, nuon_runner::cluster::client::ConnectError>(())
    };
    let kubeconfig = |server: &str, proxy: &str| {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{{name: k, cluster: \
             {{server: {server:?}{proxy}}}}}]\nusers: [{{name: u, user: {{token: \
             marked-token}}}}]\ncontexts: [{{name: c, context: {{cluster: k, user: u}}}}]\n"
        )
    };
    for host in LOCAL_HOSTS {
        let here = format!("{host}:{}", canary.port);
        let cluster =
            json!({"id": "c", "endpoint": format!("https://{here}"), "token": "marked-token"});
        assert!(enter(cluster).await.is_err(), "a cluster at {host}");
        let document = kubeconfig(&format!("https://{here}"), "");
        assert!(
            enter(json!({"id": "c", "kube_config": document}))
                .await
                .is_err(),
            "a kubeconfig of {host}"
        );
        let proxy = kubeconfig(
            "https://192.0.66.2",
            &format!(", proxy-url: \"http://{here}\""),
        );
        assert!(
            enter(json!({"id": "c", "kube_config": proxy}))
                .await
                .is_err(),
            "a proxy at {host}"
        );
        if let Ok(address) = Address::parse(&format!("{here}/a")) {
            let refused = connections.scheme(&address, &[]).await;
            assert!(refused.is_err(), "a registry at {host}");
        }
        for url in [format!("https://{here}/a"), format!("ssh://git@{here}/a")] {
            let Ok(location) = Location::parse(&url, &policy) else {
                continue;
            };
            let tree = tempfile::tempdir().unwrap();
            let source = GitRevision {
                location,
                reach: Reach::Source,
                reference: "main".into(),
                submodules: true,
            };
            let fetched = source.fetch(tree.path(), &policy, &redactor, &stop).await;
            assert!(fetched.is_err(), "a repository at {url}");
        }
    }
    canary.assert_untouched();
}

/// The operator may name a registry on this machine on the command line.
#[test]
fn the_operator_may_name_a_registry_on_this_machine() {
    let dir = tempfile::tempdir().unwrap();
    let kubeconfig = dir.path().join("kubeconfig");
    std::fs::write(&kubeconfig, testbed().kubeconfig()).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_nuon-runner"))
        .args([
            "plan",
            "oci://127.0.0.1:1/a:b",
            "-n",
            "default",
            "--component",
            "web",
            "--kubeconfig",
        ])
        .arg(&kubeconfig)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        error.contains("could not be reached") && !error.contains("network.allow"),
        "{error}"
    );
}
