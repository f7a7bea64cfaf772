//! Bounds the responses of a cluster before they are parsed. A plan chooses the address, so the
//! server is untrusted.

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
use crate::cluster::client::warning::Warnings;

/// Maximum size of a response in bytes, after decompression. Lists are paged, with smaller pages
/// where they do not fit.
const MAX_RESPONSE_BYTES: usize = 8 << 20;

/// Maximum number of JSON values in a response. Each takes some hundred bytes of memory.
const MAX_VALUES: usize = 500_000;

/// Maximum size of an error response, in bytes.
const MAX_ERROR_BYTES: usize = 256 << 10;

/// Maximum size of one watch stream, in bytes. Streams are reopened every few minutes.
const MAX_WATCH_BYTES: usize = 64 << 20;

/// A response body within the limits.
pub type BoundedBody = UnsyncBoxBody<Bytes, BoxError>;

/// A service that bounds the responses of another one.
#[derive(Clone)]
pub struct BoundedService<S>(pub S);

impl<S, B> Service<Request<Body>> for BoundedService<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError>,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError> + std::fmt::Display,
{
    type Response = Response<BoundedBody>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<BoundedBody>, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let is_stream = request
            .uri()
            .query()
            .is_some_and(|query| query.split('&').any(|part| part == "watch=true"));
        let warnings = request.extensions().get::<Warnings>().cloned();
        let response = self.0.call(request);
        Box::pin(async move {
            let (parts, body) = response.await?.into_parts();
            if let Some(warnings) = warnings {
                warnings.learn(&parts.headers);
            }
            if !parts.status.is_success() {
                let body = error_body(
                    parts.status,
                    bounded::collect(body, MAX_ERROR_BYTES).await.ok(),
                );
                return Ok(Response::from_parts(parts, body));
            }
            if is_stream {
                return Ok(Response::from_parts(
                    parts,
                    Limited::new(body, MAX_WATCH_BYTES).boxed_unsync(),
                ));
            }
            let bytes = bounded::collect(body, MAX_RESPONSE_BYTES).await?;
            bounded::check_values(&bytes, MAX_VALUES)?;
            Ok(Response::from_parts(parts, full_body(bytes)))
        })
    }
}

/// Passes on an error response if it is a Kubernetes `Status`. Any other is not quoted, because it
/// may come from a server that is not a Kubernetes API server.
fn error_body(status: http::StatusCode, body: Option<Bytes>) -> BoundedBody {
    let is_status = |value: &Value| value.get("kind").and_then(Value::as_str) == Some("Status");
    let own: Option<Value> = body
        .and_then(|body| serde_json::from_slice(&body).ok())
        .filter(is_status);
    let status = own.unwrap_or_else(|| {
        let message = format!("the server answered {status}, but not with a Kubernetes Status object");
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status.as_u16(), "message": message})
    });
    full_body(status.to_string().into())
}

fn full_body(bytes: Bytes) -> BoundedBody {
    Full::new(bytes)
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// Returns the layer that adds [`BoundedService`].
pub fn layer<S>() -> impl tower::Layer<S, Service = BoundedService<S>> {
    tower::layer::layer_fn(BoundedService)
}
