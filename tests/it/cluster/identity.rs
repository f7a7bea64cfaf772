//! Access to clusters with cloud identities: fakes of the clouds' services before the real API
//! server.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use nuon_runner::base::clock::Clock;
use nuon_runner::base::stop::Stop;
use nuon_runner::cloud::Machine;
use nuon_runner::cluster::client::Api;
use nuon_runner::cluster::client::connect::{
    ConnectError, Network, connect, connect_by_service_account,
};
use nuon_runner::cluster::client::discovery::ServedKinds;
use nuon_runner::plan::DeployPlan;
use serde_json::{Value, json};

use crate::support::cluster::ClusterFixture;
use crate::support::parts::{loopback_guard, testbed};

/// Requests to a fake: method, path with query, relevant headers, body.
type RequestLog = Arc<Mutex<Vec<String>>>;

/// The identity services of all clouds, and before them the API server, which accepts their tokens
/// as the admin's.
struct Clouds {
    address: SocketAddr,
    requests: RequestLog,
    /// True if the API server rejects the next token, as if it had expired.
    refuses: Arc<AtomicBool>,
    cluster_response: ClusterResponse,
}

/// Status and body of the clouds' responses about a cluster.
type ClusterResponse = Arc<Mutex<(u16, String)>>;

#[derive(Clone)]
struct Shared {
    requests: RequestLog,
    refuses: Arc<AtomicBool>,
    cluster_response: ClusterResponse,
    http: reqwest::Client,
}

impl Clouds {
    async fn start() -> Self {
        // Fails if a provider is already installed, which is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let authority =
            reqwest::Certificate::from_pem(&std::fs::read(testbed().authority()).unwrap()).unwrap();
        let http = reqwest::Client::builder()
            .tls_certs_only([authority])
            .no_proxy()
            .build()
            .unwrap();
        let cluster_response = ClusterResponse::default();
        let shared = Shared {
            requests: RequestLog::default(),
            refuses: Arc::default(),
            cluster_response: cluster_response.clone(),
            http,
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (requests, refuses) = (shared.requests.clone(), shared.refuses.clone());
        let router = axum::Router::new().fallback(answer).with_state(shared);
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            address,
            requests,
            refuses,
            cluster_response,
        }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A machine with these environment variables.
    fn machine(&self, variables: &[(&str, String)]) -> Machine {
        let variables = variables.to_vec();
        let look = move |name: &str| {
            variables
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| value.clone())
        };
        Machine::new(
            &look,
            reqwest::Client::builder().no_proxy().build().unwrap(),
        )
    }

    async fn connect(
        &self,
        machine: Machine,
        info: Value,
        clock: &Clock,
    ) -> Result<Api, ConnectError> {
        self.connect_trusting(&["127.0.0.1"], machine, info, clock)
            .await
    }

    /// Connects, and reads from the cluster.
    async fn works(&self, machine: Machine, info: Value, clock: &Clock) {
        works(&self.connect(machine, info, clock).await.unwrap()).await;
    }

    /// Connects. Tokens may be sent to `endpoints`, whatever the clouds report.
    async fn connect_trusting(
        &self,
        endpoints: &[&str],
        machine: Machine,
        info: Value,
        clock: &Clock,
    ) -> Result<Api, ConnectError> {
        let mut cluster = json!({"id": "shop", "endpoint": self.url()});
        for (member, value) in info.as_object().unwrap() {
            cluster[member] = value.clone();
        }
        let plan = json!({"kubernetes_manifest": {"cluster_info": cluster, "manifest": "x"}});
        let plan = DeployPlan::parse(&plan.to_string()).unwrap();
        let endpoints = endpoints.iter().map(|host| (*host).to_owned()).collect();
        let network = Network::new(None, "", None, machine)
            .guarded(loopback_guard())
            .with_trusted_hosts(Vec::new(), endpoints);
        connect(
            plan.manifest.cluster.as_ref(),
            &network,
            clock,
            &Stop::default(),
        )
        .await
    }

