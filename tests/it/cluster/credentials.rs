//! Clusters that cannot be used, and Secrets that cannot be stored: what is said of them.

use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::cluster::{ClusterFixture, CommandOutput, deployment};

/// Runs `plan` with a kubeconfig for this server and user. Returns the error.
fn refusal(fixture: &ClusterFixture, server: &str, user: Value, more: &[&str]) -> String {
    refusal_with(fixture, server, json!([{"name": "u", "user": user}]), more)
}

fn refusal_with(fixture: &ClusterFixture, server: &str, users: Value, more: &[&str]) -> String {
    let kubeconfig = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c", "users": users,
        "clusters": [{"name": "k", "cluster": {"server": server}}],
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}]});
    let path = fixture.path("broken.kubeconfig");
    std::fs::write(&path, kubeconfig.to_string()).unwrap();
    let file = fixture.manifest("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n");
    let output = Command::new(env!("CARGO_BIN_EXE_nuon-runner"))
        .env_clear()
        .args(["plan", "-f", &file, "--kubeconfig", &path])
        .args(more)
        .output()
        .unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test]
async fn a_cluster_that_cannot_be_used_is_named_with_the_reason() {
    let fixture = ClusterFixture::empty().await;
    let server = "https://127.0.0.1:1";
    let missing = refusal_with(&fixture, server, json!([]), &[]);
    assert!(
        missing.contains("its context \"c\" names the user \"u\", which it does not have"),
        "{missing}"
    );

    let plugin = fixture.path("login");
    std::fs::write(
        &plugin,
        "#!/bin/sh\necho token-of-somebody\necho 'sign in first' >&2\nexit 3\n",
    )
    .unwrap();
    assert!(
        Command::new("chmod")
            .args(["+x", &plugin])
            .status()
            .unwrap()
            .success()
    );
    let exec =
        json!({"exec": {"command": plugin, "apiVersion": "client.authentication.k8s.io/v1"}});
    let failed = refusal(&fixture, server, exec, &["--deploy-allow-exec", &plugin]);
    assert!(
        failed.contains("sign in first") && !failed.contains("token-of-somebody"),
        "{failed}"
    );

    let (key, request, certificate) = (
        fixture.path("key"),
        fixture.path("csr"),
        fixture.path("crt"),
    );
    let openssl = |arguments: &[&str]| {
        assert!(
            Command::new("openssl")
                .args(arguments)
                .output()
                .unwrap()
                .status
                .success()
        );
    };
    openssl(&[
        "req", "-newkey", "rsa:2048", "-nodes", "-keyout", &key, "-out", &request, "-subj", "/CN=a",
    ]);
    // Without extensions, x509 issues a certificate of version 1.
    openssl(&[
        "x509",
        "-req",
        "-in",
        &request,
        "-signkey",
        &key,
        "-out",
        &certificate,
    ]);
    let data = |path: &str| STANDARD.encode(std::fs::read(path).unwrap());
    let user =
        json!({"client-certificate-data": data(&certificate), "client-key-data": data(&key)});
    let old = refusal(&fixture, server, user, &[]);
    assert!(old.contains("X.509 version 1"), "{old}");

    let unreachable = refusal(&fixture, server, json!({"token": "t"}), &[]);
    assert!(
        unreachable.contains("the cluster at https://127.0.0.1:1 could not be reached"),
        "{unreachable}"
    );
}

#[tokio::test]
async fn a_value_that_is_not_base64_is_found_before_anything_is_sent() {
    let fixture = ClusterFixture::new().await;
    let manifest = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {good: YQ==, bad: 'pass word'}\n---\n\
                    apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n";
    let refused = fixture.apply("web", manifest, &[]).expect_code(1);
    assert!(
        refused
            .err
            .contains("/s: data.bad: not base64; plain text belongs under stringData"),
        "{}",
        refused.err
    );
    assert!(!refused.err.contains("pass word"), "{}", refused.err);
    assert!(fixture.get(&fixture.config_map("c")).await.is_null());
}

#[tokio::test]
async fn credentials_that_end_during_the_wait_are_told_and_end_it() {
    for manifest in [
        deployment("web", 1).replace(
            "labels: {app: web}}\n    spec",
            "labels: {app: web}, annotations: {testbed/stay: ContainerCreating}}\n    spec",
        ),
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web, annotations: {nuon.co/ready-when: 'false'}}\n"
            .to_owned(),
    ] {
        let fixture = ClusterFixture::new().await;
        use_service_account(&fixture).await;
        let file = fixture.manifest(&manifest);
        let apply = ["apply", "-f", &file, "--component", "web", "--yes", "--deploy-wait-timeout", "120s"];
        let child = fixture.start(&apply);
        let written = match manifest.contains("ConfigMap") {
            true => fixture.config_map("web"),
            false => format!("/apis/apps/v1/namespaces/{}/deployments/web", fixture.namespace),
        };
        fixture.wait_until_exists(&written).await;
        let account = format!("/api/v1/namespaces/{}/serviceaccounts/deployer", fixture.namespace);
        fixture.delete(&account).await;
        let begun = std::time::Instant::now();
        let ran = CommandOutput::wait(child).await;
        assert!(begun.elapsed().as_secs() < 90, "{}", ran.err);
        let ran = ran.expect_code(5);
        assert!(ran.err.contains("Unauthorized"), "{}", ran.err);
    }
}

/// Replaces the fixture's kubeconfig by one with the token of a service account.
async fn use_service_account(fixture: &ClusterFixture) {
    let namespace = &fixture.namespace;
    let accounts = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
    fixture
        .create(&accounts, json!({"metadata": {"name": "deployer"}}))
        .await;
    let bindings =
        format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings");
    let subject = json!({"kind": "ServiceAccount", "name": "deployer", "namespace": namespace});
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"});
    let binding = json!({"metadata": {"name": "deployer"}, "roleRef": role, "subjects": [subject]});
    fixture.create(&bindings, binding).await;
    let request = json!({"spec": {"expirationSeconds": 600}});
    let answer = fixture
        .create(&format!("{accounts}/deployer/token"), request)
        .await;
    let text = std::fs::read_to_string(fixture.path("kubeconfig")).unwrap();
    let mut config = kube::config::Kubeconfig::from_yaml(&text).unwrap();
    config.auth_infos[0].auth_info = Some(kube::config::AuthInfo {
        token: Some(
            answer["status"]["token"]
                .as_str()
                .unwrap()
                .to_owned()
                .into(),
        ),
        ..kube::config::AuthInfo::default()
    });
    let text = serde_json::to_string(&config).unwrap();
    std::fs::write(fixture.path("kubeconfig"), text).unwrap();
}
