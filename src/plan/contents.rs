//! The packing of plan contents and displays: gzip, then base64 (protocol, section 5.6).

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use flate2::{Compression, GzBuilder};

use crate::workspace::archive;

/// The most that contents may expand to.
pub const LONGEST: u64 = 64 << 20;

/// Contents that cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum ContentsError {
    /// Not base64 in any of the three alphabets in use.
    #[error("the plan contents are not base64")]
    Encoding,
    /// Not gzip, or too much of it.
    #[error("the plan contents cannot be unpacked")]
    Compression(#[source] archive::ArchiveError),
    /// Not text.
    #[error("the plan contents are not UTF-8")]
    Text,
}

/// Packs a text as the control plane takes it: gzip, base64 with the URL-safe alphabet and padding.
/// Equal texts give equal bytes.
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

/// Unpacks contents in any encoding in use; a text that begins with `{` is taken as it is.
///
/// # Errors
/// [`ContentsError`].
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
    let text = archive::expand(&bytes, LONGEST).map_err(ContentsError::Compression)?;
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
