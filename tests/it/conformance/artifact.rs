//! Artifacts as OCI image layouts, some of them inconsistent, served over HTTP as they are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use axum::Router;
use axum::extract::{Path as Segments, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use nuon_runner::registry::format::{self, Content};
use nuon_runner::registry::{Address, Credential, Remote, Repository, Scheme, Version};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// Cases that need an age key. Encrypted artifacts are refused for now, with that reason.
const ENCRYPTED: [&str; 1] = ["kz-encrypted"];

#[tokio::test]
async fn artifacts_are_read_or_refused_as_expected() {
    crate::support::parts::tls::install_provider();
    let mut failures = Vec::new();
    for case in super::cases("artifact") {
        if let Err(why) = check(&case).await {
            failures.push(format!("{}: {why}", case.file_name().unwrap().display()));
        }
    }
    assert!(
        failures.is_empty(),
        "{} cases fail:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

async fn check(case: &Path) -> Result<(), String> {
    let expect: Value =
        serde_json::from_slice(&std::fs::read(case.join("expect.json")).unwrap()).unwrap();
    let address = serve(case.join("layout")).await;
    let repository = repository(&address);
    let tag = expect["tag"].as_str().unwrap();
    let pulled = format::pull(&repository, &Version::tag(tag).unwrap()).await;
    let name = case.file_name().unwrap().to_str().unwrap();
    match (expect["verdict"].as_str().unwrap(), pulled) {
        ("accept", Err(error))
            if ENCRYPTED.contains(&name) && error.to_string().contains("encrypted") =>
        {
            Ok(())
        }
        ("accept", Err(error)) => Err(format!("refused: {error}")),
        ("reject", Ok(_)) => Err("accepted".into()),
        ("accept", Ok(artifact)) => {
            if artifact.digest.as_str() != expect["manifest_digest"] {
                return Err(format!("digest {}", artifact.digest));
            }
            compare(&expect, &artifact.content)
        }
        _ => Ok(()),
    }
}

fn compare(expect: &Value, content: &Content) -> Result<(), String> {
    let hash = |bytes: &[u8]| hex::encode(Sha256::digest(bytes));
    match content {
        Content::Text(text) => {
            let expected = expect["content_sha256"]
                .as_str()
                .or(expect["files"]["manifest.yaml"].as_str());
            if expected == Some(&hash(text)) {
                Ok(())
            } else {
                Err(format!("content {}", String::from_utf8_lossy(text)))
            }
        }
        Content::Files(files) => {
            let got: BTreeMap<_, _> = files
                .iter()
                .map(|(name, content)| (name.clone(), hash(content)))
                .collect();
            let Ok(expected) =
                serde_json::from_value::<BTreeMap<String, String>>(expect["files"].clone())
            else {
                return Err(format!("read as the files {got:?}"));
            };
            if got == expected {
                Ok(())
            } else {
                Err(format!("files {got:?}, expected {expected:?}"))
            }
        }
    }
}

fn repository(host: &str) -> Repository {
    let connections = crate::support::parts::registry_clients();
    let address = Address::parse(&format!("{host}/case")).unwrap();
    Repository::Remote(Box::new(
        Remote::new(address, Credential::Anonymous, connections, Scheme::Http).unwrap(),
    ))
}

async fn serve(layout: PathBuf) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let router = Router::new()
        .route("/v2/case/manifests/{reference}", get(manifest))
        .route("/v2/case/blobs/{digest}", get(blob))
        .with_state(layout);
    tokio::spawn(async move { axum::serve(listener, router).await });
    host
}

async fn manifest(
    State(layout): State<PathBuf>,
    Segments(reference): Segments<String>,
) -> Response {
    let index: Value =
        serde_json::from_slice(&std::fs::read(layout.join("index.json")).unwrap()).unwrap();
    let entries = index["manifests"].as_array().unwrap();
    let entry = entries.iter().find(|entry| {
        entry["digest"] == reference.as_str()
            || entry["annotations"]["org.opencontainers.image.ref.name"] == reference.as_str()
    });
    let digest = entry
        .and_then(|entry| entry["digest"].as_str())
        .unwrap_or(&reference)
        .to_owned();
    let Some(bytes) = read(&layout, &digest) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let own = serde_json::from_slice::<Value>(&bytes)
        .ok()
        .and_then(|value| value["mediaType"].as_str().map(str::to_owned));
    let named = entry.and_then(|entry| entry["mediaType"].as_str().map(str::to_owned));
    let media_type = named.or(own).unwrap_or("application/json".into());
    ([(header::CONTENT_TYPE, media_type)], bytes).into_response()
}

async fn blob(State(layout): State<PathBuf>, Segments(digest): Segments<String>) -> Response {
    match read(&layout, &digest) {
        Some(bytes) => bytes.into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn read(layout: &Path, digest: &str) -> Option<Vec<u8>> {
    let (algorithm, hex) = digest.split_once(':')?;
    std::fs::read(layout.join("blobs").join(algorithm).join(hex)).ok()
}
