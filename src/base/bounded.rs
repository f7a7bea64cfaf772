//! The one reader of bodies from outside: cluster, control plane, registries, token services, the web, and the clouds'
//! metadata. A body is read up to a limit, counted after any decompression; one that is larger is final, for it would be
//! as large again.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;

use super::error::chain;

/// Why a body was not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It has more bytes than allowed.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// It has more values than allowed, whose memory is many times their text.
    #[error("the answer has more than {0} values")]
    TooMany(usize),
    /// The connection broke. The text holds no address.
    #[error("{0}")]
    Broken(String),
}

/// Reads the body of an answer.
///
/// # Errors
/// [`BodyError`].
pub async fn read(answer: reqwest::Response, limit: usize) -> Result<Bytes, BodyError> {
    let content = prefix(answer, limit.saturating_add(1)).await?;
    if content.len() > limit {
        Err(BodyError::TooLarge(limit))
    } else {
        Ok(content)
    }
}

/// Reads the beginning of the body of an answer, of at most `limit` bytes.
///
/// # Errors
/// [`BodyError::Broken`].
pub async fn prefix(mut answer: reqwest::Response, limit: usize) -> Result<Bytes, BodyError> {
    let mut content = BytesMut::new();
    let broken = |error: reqwest::Error| BodyError::Broken(chain(&error.without_url()));
    while let Some(part) = answer.chunk().await.map_err(broken)? {
        let room = limit - content.len();
        content.extend_from_slice(part.get(..room).unwrap_or(&part));
        if content.len() == limit {
            break;
        }
    }
    Ok(content.freeze())
}

/// Reads a body of any client, frame by frame.
///
/// # Errors
/// [`BodyError`].
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

/// Refuses JSON of more values than `limit`, before it is parsed. Commas and brackets in texts count, too.
///
/// # Errors
/// [`BodyError::TooMany`].
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
        let answer = |text: &'static str| reqwest::Response::from(http::Response::new(text));
        assert_eq!(read(answer("12345"), 5).await.unwrap(), "12345");
        assert_eq!(read(answer("12345"), 4).await, Err(BodyError::TooLarge(4)));
        assert_eq!(prefix(answer("12345"), 2).await.unwrap(), "12");
        assert!(check_values(b"[{},{},{}]", 6).is_ok());
        assert!(check_values(b"[{},{},{}]", 5).is_err());
    }
}