    fn requests_containing(&self, part: &str) -> Vec<String> {
        self.requests
            .lock()
            .unwrap()
            .iter()
            .filter(|line| line.contains(part))
            .cloned()
            .collect()
    }
}

async fn answer(State(shared): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let text = String::from_utf8_lossy(&body).into_owned();
    let uri = parts.uri.path_and_query().unwrap().to_string();
    let header = |name: &str| {
        parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned()
    };
    let authorization = header("authorization");
    shared
        .requests
        .lock()
        .unwrap()
        .push(format!("{} {uri} [{authorization}] {text}", parts.method));
    let json = |value: Value| Response::new(Body::from(value.to_string()));
    let refused = |code: u16| {
        Response::builder()
            .status(code)
            .body(Body::from("{\"error\":\"invalid_request\"}"))
            .unwrap()
    };
    let keys = |who: &str| {
        let xml = format!(
            "<R><Credentials><AccessKeyId>ASIA{who}</AccessKeyId><SecretAccessKey>marked-{who}</\
             SecretAccessKey><SessionToken>session-{who}</SessionToken></Credentials></R>"
        );
        Response::new(Body::from(xml))
    };
    match uri.as_str() {
        // AWS STS
        "/" if text.contains("Action=AssumeRoleWithWebIdentity")
            && text.contains("WebIdentityToken=web-token") =>
        {
            keys("WEB")
        }
        uri if uri.starts_with("/?")
            && uri.contains("Action=AssumeRole&")
            && uri.contains("X-Amz-Signature=") =>
        {
            keys(if uri.contains("role%2Fmaintenance") {
                "MAINTENANCE"
            } else {
                "STEP"
            })
        }
        // AWS instance metadata, version 2
        "/latest/api/token" if parts.method == http::Method::PUT => {
            Response::new(Body::from("imds-session"))
        }
        "/latest/meta-data/iam/security-credentials/"
            if header("x-aws-ec2-metadata-token") == "imds-session" =>
        {
            Response::new(Body::from("node-role"))
        }
        "/latest/meta-data/iam/security-credentials/node-role" => json(
            json!({"AccessKeyId": "ASIANODE", "SecretAccessKey": "marked-node", "Token": "session-node"}),
        ),
        // Entra ID and Azure instance metadata
        "/tenant/oauth2/v2.0/token" if text.contains("client_assertion=federated-token") => {
            json(json!({"access_token": "azure-federated", "expires_in": 3600}))
        }
        uri if uri.starts_with("/metadata/identity/oauth2/token?")
            && header("metadata") == "true" =>
        {
            json(json!({"access_token": "azure-managed", "expires_in": "3600"}))
        }
        // Google's metadata server and IAM credentials service
        uri if uri.starts_with("/computeMetadata/v1/instance/service-accounts/default/token")
            && header("metadata-flavor") == "Google" =>
        {
            json(json!({"access_token": "google-machine", "expires_in": 3599}))
        }
        "/v1/projects/-/serviceAccounts/deploys@p.iam.gserviceaccount.com:generateAccessToken"
            if authorization == "Bearer google-machine" =>
        {
            json(json!({"accessToken": "google-impersonated"}))
        }
        // The clouds' descriptions of clusters
        uri if uri.starts_with("/clusters/")
            || uri.starts_with("/v1/projects/p/locations/r/clusters/") =>
        {
            let (code, endpoint) = shared.cluster_response.lock().unwrap().clone();
            let body = json!({"cluster": {"endpoint": endpoint}, "endpoint": endpoint});
            Response::builder()
                .status(code)
                .body(Body::from(body.to_string()))
                .unwrap()
        }
        // The API server
        uri if uri.starts_with("/api") => {
            let known = [
                "azure-federated",
                "azure-managed",
                "google-machine",
                "google-impersonated",
                "k8s-aws-v1.",
            ];
            if shared.refuses.swap(false, Ordering::SeqCst)
                || !known
                    .iter()
                    .any(|token| authorization.starts_with(&format!("Bearer {token}")))
            {
                let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 401, "reason": "Unauthorized", "message": "Unauthorized"});
                return Response::builder()
                    .status(401)
                    .body(Body::from(status.to_string()))
                    .unwrap();
            }
            let admin = std::fs::read_to_string(testbed().state().join("pki/admin.token")).unwrap();
            let url = format!("https://{}{uri}", testbed().apiserver());
            let accept = header("accept");
            let answer = shared
                .http
                .get(url)
                .header("accept", accept)
                .bearer_auth(admin.trim())
                .send()
                .await
                .unwrap();
            let mut response = Response::builder().status(answer.status());
            if let Some(kind) = answer.headers().get("content-type") {
                response = response.header("content-type", kind);
            }
            response
                .body(Body::from(answer.bytes().await.unwrap()))
                .unwrap()
        }
        _ => refused(400),
    }
}

