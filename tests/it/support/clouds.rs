//! Fakes of the clouds' identity services, which check the signature or form of what they get, and
//! before a real registry a front that accepts the passwords that they give.
//!
//! Signatures are checked by the steps of the AWS documentation, written here a second time.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::HeaderMap;
use ring::{digest, hmac, signature};
use serde_json::{Value, json};

use super::parts::testbed;

/// A request to a fake.
struct Received {
    method: String,
    path: String,
    query: String,
    headers: BTreeMap<String, String>,
    body: String,
}

/// All fakes, on one address.
#[derive(Clone)]
pub struct Clouds {
    pub address: SocketAddr,
    /// Method and path of each request to a service, with its operation.
    log: Arc<Mutex<Vec<String>>>,
    /// User names and passwords (`USER:PASSWORD`) that the registry accepts.
    passwords: Arc<Mutex<HashSet<String>>>,
    http: reqwest::Client,
}

impl Clouds {
    pub async fn start() -> Self {
        // Fails if a provider is already installed, which is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let clouds = Self {
            address: listener.local_addr().unwrap(),
            log: Arc::default(),
            passwords: Arc::default(),
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
        };
        let router = axum::Router::new()
            .fallback(answer)
            .with_state(clouds.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        clouds
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns what was asked of the services since the last call.
    pub fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.log.lock().unwrap())
    }

    /// The registry accepts no password that was given before.
    pub fn revoke(&self) {
        self.passwords.lock().unwrap().clear();
    }

    fn log(&self, line: impl Into<String>) {
        self.log.lock().unwrap().push(line.into());
    }

    /// Gives a password. Each one is another.
    fn give(&self, user: &str, of: &str) -> String {
        let mut passwords = self.passwords.lock().unwrap();
        let password = format!("{of}-{:08x}", rand::random::<u32>());
        passwords.insert(format!("{user}:{password}"));
        password
    }
}

async fn answer(State(clouds): State<Clouds>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let bytes = axum::body::to_bytes(body, 64 << 20).await.unwrap();
    if parts.uri.path().starts_with("/v2/") {
        return registry(&clouds, &parts, bytes).await;
    }
    let received = Received {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: texts(&parts.headers),
        body: String::from_utf8_lossy(&bytes).into_owned(),
    };
    let answered = aws(&clouds, &received)
        .or_else(|| azure(&clouds, &received))
        .or_else(|| google(&clouds, &received));
    match answered {
        Some(body) => Response::new(Body::from(body)),
        None => Response::builder()
            .status(403)
            .body(Body::from(json!({"error": "invalid_request"}).to_string()))
            .unwrap(),
    }
}

fn texts(headers: &HeaderMap) -> BTreeMap<String, String> {
    let pairs = headers.iter();
    pairs
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect()
}

impl Received {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// Members of the form in the body.
    fn form(&self) -> BTreeMap<String, String> {
        pairs(&self.body)
    }
}

fn pairs(text: &str) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(text.as_bytes())
        .into_owned()
        .collect()
}

/// The real registry, for those who have a password that was given.
async fn registry(
    clouds: &Clouds,
    parts: &http::request::Parts,
    body: axum::body::Bytes,
) -> Response {
    let basic = parts.headers.get("authorization");
    let basic = basic.and_then(|value| value.to_str().ok()?.strip_prefix("Basic "));
    let pair = basic.map(|packed| String::from_utf8(STANDARD.decode(packed).unwrap()).unwrap());
    if !pair.is_some_and(|pair| clouds.passwords.lock().unwrap().contains(&pair)) {
        return Response::builder()
            .status(401)
            .header("www-authenticate", "Basic realm=\"fake\"")
            .body(Body::empty())
            .unwrap();
    }
    let real = testbed();
    let path = parts.uri.path_and_query().unwrap();
    let url = format!("http://{}{path}", real.registry());
    let mut request = clouds
        .http
        .request(parts.method.clone(), url)
        .basic_auth(real.user(), Some(real.password()))
        .body(body);
    for name in ["accept", "content-type"] {
        if let Some(value) = parts.headers.get(name) {
            request = request.header(name, value);
        }
    }
    let answer = request.send().await.unwrap();
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        response = response.header(name, value);
    }
    // Uploads go on at this front.
    if let Some(location) = answer.headers().get("location") {
        let location = location.to_str().unwrap();
        let here = location.replace(real.registry(), &clouds.address.to_string());
        response
            .headers_mut()
            .unwrap()
            .insert("location", here.parse().unwrap());
    }
    response
        .body(Body::from(answer.bytes().await.unwrap()))
        .unwrap()
}

