//! The token service of the registry with token auth: RS256 tokens whose header carries the
//! certificate that the registry trusts.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::testbed;

struct Shared {
    key: RsaKeyPair,
    certificate: String,
    requested_scopes: Mutex<Vec<String>>,
}

static SERVICE: OnceCell<Arc<Shared>> = OnceCell::const_new();

/// Starts the service once for all tests, on its own runtime, because the runtimes of tests end
/// with them.
pub async fn start() {
    SERVICE
        .get_or_init(|| async {
            let pki = testbed().state().join("pki");
            let der = std::fs::read(pki.join("token.der")).unwrap();
            let pem = std::fs::read_to_string(pki.join("token.crt")).unwrap();
            let certificate = pem
                .lines()
                .filter(|line| !line.contains("CERTIFICATE"))
                .collect();
            let key = RsaKeyPair::from_pkcs8(&der).unwrap();
            let shared = Arc::new(Shared {
                key,
                certificate,
                requested_scopes: Mutex::default(),
            });
            let (ready, is_ready) = tokio::sync::oneshot::channel();
            let service = shared.clone();
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                runtime.block_on(async {
                    let listener =
                        tokio::net::TcpListener::bind(("127.0.0.1", testbed().token_port()))
                            .await
                            .unwrap();
                    ready.send(()).unwrap();
                    axum::serve(
                        listener,
                        Router::new()
                            .route("/token", get(token))
                            .with_state(service),
                    )
                    .await
                    .unwrap();
                });
            });
            is_ready.await.unwrap();
            shared
        })
        .await;
}

/// Returns the scopes that were requested so far.
pub fn scopes() -> Vec<String> {
    SERVICE
        .get()
        .unwrap()
        .requested_scopes
        .lock()
        .unwrap()
        .clone()
}

async fn token(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Response {
    let expected = format!(
        "Basic {}",
        STANDARD.encode(format!("{}:{}", testbed().user(), testbed().password()))
    );
    let given = headers
        .get("authorization")
        .and_then(|value| value.to_str().ok());
    if given.is_some_and(|given| given != expected) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let scopes: Vec<String> = query
        .into_iter()
        .filter(|(name, _)| name == "scope")
        .map(|(_, scope)| scope)
        .collect();
    shared
        .requested_scopes
        .lock()
        .unwrap()
        .extend(scopes.clone());
    let access: Vec<Value> = scopes
        .iter()
        .filter_map(|scope| {
            let (kind, rest) = scope.split_once(':')?;
            let (name, actions) = rest.rsplit_once(':')?;
            let actions: Vec<&str> = actions
                .split(',')
                .filter(|action| given.is_some() || *action == "pull")
                .collect();
            Some(json!({"type": kind, "name": name, "actions": actions}))
        })
        .collect();
    let now = jiff::Timestamp::now().as_second();
    let header = json!({"typ": "JWT", "alg": "RS256", "x5c": [shared.certificate]});
    let claims = json!({"iss": "testbed", "sub": testbed().user(), "aud": "testbed", "exp": now + 300, "nbf": now - 5,
        "iat": now, "jti": format!("{:x}", rand::random::<u64>()), "access": access});
    let text = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header.to_string()),
        URL_SAFE_NO_PAD.encode(claims.to_string())
    );
    let mut signature = vec![0; shared.key.public().modulus_len()];
    let random = ring::rand::SystemRandom::new();
    shared
        .key
        .sign(&RSA_PKCS1_SHA256, &random, text.as_bytes(), &mut signature)
        .unwrap();
    let token = format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature));
    axum::Json(json!({"token": token, "expires_in": 300})).into_response()
}
