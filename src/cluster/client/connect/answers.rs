//! What a cluster answers, bounded before anybody looks at it: the address may be anybody's.

use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, Limited};
use kube::client::Body;
use serde_json::{Value, json};
use tower::{BoxError, Service};

use crate::base::bounded;

/// The largest answer, after decompression. Lists come in pages, which become smaller where they do not fit.
const MAX_ANSWER: usize = 8 << 20;

/// The most values of an answer: each takes some hundred bytes of memory.
const MAX_VALUES: usize = 500_000;

/// The largest refusal.
const MAX_REFUSAL: usize = 256 << 10;

/// The most bytes of one stream of events, which is opened anew every few minutes.
const MAX_STREAM: usize = 64 << 20;

/// A body that was bounded.
pub type Answer = UnsyncBoxBody<Bytes, BoxError>;

/// Bounds the answers of a service.
#[derive(Clone)]
pub struct Bounded<S>(pub S);

impl<S, B> Service<Request<Body>> for Bounded<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError>,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError> + std::fmt::Display,
{
    type Response = Response<Answer>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Answer>, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let is_stream = request
            .uri()
            .query()
            .is_some_and(|query| query.split('&').any(|part| part == "watch=true"));
        let answer = self.0.call(request);
        Box::pin(async move {
            let (parts, body) = answer.await?.into_parts();
            if !parts.status.is_success() {
                let body = refusal(parts.status, bounded::collect(body, MAX_REFUSAL).await.ok());
                return Ok(Response::from_parts(parts, body));
            }
            if is_stream {
                return Ok(Response::from_parts(
                    parts,
                    Limited::new(body, MAX_STREAM).boxed_unsync(),
                ));
            }
            let bytes = bounded::collect(body, MAX_ANSWER).await?;
            bounded::check_values(&bytes, MAX_VALUES)?;
            Ok(Response::from_parts(parts, whole(bytes)))
        })
    }
}

/// A refusal in the API server's own form is passed on; any other is not quoted, for it may be of a server that is none.
fn refusal(status: http::StatusCode, body: Option<Bytes>) -> Answer {
    let is_status = |value: &Value| value.get("kind").and_then(Value::as_str) == Some("Status");
    let own: Option<Value> = body
        .and_then(|body| serde_json::from_slice(&body).ok())
        .filter(is_status);
    let status = own.unwrap_or_else(|| {
        let message = format!("the server answered {status}, not in the form of a Kubernetes API server");
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status.as_u16(), "message": message})
    });
    whole(status.to_string().into())
}

fn whole(bytes: Bytes) -> Answer {
    Full::new(bytes)
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// The layer.
pub fn layer<S>() -> impl tower::Layer<S, Service = Bounded<S>> {
    tower::layer::layer_fn(Bounded)
}