/// Secret of an access key, and the session token of a temporary one.
pub fn secret_of(id: &str) -> String {
    format!("secret of {id}")
}

fn session_of(id: &str) -> String {
    format!("session of {id}")
}

/// ECR, STS, and the container's and instance's metadata services.
fn aws(clouds: &Clouds, received: &Received) -> Option<String> {
    let target = received.header("x-amz-target");
    let keys = |id: &str| json!({"AccessKeyId": id, "SecretAccessKey": secret_of(id), "Token": session_of(id)});
    if let Some(service) = target.strip_suffix(".GetAuthorizationToken") {
        let (service, is_list) = match service {
            "AmazonEC2ContainerRegistry_V20150921" => ("ecr", true),
            "SpencerFrontendService" => ("ecr-public", false),
            _ => return None,
        };
        let signed = signed_headers(received)?;
        assert_eq!(signed.service, service);
        assert_eq!(received.body, "{}");
        clouds.log(format!("{service} {} {}", signed.region, signed.key));
        let token = STANDARD.encode(format!("AWS:{}", clouds.give("AWS", &signed.key)));
        let data = json!({"authorizationToken": token});
        let data = if is_list { json!([data]) } else { data };
        return Some(json!({"authorizationData": data}).to_string());
    }
    let query = pairs(&received.query);
    if query
        .get("Action")
        .is_some_and(|action| action == "AssumeRole")
    {
        let signed = signed_query(received)?;
        let role = query["RoleArn"].rsplit('/').next().unwrap().to_uppercase();
        clouds.log(format!(
            "sts {} assumes {role} in {}",
            signed.key, query["RoleSessionName"]
        ));
        return Some(sts_response(&format!("ASIA{role}")));
    }
    let form = received.form();
    if form
        .get("Action")
        .is_some_and(|action| action == "AssumeRoleWithWebIdentity")
    {
        clouds.log(format!("sts by web identity {}", form["WebIdentityToken"]));
        return Some(sts_response("ASIAWEB"));
    }
    match (&*received.method, &*received.path) {
        ("GET", "/container") if received.header("authorization") == "container token" => {
            Some(keys("ASIACONTAINER").to_string())
        }
        ("PUT", "/latest/api/token") => Some("imds session".into()),
        ("GET", path) if received.header("x-aws-ec2-metadata-token") == "imds session" => {
            match path.strip_prefix("/latest/meta-data/iam/security-credentials/")? {
                "" => Some("node-role".into()),
                "node-role" => Some(keys("ASIANODE").to_string()),
                _ => None,
            }
        }
        _ => None,
    }
}

fn sts_response(id: &str) -> String {
    format!(
        "<R><Credentials><AccessKeyId>{id}</AccessKeyId><SecretAccessKey>{}</SecretAccessKey>\
         <SessionToken>{}</SessionToken></Credentials></R>",
        secret_of(id),
        session_of(id)
    )
}

/// Whose signature a request has, and what for.
struct Signed {
    key: String,
    region: String,
    service: String,
}

/// Checks a signature in the headers.
fn signed_headers(received: &Received) -> Option<Signed> {
    let authorization = received.header("authorization");
    let rest = authorization.strip_prefix("AWS4-HMAC-SHA256 ")?;
    let part = |name: &str| {
        let part = rest.split(", ").find_map(|part| part.strip_prefix(name));
        part.unwrap().to_owned()
    };
    let credential = part("Credential=");
    let key = credential.split('/').next()?;
    if key.starts_with("ASIA") {
        assert_eq!(received.header("x-amz-security-token"), session_of(key));
    }
    let time = received.header("x-amz-date");
    let expected = signature(
        received,
        &received.query,
        &credential,
        time,
        &part("SignedHeaders="),
    );
    assert_eq!(part("Signature="), expected, "{authorization}");
    Some(signed(&credential))
}

