//! Bodies from outside, read up to a limit. A body that is larger is final: it would be as large again.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;

use super::error::chain;

/// Why a body was not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It has more bytes than allowed, counted after any decompression.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// The connection broke. The text holds no address.
    #[error("{0}")]
    Broken(String),
}

/// Reads the body of an answer.
///
/// # Errors
/// [`BodyError`].
pub async fn read(mut answer: reqwest::Response, limit: usize) -> Result<Vec<u8>, BodyError> {
    let mut content = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(|error| BodyError::Broken(chain(&error.without_url())))? {
        if content.len() + part.len() > limit {
            return Err(BodyError::TooLarge(limit));
        }
        content.extend_from_slice(&part);
    }
    Ok(content)
}

/// Reads a body of any client frame by frame.
///
/// # Errors
/// [`BodyError`].
pub async fn collect<B>(mut body: B, limit: usize) -> Result<Bytes, BodyError>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: std::error::Error,
{
    let mut content = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| BodyError::Broken(chain(&error)))?;
        let Some(part) = frame.data_ref() else { continue };
        if content.len() + part.len() > limit {
            return Err(BodyError::TooLarge(limit));
        }
        content.extend_from_slice(part);
    }
    Ok(content.freeze())
}
