//! Requests as they are sent, and what becomes of their responses, against a scripted API server.

mod version;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use kube::client::Body;
use kube::core::discovery::ApiResource;
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

use super::list::Select;
use super::{Api, Force, WriteMode};
use crate::base::clock::Clock;
use crate::base::stop::Stop;
use crate::cluster::client::ClusterError;
use crate::manifest::Object;

/// A request: method, path, sorted query, content type, body.
#[derive(Debug, PartialEq)]
struct Sent {
    method: Method,
    path: String,
    query: Vec<(String, String)>,
    content_type: String,
    body: Value,
}

/// Answers requests in order, and keeps them.
struct Server {
    api: Api,
    sent: Arc<Mutex<Vec<Sent>>>,
    _ticking: AbortOnDropHandle<()>,
}

impl Server {
    fn new(answers: Vec<(u16, Value)>) -> Self {
        let sent: Arc<Mutex<Vec<Sent>>> = Arc::default();
        let answers = Arc::new(Mutex::new(VecDeque::from(answers)));
        let service = tower::service_fn({
            let sent = sent.clone();
            move |request: http::Request<Body>| {
                let (sent, answers) = (sent.clone(), answers.clone());
                async move {
                    let request = read(request).await;
                    lock(&sent).push(request);
                    let (status, body) = lock(&answers).pop_front().unwrap();
                    let mut response =
                        http::Response::new(Body::from(body.to_string().into_bytes()));
                    *response.status_mut() = StatusCode::from_u16(status).unwrap();
                    Ok::<_, std::convert::Infallible>(response)
                }
            }
        });
        let (clock, handle) = Clock::manual(Timestamp::UNIX_EPOCH);
        let ticking = tokio::spawn(async move {
            loop {
                handle.advance(Duration::from_millis(250));
                tokio::task::yield_now().await;
            }
        });
        let client = kube::Client::new(service, "shop");
        Self {
            api: Api::new(
                client,
                "https://a.test:6443/".into(),
                None,
                clock,
                Stop::default(),
            ),
            sent,
            _ticking: AbortOnDropHandle::new(ticking),
        }
    }

    fn sent(&self) -> Vec<Sent> {
        std::mem::take(&mut lock(&self.sent))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn read(request: http::Request<Body>) -> Sent {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let query = parts.uri.query().unwrap_or_default();
    let mut query: Vec<_> = url::form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .collect();
    query.sort();
    let content_type = parts.headers.get(http::header::CONTENT_TYPE);
    Sent {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query,
        content_type: content_type
            .map_or("", |value| value.to_str().unwrap())
            .to_owned(),
        body: serde_json::from_slice(&body).unwrap_or_default(),
    }
}

fn sent(
    method: Method,
    path: &str,
    query: &[(&str, &str)],
    content_type: &str,
    body: Value,
) -> Sent {
    let query = query
        .iter()
        .map(|(key, value)| ((*key).into(), (*value).into()));
    Sent {
        method,
        path: path.into(),
        query: query.collect(),
        content_type: content_type.into(),
        body,
    }
}

fn deployments() -> ApiResource {
    ApiResource {
        group: "apps".into(),
        version: "v1".into(),
        api_version: "apps/v1".into(),
        kind: "Deployment".into(),
        plural: "deployments".into(),
    }
}

fn web() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {
        "name": "web", "namespace": "shop", "uid": "u1", "resourceVersion": "7"}})
}

fn object(value: Value) -> Object {
    match value {
        Value::Object(object) => Object(object),
        _ => panic!("no object"),
    }
}

fn refusal(code: u16, reason: &str) -> (u16, Value) {
    let message = match reason {
        "Forbidden" => "User \"runner\" cannot get resource \"deployments\"".to_owned(),
        other => format!("refused: {other}"),
    };
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code});
    (code, status)
}

const WEB: &str = "/apis/apps/v1/namespaces/shop/deployments/web";

#[tokio::test]
async fn a_read_is_a_get_and_only_404_is_absence() {
    let server = Server::new(vec![
        (200, web()),
        refusal(404, "NotFound"),
        refusal(403, "Forbidden"),
        (200, json!([])),
    ]);
    let get = async || server.api.get(&deployments(), "shop", "web").await;
    assert_eq!(get().await.unwrap(), Some(object(web())));
    assert_eq!(
        server.sent(),
        [sent(Method::GET, WEB, &[], "", Value::Null)]
    );
    assert_eq!(get().await.unwrap(), None);
    assert!(get().await.unwrap_err().is_forbidden());
    assert!(matches!(get().await, Err(ClusterError::Answer { .. })));
    // A cluster-scoped object has no namespace in its path.
    let server = Server::new(vec![refusal(404, "NotFound")]);
    server.api.get(&deployments(), "", "web").await.unwrap();
    assert_eq!(server.sent()[0].path, "/apis/apps/v1/deployments/web");
}