async fn works(api: &Api) {
    ServedKinds::discover(api)
        .await
        .unwrap()
        .config_maps()
        .unwrap();
}

/// Returns the presigned URL in the last token that the API server received.
fn presigned(clouds: &Clouds) -> String {
    let requests = clouds.requests_containing("[Bearer k8s-aws-v1.");
    let token = requests
        .last()
        .unwrap()
        .split("k8s-aws-v1.")
        .nth(1)
        .unwrap()
        .split(']')
        .next()
        .unwrap();
    String::from_utf8(URL_SAFE_NO_PAD.decode(token).unwrap()).unwrap()
}

#[tokio::test]
async fn eks_takes_keys_roles_and_the_machines_identity() {
    let clouds = Clouds::start().await;
    let clock = Clock::system();
    let sts = ("AWS_ENDPOINT_URL_STS", format!("{}/", clouds.url()));
    let keys = json!({"access_key_id": "AKIAPLAN", "secret_access_key": "marked-plan"});
    let api = clouds
        .connect(
            clouds.machine(&[]),
            json!({"aws_auth": {"region": "eu-west-1", "static": keys}}),
            &clock,
        )
        .await
        .unwrap();
    works(&api).await;
    let url = presigned(&clouds);
    assert!(
        url.starts_with("https://sts.eu-west-1.amazonaws.com/?Action=GetCallerIdentity&"),
        "{url}"
    );
    assert!(
        url.contains("X-Amz-Credential=AKIAPLAN%2F")
            && url.contains("X-Amz-SignedHeaders=host%3Bx-k8s-aws-id"),
        "{url}"
    );
    assert!(!url.contains("marked-plan"));

    let two_steps =
        json!({"iam_role_arn": "arn:aws:iam::1:role/step", "src_static_credentials": keys});
    let role = json!({"role_arn": "arn:aws:iam::1:role/maintenance", "session_name": "maintenance", "two_step_config": two_steps});
    let auth = json!({"aws_auth": {"region": "eu-west-1", "assume_role": role}});
    clouds
        .works(clouds.machine(std::slice::from_ref(&sts)), auth, &clock)
        .await;
    let assumed = clouds.requests_containing("Action=AssumeRole&");
    assert!(
        assumed[0].contains("role%2Fstep") && assumed[0].contains("Credential=AKIAPLAN"),
        "{assumed:?}"
    );
    assert!(
        assumed[1].contains("role%2Fmaintenance") && assumed[1].contains("Credential=ASIASTEP"),
        "{assumed:?}"
    );
    assert!(
        presigned(&clouds).contains("Credential=ASIAMAINTENANCE")
            && presigned(&clouds).contains("Security-Token=session-MAINTENANCE")
    );

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "web-token\n").unwrap();
    let web = [
        sts,
        ("AWS_ROLE_ARN", "arn:aws:iam::1:role/pod".into()),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", file.to_str().unwrap().into()),
    ];
    let default = json!({"aws_auth": {"region": "eu-west-1", "use_default": true}});
    clouds
        .works(clouds.machine(&web), default.clone(), &clock)
        .await;
    assert!(presigned(&clouds).contains("Credential=ASIAWEB"));

    let instance = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", clouds.url())];
    clouds
        .works(clouds.machine(&instance), default.clone(), &clock)
        .await;
    assert!(presigned(&clouds).contains("Credential=ASIANODE"));

    let nowhere = [(
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
        "http://127.0.0.1:1".to_owned(),
    )];
    let refused = clouds
        .connect(clouds.machine(&nowhere), default, &clock)
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(
        refused.contains("this machine has no identity in AWS"),
        "{refused}"
    );
}