/// Checks a signature in the query.
fn signed_query(received: &Received) -> Option<Signed> {
    let query = pairs(&received.query);
    let (unsigned, own) = received.query.split_once("&X-Amz-Signature=")?;
    let credential = &query["X-Amz-Credential"];
    let key = credential.split('/').next()?;
    if key.starts_with("ASIA") {
        assert_eq!(query["X-Amz-Security-Token"], session_of(key));
    }
    let (time, names) = (&query["X-Amz-Date"], &query["X-Amz-SignedHeaders"]);
    assert_eq!(own, signature(received, unsigned, credential, time, names));
    Some(signed(credential))
}

fn signed(credential: &str) -> Signed {
    let mut parts = credential.split('/').map(str::to_owned);
    let mut next = || parts.next().unwrap();
    let (key, _, region, service) = (next(), next(), next(), next());
    Signed {
        key,
        region,
        service,
    }
}

fn signature(
    received: &Received,
    query: &str,
    credential: &str,
    time: &str,
    names: &str,
) -> String {
    let headers: String = names
        .split(';')
        .map(|name| format!("{name}:{}\n", received.header(name)))
        .collect();
    let hash = |text: &str| hex::encode(digest::digest(&digest::SHA256, text.as_bytes()));
    let canonical = [
        &*received.method,
        &*received.path,
        query,
        &headers,
        names,
        &hash(&received.body),
    ]
    .join("\n");
    let (id, scope) = credential.split_once('/').unwrap();
    let text = ["AWS4-HMAC-SHA256", time, scope, &hash(&canonical)].join("\n");
    let mut key = format!("AWS4{}", secret_of(id)).into_bytes();
    for step in scope.split('/').chain([&*text]) {
        let signer = hmac::Key::new(hmac::HMAC_SHA256, &key);
        key = hmac::sign(&signer, step.as_bytes()).as_ref().to_vec();
    }
    hex::encode(key)
}

/// Entra, the managed identity, and the token exchange of the registry itself.
fn azure(clouds: &Clouds, received: &Received) -> Option<String> {
    let form = received.form();
    let token = |name: &str| json!({"access_token": name, "expires_in": "3600"}).to_string();
    match &*received.path {
        "/tenant/oauth2/v2.0/token" => {
            assert_eq!(form["scope"], "https://management.azure.com/.default");
            assert_eq!(form["client_id"], "client");
            let proof = match form.get("client_secret") {
                Some(secret) => format!("secret {secret}"),
                None => format!("assertion {}", form["client_assertion"]),
            };
            clouds.log(format!("entra by {proof}"));
            Some(token("entra-token"))
        }
        "/metadata/identity/oauth2/token" if received.header("metadata") == "true" => {
            let resource = &pairs(&received.query)["resource"];
            clouds.log(format!("managed identity for {resource}"));
            Some(token("managed-token"))
        }
        "/app" if received.header("x-identity-header") == "app secret" => {
            clouds.log("app identity");
            Some(token("app-token"))
        }
        "/oauth2/exchange" => {
            assert_eq!(form["grant_type"], "access_token");
            assert_eq!(form["service"], clouds.address.to_string());
            let tenant = form.get("tenant").map_or("none", String::as_str);
            clouds.log(format!(
                "exchange {} of tenant {tenant}",
                form["access_token"]
            ));
            let user = "00000000-0000-0000-0000-000000000000";
            Some(json!({"refresh_token": clouds.give(user, "refresh")}).to_string())
        }
        _ => None,
    }
}

