//! Registries that redirect clients to other hosts, or that would use up memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, Response};
use nuon_runner::base::clock::Clock;
use nuon_runner::base::guard::SsrfGuard;
use nuon_runner::registry::layout::ImageLayout;
use nuon_runner::registry::remote::RegistryClients;
use nuon_runner::registry::{
    Address, Credential, Descriptor, RegistryError, Remote, Repository, Scheme, Version, copy,
    format,
};
use serde_json::json;
use sha2::{Digest as _, Sha256};

/// Responses by path, a challenge for all other paths, and the requests received.
#[derive(Clone)]
struct Server {
    pages: Arc<HashMap<String, (String, Vec<u8>)>>,
    challenge: String,
    requests: Arc<Mutex<Vec<String>>>,
}

async fn answer(State(server): State<Server>, request: Request<Body>) -> Response<Body> {
    let header = |name: &str| {
        request
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    server.requests.lock().unwrap().push(format!(
        "{} {}",
        request.uri().path(),
        header("authorization")
    ));
    match server.pages.get(request.uri().path()) {
        Some((kind, page)) => Response::builder()
            .header("content-type", kind)
            .body(page.clone().into())
            .unwrap(),
        None if server.challenge.is_empty() => {
            Response::builder().status(404).body(Body::empty()).unwrap()
        }
        None => {
            let refusal = Response::builder()
                .status(401)
                .header("www-authenticate", &server.challenge);
            refusal.body(Body::empty()).unwrap()
        }
    }
}

async fn serve(
    pages: HashMap<String, (String, Vec<u8>)>,
    challenge: &str,
) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let requests = Arc::<Mutex<Vec<String>>>::default();
    let server = Server {
        pages: Arc::new(pages),
        challenge: challenge.to_owned(),
        requests: requests.clone(),
    };
    tokio::spawn(async move {
        axum::serve(listener, Router::new().fallback(answer).with_state(server)).await
    });
    (host, requests)
}

/// A repository as a plan names it, with the control plane on this machine.
fn repository(host: &str) -> Repository {
    let builder = || {
        let client = reqwest::Client::builder().no_proxy();
        Ok::<_, reqwest::Error>(client.redirect(reqwest::redirect::Policy::none()))
    };
    let connections = RegistryClients::new(
        builder,
        &SsrfGuard::default().with_loopback(),
        Clock::system(),
    )
    .unwrap();
    let credential = Credential::Password {
        username: "u".into(),
        password: "marked-password".into(),
        origin: "the test",
    };
    let address = Address::parse(&format!("{host}/a")).unwrap();
    Repository::Remote(Box::new(
        Remote::new(address, credential, connections, Scheme::Http).unwrap(),
    ))
}

#[tokio::test]
async fn a_password_goes_to_no_token_service_on_another_private_host() {
    crate::support::parts::tls::install_provider();
    let elsewhere = std::net::TcpListener::bind("127.0.0.2:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let port = elsewhere.local_addr().unwrap().port();
    let hosts = [
        format!("127.0.0.2:{port}"),
        format!("[::ffff:127.0.0.2]:{port}"),
        "10.0.0.1".into(),
        "169.254.169.254".into(),
    ];
    for host in hosts {
        for scheme in ["http", "https"] {
            let challenge = format!("Bearer realm=\"{scheme}://{host}/token\",service=\"s\"");
            let (registry, requests) = serve(HashMap::new(), &challenge).await;
            let error = repository(&registry)
                .manifest(&Version::tag("latest").unwrap())
                .await
                .unwrap_err();
            assert!(
                matches!(error, RegistryError::UntrustedRedirect { .. }),
                "{challenge}: {error}"
            );
            assert!(
                !requests.lock().unwrap().concat().contains("Basic"),
                "{challenge}"
            );
        }
    }
    assert!(
        elsewhere.accept().is_err(),
        "the token service was connected to"
    );
}

/// A server that answers everything with one status and one location. Returns its host and the
/// requests that it gets.
async fn redirecting(status: u16, location: &str) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let location = location.replace("HERE", &host);
    let requests = Arc::<Mutex<Vec<String>>>::default();
    let seen = requests.clone();
    let answer = move |request: Request<Body>| {
        let (path, headers) = (request.uri().path().to_owned(), request.headers());
        let authorization = headers.get("authorization").cloned();
        let is_known = authorization.is_some();
        seen.lock()
            .unwrap()
            .push(format!("{path} {authorization:?}"));
        let response = match (request.method().as_str(), is_known) {
            ("HEAD", _) => Response::builder().status(404),
            ("POST", false) => Response::builder()
                .status(401)
                .header("www-authenticate", "Basic realm=\"r\""),
            _ => Response::builder()
                .status(status)
                .header("location", &location),
        };
        std::future::ready(response.body(Body::empty()).unwrap())
    };
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    (host, requests)
}