#[tokio::test]
async fn aks_takes_a_federated_token_or_the_managed_identity() {
    let clouds = Clouds::start().await;
    let clock = Clock::system();
    let auth = json!({"azure_auth": {"service_principal": {"subscription_id": "s", "subscription_tenant_id": "tenant"}}});
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "federated-token").unwrap();
    let federated = [
        ("AZURE_AUTHORITY_HOST", clouds.url()),
        ("AZURE_CLIENT_ID", "client".into()),
        ("AZURE_FEDERATED_TOKEN_FILE", file.to_str().unwrap().into()),
    ];
    clouds
        .works(clouds.machine(&federated), auth.clone(), &clock)
        .await;
    assert!(
        clouds.requests_containing("/tenant/oauth2/v2.0/token")[0]
            .contains("scope=6dae42f8-4368-4678-94ff-3960e28e3630")
    );
    assert!(
        !clouds
            .requests_containing("[Bearer azure-federated]")
            .is_empty()
    );

    let managed = [("AZURE_POD_IDENTITY_AUTHORITY_HOST", clouds.url())];
    clouds.works(clouds.machine(&managed), auth, &clock).await;
    assert!(
        !clouds
            .requests_containing("[Bearer azure-managed]")
            .is_empty()
    );
}

#[tokio::test]
async fn gke_takes_the_machines_account_or_one_that_it_impersonates() {
    let clouds = Clouds::start().await;
    let clock = Clock::system();
    let machine = [
        ("GCE_METADATA_HOST", clouds.address.to_string()),
        (
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS",
            clouds.url(),
        ),
    ];
    clouds
        .works(clouds.machine(&machine), json!({"gcp_auth": true}), &clock)
        .await;
    assert!(
        !clouds
            .requests_containing("[Bearer google-machine]")
            .is_empty()
    );
    let auth = json!({"gcp_auth": {"project_id": "p", "impersonate_service_account": "deploys@p.iam.gserviceaccount.com"}});
    clouds.works(clouds.machine(&machine), auth, &clock).await;
    assert!(
        !clouds
            .requests_containing("[Bearer google-impersonated]")
            .is_empty()
    );
    let evil = json!({"gcp_auth": {"impersonate_service_account": "x/../../y"}});
    assert!(
        clouds
            .connect(clouds.machine(&machine), evil, &clock)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn tokens_are_renewed_before_they_end() {
    let clouds = Clouds::start().await;
    let (clock, hand) = Clock::manual("2026-01-01T00:00:00Z".parse().unwrap());
    let managed = [("AZURE_POD_IDENTITY_AUTHORITY_HOST", clouds.url())];
    let auth = json!({"azure_auth": {"use_default": true}});
    let api = clouds
        .connect(clouds.machine(&managed), auth, &clock)
        .await
        .unwrap();
    works(&api).await;
    works(&api).await;
    assert_eq!(clouds.requests_containing("/metadata/identity").len(), 1);
    hand.advance(Duration::from_secs(3500));
    works(&api).await;
    assert_eq!(
        clouds.requests_containing("/metadata/identity").len(),
        2,
        "two minutes before its end"
    );
    clouds.refuses.store(true, Ordering::SeqCst);
    works(&api).await;
    assert_eq!(
        clouds.requests_containing("/metadata/identity").len(),
        3,
        "the cluster did not take it any more"
    );
}

/// No token is sent in clear text, because a cloud's token can be valid for more than the cluster.
#[tokio::test]
async fn no_token_is_sent_in_clear_text_to_another_machine() {
    let clouds = Clouds::start().await;
    let managed = [("AZURE_POD_IDENTITY_AUTHORITY_HOST", clouds.url())];
    let info = json!({"endpoint": "http://10.0.0.1:8080", "azure_auth": {"use_default": true}});
    let refused = clouds
        .connect(clouds.machine(&managed), info, &Clock::system())
        .await
        .err()
        .unwrap();
    assert!(
        matches!(refused, ConnectError::Unprotected { .. }),
        "{refused}"
    );
    assert!(clouds.requests_containing("").is_empty());
}

/// A plan's kubeconfig may not disable the check of the server's certificate.
#[tokio::test]
async fn a_plan_may_not_skip_the_check_of_the_servers_certificate() {
    let clouds = Clouds::start().await;
    let config = "{apiVersion: v1, kind: Config, current-context: c, \
                  clusters: [{name: c, cluster: {server: 'https://10.0.0.1:6443', insecure-skip-tls-verify: true}}], \
                  contexts: [{name: c, context: {cluster: c, user: u}}], users: [{name: u, user: {token: t}}]}";
    let info = json!({"kube_config": config});
    let refused = clouds
        .connect(clouds.machine(&[]), info, &Clock::system())
        .await
        .err()
        .unwrap();
    assert!(
        matches!(refused, ConnectError::Unprotected { .. }),
        "{refused}"
    );
}

/// A plan may name an endpoint, but a token is sent there only if the cloud reports it for the
/// cluster.
#[tokio::test]
async fn tokens_are_sent_only_to_the_endpoint_that_the_cloud_reports() {
    let clouds = Clouds::start().await;
    let clock = Clock::system();
    let machine = [
        ("GCE_METADATA_HOST", clouds.address.to_string()),
        ("CLOUDSDK_API_ENDPOINT_OVERRIDES_CONTAINER", clouds.url()),
        ("AZURE_POD_IDENTITY_AUTHORITY_HOST", clouds.url()),
        ("AWS_ENDPOINT_URL_EKS", clouds.url()),
        ("AWS_ACCESS_KEY_ID", "AKIAMACHINE".into()),
        ("AWS_SECRET_ACCESS_KEY", "marked-machine".into()),
    ];
    let aws = json!({"aws_auth": {"region": "eu-west-1", "use_default": true}});
    let google = json!({"gcp_auth": {"project_id": "p", "region": "r"}});
    let set_response = |code: u16, endpoint: &str| {
        *clouds.cluster_response.lock().unwrap() = (code, endpoint.to_owned())
    };
    for info in [&aws, &google] {
        set_response(200, "https://127.0.0.1");
        works(
            &clouds
                .connect_trusting(&[], clouds.machine(&machine), info.clone(), &clock)
                .await
                .unwrap(),
        )
        .await;
        for (code, endpoint) in [(200, "https://10.9.9.9"), (404, ""), (403, ""), (500, "")] {
            set_response(code, endpoint);
            let before = clouds.requests_containing("[Bearer k8s-aws-v1.").len()
                + clouds.requests_containing("/api").len();
            let refused = clouds
                .connect_trusting(&[], clouds.machine(&machine), info.clone(), &clock)
                .await;
            let refused = refused.err().unwrap().to_string();
            assert!(
                refused.contains("no token is sent to 127.0.0.1"),
                "{code}: {refused}"
            );
            assert_eq!(
                clouds.requests_containing("[Bearer k8s-aws-v1.").len()
                    + clouds.requests_containing("/api").len(),
                before
            );
        }
    }
    let signed = clouds.requests_containing("/clusters/shop?");
    assert!(
        signed[0].contains("Credential=AKIAMACHINE%2F")
            && signed[0].contains("%2Feks%2Faws4_request"),
        "{signed:?}"
    );
    assert!(
        clouds
            .requests_containing("scopes=")
            .iter()
            .any(|line| line.contains("userinfo.email"))
    );
    for info in [
        json!({"azure_auth": {"use_default": true}}),
        json!({"gcp_auth": true}),
    ] {
        let refused = clouds
            .connect_trusting(&[], clouds.machine(&machine), info, &clock)
            .await
            .err()
            .unwrap();
        assert!(
            refused.to_string().contains("deploy.allow_endpoints"),
            "{refused}"
        );
    }
    assert!(
        clouds.requests_containing("/metadata/identity").is_empty(),
        "no token is requested that could not be sent"
    );
}

/// The certificate in `ca_data` verifies the cluster, with an identity as with a token.
#[tokio::test]
async fn the_plans_certificate_verifies_the_cluster() {
    let clouds = Clouds::start().await;
    let managed = [("AZURE_POD_IDENTITY_AUTHORITY_HOST", clouds.url())];
    let info = |ca: &[u8]| json!({"endpoint": format!("https://{}", testbed().apiserver()), "ca_data": STANDARD.encode(ca), "azure_auth": {"use_default": true}});
    let trusted = std::fs::read(testbed().authority()).unwrap();
    let api = clouds
        .connect(clouds.machine(&managed), info(&trusted), &Clock::system())
        .await
        .unwrap();
    // The real API server rejects the fake's token, over a trusted connection.
    let refused = ServedKinds::discover(&api).await.err().unwrap();
    assert!(refused.is_forbidden(), "{refused}");
}

/// A pod's service account. Its token is requested from the real API server, which authenticates
/// and authorizes it.
#[tokio::test]
async fn a_pod_connects_to_its_own_cluster() {
    let fixture = ClusterFixture::new().await;
    let may_read = format!(
        "{{apiVersion: v1, kind: ServiceAccount, metadata: {{name: runner}}}}
---
{{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {{name: runner}},
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}},
subjects: [{{kind: ServiceAccount, name: runner, namespace: {}}}]}}
",
        fixture.namespace
    );
    fixture.apply("account", &may_read, &[]).expect_code(0);
    let path = format!(
        "/api/v1/namespaces/{}/serviceaccounts/runner/token",
        fixture.namespace
    );
    let token_request =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let answer = fixture.create(&path, token_request).await;
    let account = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &[u8]| std::fs::write(account.path().join(name), text).unwrap();
    write(
        "token",
        answer["status"]["token"].as_str().unwrap().as_bytes(),
    );
    write("namespace", fixture.namespace.as_bytes());
    write("ca.crt", &std::fs::read(testbed().authority()).unwrap());
    let server = format!("https://{}", testbed().apiserver());
    let (network, clock, stop) = (Network::default(), Clock::system(), Stop::default());
    let api = connect_by_service_account(server.clone(), account.path(), &network, &clock, &stop)
        .await
        .unwrap();
    assert_eq!(api.namespace(), fixture.namespace);
    let served = ServedKinds::discover(&api).await.unwrap();
    let maps = &served.config_maps().unwrap().api;
    assert!(
        api.get(maps, api.namespace(), "kube-root-ca.crt")
            .await
            .is_ok()
    );
    let refused = api
        .get(maps, "kube-system", "kube-root-ca.crt")
        .await
        .err()
        .unwrap();
    assert!(refused.is_forbidden(), "{refused}");

    std::fs::remove_file(account.path().join("token")).unwrap();
    let refused = connect_by_service_account(server, account.path(), &network, &clock, &stop)
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(
        refused.starts_with(&format!(
            "the service account in {} cannot be used",
            account.path().display()
        )),
        "{refused}"
    );
}
