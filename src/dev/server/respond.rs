//! Responses of the local control plane.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::Response;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;

use crate::dev::answer::Answer;

/// Error that closes a connection without a response.
#[derive(Debug, thiserror::Error)]
#[error("the connection was cut on purpose")]
pub(super) struct ConnectionClosed;

pub(super) type Body = http_body_util::combinators::BoxBody<Bytes, ConnectionClosed>;

pub(super) fn respond(answer: Answer) -> Response<Body> {
    let body = http_body_util::Full::new(Bytes::from(answer.body))
        .map_err(|never: Infallible| match never {})
        .boxed();
    let mut response = Response::new(body);
    *response.status_mut() =
        http::StatusCode::from_u16(answer.status).unwrap_or(http::StatusCode::OK);
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static(answer.content_type),
    );
    response
}

/// Returns a response whose body ends after half of its length.
pub(super) fn truncated(answer: Answer) -> Response<Body> {
    let body = Bytes::from(answer.body);
    let whole = body.len();
    let half = body.slice(..whole / 2);
    let cut = async {
        // Waits until the first half is sent.
        tokio::time::sleep(Duration::from_millis(20)).await;
        Err(ConnectionClosed)
    };
    let frames =
        futures_util::stream::iter([Ok(Frame::data(half))]).chain(futures_util::stream::once(cut));
    let mut response = respond(Answer {
        body: Vec::new(),
        ..answer
    });
    *response.body_mut() = http_body_util::BodyExt::boxed(StreamBody::new(frames));
    response
        .headers_mut()
        .insert(http::header::CONTENT_LENGTH, whole.max(1).into());
    response
}
