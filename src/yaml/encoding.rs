//! Encodings of YAML files: UTF-8, or UTF-16 with a byte order mark (YAML 1.2, section 5.2).

use std::borrow::Cow;

/// Why a file cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodingError {
    /// It is neither UTF-8 nor UTF-16.
    #[error("it is not UTF-8")]
    Utf8,
    /// It begins with the mark of UTF-16, and is not.
    #[error("it is not UTF-16, although it begins with its byte order mark")]
    Utf16,
}

/// Decodes a file. The result is borrowed exactly if the file is UTF-8.
///
/// # Errors
/// [`EncodingError`] names the encoding that the file does not have.
pub fn decode(bytes: &[u8]) -> Result<Cow<'_, str>, EncodingError> {
    let to_number: fn([u8; 2]) -> u16 = match bytes {
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        _ => {
            let text = std::str::from_utf8(bytes).map_err(|_| EncodingError::Utf8)?;
            return Ok(Cow::Borrowed(text));
        }
    };
    let (pairs, rest) = bytes.as_chunks::<2>();
    let numbers: Vec<u16> = pairs.iter().skip(1).map(|pair| to_number(*pair)).collect();
    match String::from_utf16(&numbers) {
        Ok(text) if rest.is_empty() => Ok(Cow::Owned(text)),
        _ => Err(EncodingError::Utf16),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_decoded_by_their_mark() {
        assert_eq!(decode("é".as_bytes()), Ok("é".into()));
        assert_eq!(decode(b"\xff\xfea\0\x3d\xd8\x00\xde"), Ok("a😀".into()));
        assert_eq!(decode(b"\xfe\xff\0a"), Ok("a".into()));
        assert_eq!(decode(b"\xe9"), Err(EncodingError::Utf8));
        for broken in [&b"\xff\xfea"[..], b"\xfe\xff\xd8\x3d"] {
            assert_eq!(decode(broken), Err(EncodingError::Utf16));
        }
    }
}
