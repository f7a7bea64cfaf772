//! Helm charts: fetched by the runner, and rendered by a Helm without network access and without
//! data of the machine.

use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode, Uri};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::support::parts::{testbed, tls};

const TEMPLATE: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name \
                        }}-c}\ndata: {size: {{ .Values.size | quote }}}\n";

/// Returns the files of a chart.
fn chart(version: &str, more: &[(&str, &str)]) -> Vec<(String, String)> {
    let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    let mut files = vec![
        file(
            "Chart.yaml",
            &format!("apiVersion: v2\nname: c\nversion: {version}\n"),
        ),
        file("values.yaml", "size: 1\n"),
        file("templates/c.yaml", TEMPLATE),
    ];
    files.extend(more.iter().map(|(name, text)| file(name, text)));
    files
}

fn packed(files: &[(String, String)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, text) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        builder
            .append_data(&mut header, format!("c/{name}"), text.as_bytes())
            .unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}

/// Serves `pages` by path over TLS. Returns host and port.
async fn serve(pages: HashMap<String, Vec<u8>>) -> String {
    async fn answer(
        State(pages): State<Arc<HashMap<String, Vec<u8>>>>,
        uri: Uri,
    ) -> Response<Body> {
        let Some(page) = pages.get(uri.path()) else {
            return Response::builder()
                .status(StatusCode::NOT_FOUND)
                .body(Body::empty())
                .unwrap();
        };
        if let Some(to) = page.strip_prefix(b"redirect:") {
            return Response::builder()
                .status(302)
                .header("location", to)
                .body(Body::empty())
                .unwrap();
        }
        let manifest = "application/vnd.oci.image.manifest.v1+json";
        let kind = if uri.path().contains("/manifests/") {
            manifest
        } else {
            "application/octet-stream"
        };
        Response::builder()
            .header("content-type", kind)
            .body(page.clone().into())
            .unwrap()
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let router = Router::new().fallback(answer).with_state(Arc::new(pages));
    tokio::spawn(async move { axum::serve(listener, router).await });
    tls::front(address).await
}

/// Renders an overlay of these files with the real Helm.
fn render(files: &[(&str, &str)], flags: &[&str]) -> Output {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    command(dir.path(), flags).output().unwrap()
}

fn command(directory: &Path, flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nuon-runner"));
    command
        .args(["render", "--enable-helm", "--helm-command"])
        .arg(testbed().program("helm"))
        .args(flags);
    command
        .arg(directory)
        .env("SSL_CERT_FILE", testbed().authority());
    command.env("MARKED", "marked-variable").env(
        "HTTPS_PROXY",
        "http://user:marked-proxy-password@127.0.0.1:9",
    );
    command.env("NO_PROXY", "127.0.0.1");
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn charts_of_repositories_and_registries_are_fetched_and_checked() {
    let old = packed(&chart("1.2.0", &[]));
    let new = packed(&chart(
        "1.10.0",
        &[("templates/new.yaml", &TEMPLATE.replace("-c}", "-new}"))],
    ));
    let digest = |bytes: &[u8]| hex::encode(Sha256::digest(bytes));
    let index = json!({"apiVersion": "v1", "entries": {"c": [
        {"version": "1.2.0", "urls": ["files/old.tgz"], "digest": digest(&old)},
        {"version": "1.10.0", "urls": ["files/new.tgz"], "digest": digest(&new)},
        {"version": "2.0.0-rc.1", "urls": ["files/old.tgz"], "digest": digest(&new)},
        {"version": "3.0.0-inside", "urls": ["https://10.0.0.1/c.tgz"]},
    ]}});
    let layer = json!({"mediaType": "application/vnd.cncf.helm.chart.content.v1.tar+gzip", "digest": format!("sha256:{}", digest(&old)), "size": old.len()});
    let config = json!({"mediaType": "application/vnd.cncf.helm.config.v1+json", "digest": format!("sha256:{}", digest(b"{}")), "size": 2});
    let manifest = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": [layer]});
    let pages = HashMap::from([
        (
            "/charts/index.yaml".to_owned(),
            index.to_string().into_bytes(),
        ),
        ("/charts/files/old.tgz".to_owned(), old.clone()),
        (
            "/charts/files/new.tgz".to_owned(),
            b"redirect:/elsewhere/new.tgz".to_vec(),
        ),
        ("/elsewhere/new.tgz".to_owned(), new),
        (
            "/v2/oci/c/tags/list".to_owned(),
            br#"{"tags": ["1.2.0", "1.2.0-rc.1", "latest"]}"#.to_vec(),
        ),
        (
            "/v2/oci/c/manifests/1.2.0".to_owned(),
            manifest.to_string().into_bytes(),
        ),
        (format!("/v2/oci/c/blobs/sha256:{}", digest(&old)), old),
    ]);
    let host = serve(pages).await;
    let rendered = async |repo: String, version: &str, flags: &'static [&'static str]| {
        let overlay = format!(
            "helmCharts: [{{name: c, releaseName: r, repo: '{repo}', version: '{version}'}}]\n"
        );
        tokio::task::spawn_blocking(move || render(&[("kustomization.yaml", &overlay)], flags))
            .await
            .unwrap()
    };
    const ALLOWED: &[&str] = &["--allow-remote", "--allow-host", "127.0.0.1"];
    let repository = format!("https://{host}/charts");
    for (repo, version, is_new) in [
        (repository.clone(), "1.2.0", false),
        (repository.clone(), "^1.2", true),
        (repository.clone(), "", true),
        (format!("oci://{host}/oci"), "1.2.0", false),
        (format!("oci://{host}/oci"), "", false),
    ] {
        let output = rendered(repo.clone(), version, ALLOWED).await;
        let out = text(&output.stdout);
        assert!(
            output.status.success(),
            "{repo} {version}: {}",
            text(&output.stderr)
        );
        assert!(
            out.contains("name: r-c") && out.contains("name: r-new") == is_new,
            "{repo} {version}: {out}"
        );
    }
    for (version, flags, expected) in [
        ("2.0.0-rc.1", ALLOWED, "does not match its digest"),
        ("3.0.0-inside", ALLOWED, "not on the public internet"),
        ("9.9.9", ALLOWED, "has no version 9.9.9"),
        ("1.2.0", &["--allow-remote"], "not on the public internet"),
        ("1.2.0", &[], "is not allowed in this build"),
    ] {
        let output = rendered(repository.clone(), version, flags).await;
        let error = text(&output.stderr);
        assert!(
            output.status.code() == Some(1) && error.contains(expected),
            "{version}: {error}"
        );
    }
    let output = rendered(repository.replace("https", "http"), "1.2.0", ALLOWED).await;
    assert!(
        text(&output.stderr).contains("only https:// addresses are fetched"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn charts_see_no_data_of_the_machine_and_have_no_network() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let connects = Arc::<AtomicUsize>::default();
    let counted = connects.clone();
    std::thread::spawn(move || {
        listener.incoming().for_each(|_| {
            counted.fetch_add(1, Ordering::SeqCst);
        })
    });
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret.json");
    std::fs::write(&secret, r#"{"const": "marked-file"}"#).unwrap();

    let overlay = |more: &str| format!("helmCharts: [{{name: c, releaseName: r{more}}}]\n");
    let render_chart = |kustomization: &str, more: &[(&str, &str)]| {
        let files = chart("1.0.0", more)
            .into_iter()
            .map(|(name, text)| (format!("charts/c/{name}"), text));
        let files: Vec<(String, String)> = files
            .chain([("kustomization.yaml".to_owned(), kustomization.to_owned())])
            .collect();
        let files: Vec<(&str, &str)> = files
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str()))
            .collect();
        let output = render(&files, &[]);
        let all = text(&output.stdout) + &text(&output.stderr);
        for secret in ["marked-variable", "marked-proxy-password", "marked-file"] {
            assert!(!all.contains(secret), "{kustomization}: {all}");
        }
        output
    };
    for template in [
        "{{ env \"MARKED\" }}",
        "x{{ expandenv \"$MARKED\" }}",
        "{{ getHostByName \"localhost\" }}",
    ] {
        let kustomization =
            overlay("").replace("releaseName: r", &format!("nameTemplate: '{template}'"));
        let output = render_chart(&kustomization, &[]);
        assert!(
            text(&output.stderr)
                .contains("is not allowed: it reveals data of the rendering machine"),
            "{}",
            text(&output.stderr)
        );
    }
    for reference in [
        format!("http://127.0.0.1:{port}/x.json"),
        format!("file://{}", secret.display()),
    ] {
        for place in ["values.schema.json", "charts/sub/values.schema.json"] {
            let schema = json!({"properties": {"size": {"$ref": reference}}}).to_string();
            let sub = "apiVersion: v2\nname: sub\nversion: 1.0.0\n";
            let output = render_chart(
                &overlay(""),
                &[(place, &schema), ("charts/sub/Chart.yaml", sub)],
            );
            assert!(output.status.success(), "{}", text(&output.stderr));
            assert!(
                text(&output.stderr).contains("values are not validated against it"),
                "{}",
                text(&output.stderr)
            );
        }
    }
    // A schema in the chart itself is still validated.
    let own = r#"{"properties": {"size": {"type": "string"}}}"#;
    assert!(
        !render_chart(&overlay(""), &[("values.schema.json", own)])
            .status
            .success()
    );
    // Helm itself gives templates neither the environment nor DNS.
    let asks = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {a: {{ getHostByName \
                \"localhost\" | quote }}}\n";
    let output = render_chart(&overlay(""), &[("templates/x.yaml", asks)]);
    assert!(
        text(&output.stdout).contains("a: \"\""),
        "{}",
        text(&output.stderr)
    );
    assert_eq!(connects.load(Ordering::SeqCst), 0, "helm has connected");
}