/// Google's metadata, token, token exchange and IAM credentials services.
fn google(clouds: &Clouds, received: &Received) -> Option<String> {
    let form = received.form();
    let give = |of: &str| clouds.give("oauth2accesstoken", of);
    let token = |of: &str| json!({"access_token": give(of), "expires_in": 3599}).to_string();
    let scope = "https://www.googleapis.com/auth/cloud-platform";
    match &*received.path {
        "/computeMetadata/v1/instance/service-accounts/default/token" => {
            assert_eq!(received.header("metadata-flavor"), "Google");
            assert_eq!(pairs(&received.query)["scopes"], scope);
            clouds.log("metadata");
            Some(token("machine"))
        }
        "/token" if form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer" => {
            let claims = verified_claims(&form["assertion"]);
            assert_eq!(claims["aud"], format!("{}/token", clouds.url()));
            assert_eq!(claims["scope"], scope);
            clouds.log(format!("assertion of {}", claims["iss"].as_str().unwrap()));
            Some(token("account"))
        }
        "/token" if form["grant_type"] == "refresh_token" => {
            clouds.log(format!("refresh token {}", form["refresh_token"]));
            Some(token("user"))
        }
        "/v1/token" => {
            assert_eq!(
                form["grant_type"],
                "urn:ietf:params:oauth:grant-type:token-exchange"
            );
            let kind = form["subject_token_type"].rsplit(':').next().unwrap();
            let subject = match kind {
                "aws4_request" => subject_of_aws(&form["subject_token"], &form["audience"]),
                _ => form["subject_token"].clone(),
            };
            clouds.log(format!(
                "exchange {kind} {subject} for {}",
                form["audience"]
            ));
            Some(token("federated"))
        }
        path => {
            let account = path.strip_prefix("/v1/projects/-/serviceAccounts/")?;
            let account = account.strip_suffix(":generateAccessToken")?;
            let bearer = received.header("authorization").strip_prefix("Bearer ")?;
            let known = format!("oauth2accesstoken:{bearer}");
            assert!(clouds.passwords.lock().unwrap().contains(&known));
            clouds.log(format!("{account} by {}", bearer.split('-').next()?));
            Some(json!({"accessToken": give("impersonated")}).to_string())
        }
    }
}

/// Checks an assertion's signature against the testbed's service account key.
fn verified_claims(assertion: &str) -> Value {
    let (signed, own) = assertion.rsplit_once('.').unwrap();
    let pem = std::fs::read(testbed().state().join("pki/sa.pub")).unwrap();
    // The public key itself begins after the algorithm's header of 24 bytes.
    let der = pem::parse(pem).unwrap().into_contents();
    let key = signature::UnparsedPublicKey::new(&signature::RSA_PKCS1_2048_8192_SHA256, &der[24..]);
    let own = URL_SAFE_NO_PAD.decode(own).unwrap();
    key.verify(signed.as_bytes(), &own).unwrap();
    let part = |text: &str| -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
    };
    let (header, claims) = signed.split_once('.').unwrap();
    assert_eq!(part(header)["alg"], "RS256");
    part(claims)
}

/// Checks a signed STS request that is used as a subject token. Returns its key.
fn subject_of_aws(token: &str, audience: &str) -> String {
    let (text, _) = url::form_urlencoded::parse(token.as_bytes())
        .next()
        .unwrap();
    let request: Value = serde_json::from_str(&text).unwrap();
    let headers = request["headers"].as_array().unwrap().iter();
    let headers: BTreeMap<String, String> = headers
        .map(|pair| {
            let text = |member: &str| pair[member].as_str().unwrap().to_owned();
            (text("key"), text("value"))
        })
        .collect();
    assert_eq!(headers["x-goog-cloud-target-resource"], audience);
    let url = request["url"].as_str().unwrap();
    let (host, query) = url
        .strip_prefix("https://")
        .unwrap()
        .split_once('?')
        .unwrap();
    assert_eq!(headers["host"], host);
    let received = Received {
        method: request["method"].as_str().unwrap().to_owned(),
        path: "/".into(),
        query: query.to_owned(),
        headers,
        body: String::new(),
    };
    signed_headers(&received).unwrap().key
}