#[tokio::test]
async fn an_apply_names_the_manager_and_validates_strictly() {
    let server = Server::new(vec![(200, web()), (200, web()), refusal(409, "Conflict")]);
    let wanted = object(web());
    let apply = async |write, force| {
        server
            .api
            .apply(&deployments(), &wanted, "nuon-runner", write, force)
            .await
    };
    apply(WriteMode::Real, Force::No).await.unwrap();
    let query = [
        ("fieldManager", "nuon-runner"),
        ("fieldValidation", "Strict"),
    ];
    let yaml = "application/apply-patch+yaml";
    assert_eq!(
        server.sent(),
        [sent(Method::PATCH, WEB, &query, yaml, web())]
    );
    apply(WriteMode::DryRun, Force::Yes).await.unwrap();
    let query = [
        ("dryRun", "All"),
        ("fieldManager", "nuon-runner"),
        ("fieldValidation", "Strict"),
        ("force", "true"),
    ];
    assert_eq!(
        server.sent(),
        [sent(Method::PATCH, WEB, &query, yaml, web())]
    );
    let refused = apply(WriteMode::Real, Force::No).await.unwrap_err();
    assert!(
        refused
            .to_string()
            .starts_with("the cluster refused to apply Deployment/shop/web")
    );
}

#[tokio::test]
async fn managed_fields_are_replaced_in_the_version_that_was_read() {
    let server = Server::new(vec![(200, web())]);
    let fields = json!([{"manager": "nuon-runner"}]);
    server
        .api
        .set_managed_fields(&deployments(), &object(web()), fields.clone())
        .await
        .unwrap();
    let body = json!({"metadata": {"managedFields": fields, "resourceVersion": "7"}});
    let merge = "application/merge-patch+json";
    assert_eq!(server.sent(), [sent(Method::PATCH, WEB, &[], merge, body)]);
}

#[tokio::test]
async fn a_delete_has_the_uid_that_was_read() {
    let server = Server::new(vec![
        (200, web()),
        refusal(404, "NotFound"),
        refusal(409, "Conflict"),
    ]);
    let live = object(web());
    let delete = async |version: Option<&str>| {
        server
            .api
            .delete(&deployments(), &live, version.map(str::to_owned))
            .await
    };
    assert!(delete(Some("7")).await.unwrap());
    let deletion = server.sent().remove(0);
    assert_eq!(
        (deletion.method, deletion.path.as_str()),
        (Method::DELETE, WEB)
    );
    let preconditions = json!({"uid": "u1", "resourceVersion": "7"});
    assert_eq!(deletion.body["preconditions"], preconditions);
    assert_eq!(deletion.body["propagationPolicy"], "Background");
    assert!(!delete(None).await.unwrap(), "it is gone already");
    assert!(delete(None).await.unwrap_err().is_conflict());
}

#[tokio::test]
async fn a_list_follows_its_pages_and_completes_its_items() {
    let page = |name: &str, next: &str| {
        (
            200,
            json!({"kind": "DeploymentList", "apiVersion": "apps/v1",
            "metadata": {"continue": next, "resourceVersion": "9"},
            "items": [{"metadata": {"name": name}}]}),
        )
    };
    let server = Server::new(vec![page("a", "more"), page("b", "")]);
    let all = server
        .api
        .list(&deployments(), "shop", "app=web")
        .await
        .unwrap();
    let names: Vec<_> = all
        .iter()
        .map(|object| (object.kind(), object.name()))
        .collect();
    assert_eq!(names, [("Deployment", "a"), ("Deployment", "b")]);
    let list = "/apis/apps/v1/namespaces/shop/deployments";
    let first = [("labelSelector", "app=web"), ("limit", "500")];
    let second = [
        ("continue", "more"),
        ("labelSelector", "app=web"),
        ("limit", "500"),
    ];
    let expected =
        [first.as_slice(), &second].map(|query| sent(Method::GET, list, query, "", Value::Null));
    assert_eq!(server.sent(), expected);
    let server = Server::new(vec![page("a", "")]);
    let select = Select::fields("metadata.name=a");
    let page = server
        .api
        .page(&deployments(), "", &select, None)
        .await
        .unwrap();
    assert_eq!(
        (page.objects.len(), page.resource_version.as_str()),
        (1, "9")
    );
    let query = [("fieldSelector", "metadata.name=a"), ("limit", "500")];
    let all_namespaces = "/apis/apps/v1/deployments";
    assert_eq!(
        server.sent(),
        [sent(Method::GET, all_namespaces, &query, "", Value::Null)]
    );
}

#[tokio::test]
async fn temporary_refusals_are_tried_again_and_500_only_a_few_times() {
    let busy = || refusal(503, "ServiceUnavailable");
    let server = Server::new(vec![busy(), refusal(429, "TooManyRequests"), (200, web())]);
    server.api.get(&deployments(), "shop", "web").await.unwrap();
    assert_eq!(server.sent().len(), 3);
    let broken = || refusal(500, "InternalError");
    let server = Server::new((0..9).map(|_| broken()).collect());
    server
        .api
        .get(&deployments(), "shop", "web")
        .await
        .unwrap_err();
    assert_eq!(server.sent().len(), 4);
    let server = Server::new(vec![refusal(422, "Invalid")]);
    server
        .api
        .get(&deployments(), "shop", "web")
        .await
        .unwrap_err();
    assert_eq!(server.sent().len(), 1);
}

#[tokio::test]
async fn a_stop_ends_the_attempts() {
    let server = Server::new(vec![]);
    server
        .api
        .stop
        .stop(crate::base::stop::StopCause::Cancelled);
    let error = server
        .api
        .get(&deployments(), "shop", "web")
        .await
        .unwrap_err();
    assert!(matches!(error, ClusterError::Stopped { .. }), "{error}");
    assert!(server.sent().is_empty());
}
