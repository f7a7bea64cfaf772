//! Encoding of plan contents and displays: gzip, then base64 (`docs/wire-contract.md`, encodings of
//! plan contents).

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use flate2::{Compression, GzBuilder};

use crate::workspace::archive;

/// Maximum size of unpacked contents, in bytes.
pub const MAX_UNPACKED_SIZE: u64 = 64 << 20;

/// Why contents cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum ContentsError {
    /// Not base64 in any of the three alphabets in use.
    #[error("the plan contents are not base64")]
    Encoding,
    /// Not gzip, or larger than [`MAX_UNPACKED_SIZE`].
    #[error("the plan contents cannot be unpacked")]
    Compression(#[source] archive::ArchiveError),
    /// Not UTF-8.
    #[error("the plan contents are not UTF-8")]
    Text,
}

/// Packs a text as the control plane expects it: gzip, then URL-safe base64 with padding.
/// Deterministic: equal texts give equal results.
pub fn pack(text: &str) -> String {
    let mut gzip = GzBuilder::new()
        .mtime(0)
        .operating_system(255)
        .write(Vec::new(), Compression::default());
    // Writing to memory cannot fail.
    let packed = gzip
        .write_all(text.as_bytes())
        .and_then(|()| gzip.finish())
        .unwrap_or_default();
    URL_SAFE.encode(packed)
}

/// Unpacks contents in any encoding in use. A text that starts with `{` is returned as is.
///
/// # Errors
/// Fails if the contents are not base64 of gzip, too large when unpacked, or not UTF-8.
pub fn unpack(contents: &str) -> Result<String, ContentsError> {
    let contents = contents.trim();
    if contents.starts_with('{') {
        return Ok(contents.to_owned());
    }
    let engines = [&URL_SAFE, &STANDARD, &URL_SAFE_NO_PAD];
    let bytes = engines
        .iter()
        .find_map(|engine| engine.decode(contents).ok())
        .ok_or(ContentsError::Encoding)?;
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Err(ContentsError::Compression(archive::ArchiveError::Broken(
            std::io::ErrorKind::InvalidData.into(),
        )));
    }
    let text = archive::expand(&bytes, MAX_UNPACKED_SIZE).map_err(ContentsError::Compression)?;
    String::from_utf8(text).map_err(|_| ContentsError::Text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_come_back_in_every_encoding() {
        let packed = pack("{\"op\":\"apply\"}");
        assert_eq!(packed, pack("{\"op\":\"apply\"}"));
        let bytes = URL_SAFE.decode(&packed).unwrap();
        for text in [
            packed,
            STANDARD.encode(&bytes),
            URL_SAFE_NO_PAD.encode(&bytes),
            "{\"op\":\"apply\"}".into(),
        ] {
            assert_eq!(unpack(&text).unwrap(), "{\"op\":\"apply\"}");
        }
        assert!(unpack("%%%").is_err() && unpack("aGVsbG8=").is_err());
    }
}
