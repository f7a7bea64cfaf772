//! Clusters named by a plan that respond without end, with oversized bodies, or with text of other
//! services.

use std::io::Write as _;
use std::process::{Command, Output};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::core::discovery::ApiResource;
use nuon_runner::base::clock::Clock;
use nuon_runner::base::stop::Stop;
use nuon_runner::cluster::client::ClusterError;
use nuon_runner::cluster::client::connect::{Network, connect};
use nuon_runner::plan::DeployPlan;

use crate::support::parts::loopback_guard;

/// Response of the server to every request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    /// Some MB of gzip that decompress to gigabytes.
    Bomb,
    /// A body without end.
    Endless,
    /// A list of millions of empty objects.
    Many,
    /// A list that always has another page.
    Pages,
    /// Deeply nested brackets.
    Deep,
    /// A response of another service, with this status.
    Foreign(u16),
    /// An error response of many megabytes.
    LargeRefusal,
}

const SECRET: &str = "marked-words-of-another-service";

async fn serve(answer: Answer) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().fallback(reply).with_state(answer);
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

async fn reply(State(answer): State<Answer>) -> Response<Body> {
    let json = || Response::builder().header("content-type", "application/json");
    let endless = || {
        let chunk = bytes::Bytes::from(vec![b' '; 1 << 16]);
        Body::from_stream(futures_util::stream::repeat_with(move || {
            Ok::<_, std::io::Error>(chunk.clone())
        }))
    };
    match answer {
        Answer::Bomb => json()
            .header("content-encoding", "gzip")
            .body(BOMB.clone().into())
            .unwrap(),
        Answer::Endless => json().body(endless()).unwrap(),
        Answer::Many => json()
            .body(format!("{{\"items\":[{}{{}}]}}", "{},".repeat(5_000_000)).into())
            .unwrap(),
        Answer::Pages => {
            let object =
                serde_json::json!({"metadata": {"name": "x"}, "data": {"k": "v".repeat(10_000)}});
            let page =
                serde_json::json!({"metadata": {"continue": "more"}, "items": vec![object; 400]});
            json().body(page.to_string().into()).unwrap()
        }
        Answer::Deep => json().body("[".repeat(10_000_000).into()).unwrap(),
        Answer::Foreign(code) => Response::builder()
            .status(code)
            .body(format!("<html>{SECRET}</html>").into())
            .unwrap(),
        Answer::LargeRefusal => {
            let text = format!(
                "{{\"kind\":\"Status\",\"message\":\"{}\"}}",
                SECRET.repeat(1_000_000)
            );
            Response::builder()
                .status(StatusCode::FORBIDDEN)
                .body(text.into())
                .unwrap()
        }
    }
}

/// Two gzip members, each with a gigabyte of spaces.
static BOMB: LazyLock<bytes::Bytes> = LazyLock::new(|| {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let spaces = vec![b' '; 1 << 20];
    for _ in 0..1 << 10 {
        gzip.write_all(&spaces).unwrap();
    }
    gzip.finish().unwrap().repeat(2).into()
});

/// Runs `plan` against the server, with a memory limit of 256 MiB.
fn plan(server: &str) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let config = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{{name: k, cluster: \
         {{server: {server:?}}}}}]\nusers: [{{name: u, user: {{token: \
         marked-token}}}}]\ncontexts: [{{name: c, context: {{cluster: k, user: u}}}}]\n"
    );
    std::fs::write(dir.path().join("kubeconfig"), config).unwrap();
    let object = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: b}\n";
    std::fs::write(dir.path().join("a.yaml"), object).unwrap();
    Command::new("timeout")
        .args([
            "60",
            "prlimit",
            "--data=268435456",
            env!("CARGO_BIN_EXE_nuon-runner"),
            "plan",
            "-f",
        ])
        .arg(dir.path().join("a.yaml"))
        .args(["-n", "default", "--component", "web", "--kubeconfig"])
        .arg(dir.path().join("kubeconfig"))
        .output()
        .unwrap()
}

async fn refused(answer: Answer) -> String {
    let server = serve(answer).await;
    let begun = Instant::now();
    let output = tokio::task::spawn_blocking(move || plan(&server))
        .await
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        matches!(output.status.code(), Some(1 | 5)),
        "{answer:?}: {:?} {error}",
        output.status
    );
    assert!(!error.contains(SECRET), "{answer:?}: {error}");
    assert!(
        error.len() < 3_000,
        "{answer:?}: an error of {} bytes",
        error.len()
    );
    assert!(
        begun.elapsed() < Duration::from_secs(45),
        "{answer:?}: {:?}",
        begun.elapsed()
    );
    error
}

#[tokio::test]
async fn oversized_responses_are_final_and_take_little_memory() {
    LazyLock::force(&BOMB);
    for answer in [Answer::Bomb, Answer::Endless, Answer::Many] {
        let error = refused(answer).await;
        assert!(
            error.contains("the response is larger than")
                || error.contains("the response has more than"),
            "{answer:?}: {error}"
        );
    }
    refused(Answer::LargeRefusal).await;
}

#[tokio::test]
async fn text_of_other_services_is_not_passed_on() {
    for code in [400, 401, 403, 404, 422] {
        let error = refused(Answer::Foreign(code)).await;
        assert!(
            error.contains(&code.to_string()) || code == 404 || code == 401,
            "{code}: {error}"
        );
    }
}

#[tokio::test]
async fn deeply_nested_json_is_an_error() {
    refused(Answer::Deep).await;
}

#[tokio::test]
async fn an_endless_list_is_given_up() {
    let server = serve(Answer::Pages).await;
    let cluster = serde_json::json!({"id": "c", "endpoint": server, "token": "marked-token"});
    let plan =
        serde_json::json!({"kubernetes_manifest": {"cluster_info": cluster, "manifest": "x"}});
    let plan = DeployPlan::parse(&plan.to_string()).unwrap();
    let network = Network::default().guarded(loopback_guard());
    let (clock, stop) = (Clock::system(), Stop::default());
    let api = connect(plan.manifest.cluster.as_ref(), &network, &clock, &stop)
        .await
        .unwrap();
    let error = api
        .list(&ApiResource::erase::<ConfigMap>(&()), "default", "")
        .await
        .unwrap_err();
    assert!(matches!(error, ClusterError::TooLarge { .. }), "{error}");
}
