//! Registries that redirect clients to other hosts, or that would use up memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, Response};
use nuon_runner::base::clock::Clock;
use nuon_runner::base::guard::SsrfGuard;
use nuon_runner::registry::layout::ImageLayout;
use nuon_runner::registry::remote::RegistryClients;
use nuon_runner::registry::{
    Address, Credential, RegistryError, Remote, Repository, Scheme, Version, copy,
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
    let builder = || Ok::<_, reqwest::Error>(reqwest::Client::builder().no_proxy());
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
            .filter(|line| line.contains(&digest(&large)))
            .count();
        assert_eq!(
            manifests,
            usize::from(is_copied),
            "{count}: the document is read once, or not at all"
        );
    }
}
