//! Reads response bodies from outside: cluster, control plane, registries, token services, web
//! servers and cloud metadata services. A body is read up to a limit, which counts bytes after
//! decompression. A body that is too large is a final error, because a retry would return the same
//! body.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;

use super::error::chain;

/// Why a body could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The body has more bytes than allowed.
    #[error("the response is larger than {0} bytes")]
    TooLarge(usize),
    /// The JSON has more values than allowed; parsed values take many times the memory of their
    /// text.
    #[error("the response has more than {0} values")]
    TooMany(usize),
    /// The connection broke. The message contains no URL.
    #[error("{0}")]
    Broken(String),
}

/// Reads a response body of at most `limit` bytes.
///
/// # Errors
/// Fails if the body is larger or the connection breaks.
pub async fn read(response: reqwest::Response, limit: usize) -> Result<Bytes, BodyError> {
    let content = prefix(response, limit.saturating_add(1)).await?;
    if content.len() > limit {
        Err(BodyError::TooLarge(limit))
    } else {
        Ok(content)
    }
}

/// Reads at most the first `limit` bytes of a response body.
///
/// # Errors
/// [`BodyError::Broken`] if the connection breaks.
pub async fn prefix(mut response: reqwest::Response, limit: usize) -> Result<Bytes, BodyError> {
    let mut content = BytesMut::new();
    let broken = |error: reqwest::Error| BodyError::Broken(chain(&error.without_url()));
    while let Some(part) = response.chunk().await.map_err(broken)? {
        let remaining = limit - content.len();
        content.extend_from_slice(part.get(..remaining).unwrap_or(&part));
        if content.len() == limit {
            break;
        }
    }
    Ok(content.freeze())
}

/// Reads a body of any HTTP client, frame by frame.
///
/// # Errors
/// Fails if the body has more than `limit` bytes or the connection breaks.
pub async fn collect<B>(mut body: B, limit: usize) -> Result<Bytes, BodyError>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let mut content = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| BodyError::Broken(error.to_string()))?;
        let Some(part) = frame.data_ref() else {
            continue;
        };
        if content.len() + part.len() > limit {
            return Err(BodyError::TooLarge(limit));
        }
        content.extend_from_slice(part);
    }
    Ok(content.freeze())
}

/// Rejects JSON that may have more than `limit` values, before it is parsed. Counts `,`, `:`, `[`
/// and `{`, including those inside strings.
///
/// # Errors
/// [`BodyError::TooMany`] if the count exceeds `limit`.
pub fn check_values(json: &[u8], limit: usize) -> Result<(), BodyError> {
    let values = json
        .iter()
        .filter(|byte| matches!(byte, b',' | b'[' | b'{' | b':'))
        .count();
    if values > limit {
        Err(BodyError::TooMany(limit))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_is_read_up_to_its_limit() {
        let body =
            |text: &'static str| http_body_util::Full::new(Bytes::from_static(text.as_bytes()));
        assert_eq!(collect(body("12345"), 5).await.unwrap(), "12345");
        assert_eq!(collect(body("12345"), 4).await, Err(BodyError::TooLarge(4)));
        let response = |text: &'static str| reqwest::Response::from(http::Response::new(text));
        assert_eq!(read(response("12345"), 5).await.unwrap(), "12345");
        assert_eq!(
            read(response("12345"), 4).await,
            Err(BodyError::TooLarge(4))
        );
        assert_eq!(prefix(response("12345"), 2).await.unwrap(), "12");
        assert!(check_values(b"[{},{},{}]", 6).is_ok());
        assert!(check_values(b"[{},{},{}]", 5).is_err());
    }
}