fn blob() -> Descriptor {
    let digest = format!("sha256:{}", hex::encode(Sha256::digest(b"{}")));
    let media_type = "application/octet-stream";
    serde_json::from_value(json!({"mediaType": media_type, "digest": digest, "size": 2})).unwrap()
}

#[tokio::test]
async fn a_redirect_of_a_blob_leads_to_no_other_private_host() {
    crate::support::parts::tls::install_provider();
    let elsewhere = std::net::TcpListener::bind("127.0.0.2:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let port = elsewhere.local_addr().unwrap().port();
    let hosts = [
        format!("127.0.0.2:{port}"),
        format!("[::ffff:127.0.0.2]:{port}"),
        "10.0.0.1".into(),
        "169.254.169.254".into(),
    ];
    for host in hosts {
        for scheme in ["http", "https"] {
            let (registry, _) = redirecting(307, &format!("{scheme}://{host}/blob")).await;
            let repository = repository(&registry);
            let (blob, time) = (blob(), Duration::from_secs(10));
            let read = tokio::time::timeout(time, repository.blob(&blob, 10)).await;
            assert!(
                matches!(read, Ok(Err(RegistryError::UntrustedRedirect { .. }))),
                "{scheme}://{host}: {read:?}"
            );
        }
    }
    assert!(
        elsewhere.accept().is_err(),
        "the target of a redirect was connected to"
    );
}

/// The host name of a machine has an address that is not on the public internet.
#[tokio::test]
async fn a_redirect_of_a_blob_to_a_name_leads_to_no_private_address() {
    crate::support::parts::tls::install_provider();
    let elsewhere = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let port = elsewhere.local_addr().unwrap().port();
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let name = name.trim();
    let (registry, _) = redirecting(307, &format!("https://{name}:{port}/blob")).await;
    let (repository, blob) = (repository(&registry), blob());
    let read = repository.blob(&blob, 10);
    let read = tokio::time::timeout(Duration::from_secs(10), read).await;
    assert!(!matches!(read, Ok(Ok(_))));
    assert!(elsewhere.accept().is_err(), "{name} was connected to");
}

#[tokio::test]
async fn endless_redirects_of_a_blob_are_given_up() {
    crate::support::parts::tls::install_provider();
    let (registry, requests) = redirecting(307, "http://HERE/again").await;
    let read = repository(&registry).blob(&blob(), 10).await;
    assert!(read.is_err());
    let count = requests.lock().unwrap().len();
    assert!(count <= 5, "{count} requests");
}

#[tokio::test]
async fn the_password_is_not_sent_to_the_place_of_an_upload_on_another_port() {
    crate::support::parts::tls::install_provider();
    let (other, uploads) = redirecting(201, "/").await;
    let (registry, starts) = redirecting(202, &format!("http://{other}/upload")).await;
    let bytes = bytes::Bytes::from_static(b"{}");
    let stored = repository(&registry).put_blob(&blob(), bytes).await;
    assert!(stored.is_ok(), "{:?}", stored.err());
    assert!(starts.lock().unwrap().concat().contains("Basic"));
    let uploads = uploads.lock().unwrap();
    assert_eq!(*uploads, ["/upload None"]);
}

/// A blob is what its digest says, and a manifest too.
#[tokio::test]
async fn content_with_another_digest_is_refused() {
    crate::support::parts::tls::install_provider();
    let digest = blob().digest;
    let page = |kind: &str| (kind.to_owned(), b"[]".to_vec());
    let manifest_type = "application/vnd.oci.image.manifest.v1+json";
    let pages = HashMap::from([
        (
            format!("/v2/a/blobs/{digest}"),
            page("application/octet-stream"),
        ),
        (format!("/v2/a/manifests/{digest}"), page(manifest_type)),
    ]);
    let (registry, _) = serve(pages, "").await;
    let registry = repository(&registry);
    let manifest = registry.manifest(&Version::Digest(digest)).await;
    for error in [
        registry.blob(&blob(), 10).await.unwrap_err(),
        manifest.unwrap_err(),
    ] {
        let is_about_digest = matches!(
            error,
            RegistryError::Mismatch {
                property: "digest",
                ..
            }
        );
        assert!(is_about_digest, "{error}");
    }
}

#[tokio::test]
async fn a_legacy_archive_with_a_file_that_leaves_it_is_refused() {
    crate::support::parts::tls::install_provider();
    let (blob, manifest_type) = (blob(), "application/vnd.oci.image.manifest.v1+json");
    for (title, is_read) in [
        ("sub/a.yaml", true),
        ("../a.yaml", false),
        ("sub/../../a.yaml", false),
        ("/a.yaml", false),
        ("sub\\a.yaml", false),
    ] {
        let part = |media_type: &str, title: &str| {
            json!({"mediaType": media_type, "digest": blob.digest, "size": blob.size,
                "annotations": {"org.opencontainers.image.title": title}})
        };
        let layer = |title| part("application/x-yaml", title);
        let manifest = json!({"schemaVersion": 2, "mediaType": manifest_type, "config": part("artifact/nuon", ""),
            "layers": [layer("manifest.yaml"), layer(title)]});
        let manifest = (manifest_type.to_owned(), manifest.to_string().into_bytes());
        let content = ("application/octet-stream".to_owned(), b"{}".to_vec());
        let pages = HashMap::from([
            ("/v2/a/manifests/latest".to_owned(), manifest),
            (format!("/v2/a/blobs/{}", blob.digest), content),
        ]);
        let (registry, _) = serve(pages, "").await;
        let version = Version::tag("latest").unwrap();
        let pulled = format::pull(&repository(&registry), &version).await;
        match pulled {
            Ok(_) => assert!(is_read, "{title}"),
            Err(error) => assert!(
                !is_read && error.to_string().contains("not allowed"),
                "{error}"
            ),
        }
    }
}

#[tokio::test]
async fn an_index_that_names_one_document_a_thousand_times_is_refused_or_copied_once() {
    crate::support::parts::tls::install_provider();
    let digest = |bytes: &[u8]| format!("sha256:{}", hex::encode(Sha256::digest(bytes)));
    let (manifest_type, index_type) = (
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.index.v1+json",
    );
    let config = json!({"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest(b"{}"), "size": 2});
    let large = json!({"schemaVersion": 2, "mediaType": manifest_type, "config": config, "layers": [], "annotations": {"x": "y".repeat(3 << 20)}});
    let large = large.to_string().into_bytes();
    let child = json!({"mediaType": manifest_type, "digest": digest(&large), "size": large.len()});
    for (count, is_copied) in [(1000, false), (200, true)] {
        let index = json!({"schemaVersion": 2, "mediaType": index_type, "manifests": vec![child.clone(); count]});
        let index = index.to_string().into_bytes();
        let page = |kind: &str, bytes: &[u8]| (kind.to_owned(), bytes.to_vec());
        let pages = HashMap::from([
            (
                "/v2/a/manifests/latest".to_owned(),
                page(index_type, &index),
            ),
            (
                format!("/v2/a/manifests/{}", digest(&large)),
                page(manifest_type, &large),
            ),
            (
                format!("/v2/a/blobs/{}", digest(b"{}")),
                page("application/octet-stream", b"{}"),
            ),
        ]);
        let (registry, requests) = serve(pages, "").await;
        let target = tempfile::tempdir().unwrap();
        let to = Repository::Layout(ImageLayout::new(target.path()));
        let copied = copy::copy(
            &repository(&registry),
            &Version::tag("latest").unwrap(),
            &to,
            "latest",
        )
        .await;
        assert_eq!(copied.is_ok(), is_copied, "{count}: {:?}", copied.err());
        let manifests = requests
            .lock()
            .unwrap()
            .iter()
            .filter(|line| line.contains(&format!("manifests/{}", digest(&large))))
            .count();
        assert_eq!(
            manifests,
            usize::from(is_copied),
            "{count}: the document is read once, or not at all"
        );
    }
}
