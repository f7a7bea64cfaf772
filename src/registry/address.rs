//! Addresses of repositories, and the tags and digests of artifacts in them.

use oci_client::Reference;

use super::{Digest, RegistryError};
use crate::base::url_mask::mask_address;

/// A host and a repository name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    host: String,
    name: String,
}

/// A tag or digest (the distribution specification's *reference*).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Version {
    /// The artifact that currently has this tag.
    Tag(String),
    /// The artifact with this digest.
    Digest(Digest),
}

impl Address {
    /// Parses `host[:port]/name`. A name without a host is resolved on Docker Hub, as in docker.
    ///
    /// # Errors
    /// Fails if the text is not an address, or also has a tag or digest.
    pub fn parse(text: &str) -> Result<Self, RegistryError> {
        let bad = || RegistryError::Address(mask_address(text).chars().take(300).collect());
        let reference: Reference = text.parse().map_err(|_| bad())?;
        let has_more = reference.digest().is_some()
            || text
                .rsplit('/')
                .next()
                .is_some_and(|last| last.contains(':'));
        if has_more || reference.repository().is_empty() {
            return Err(bad());
        }
        Ok(Self {
            host: reference.resolve_registry().to_owned(),
            name: reference.repository().to_owned(),
        })
    }

    /// Returns `host[:port]`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the name of the repository on its host.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.host, self.name)
    }
}

impl Version {
    /// Parses a tag.
    ///
    /// # Errors
    /// Fails unless the text is 1 to 128 letters, digits, `_`, `.` and `-`, and starts with neither
    /// `.` nor `-`.
    pub fn tag(text: &str) -> Result<Self, RegistryError> {
        let first = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        let rest = text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        if first && rest && text.len() <= 128 {
            return Ok(Self::Tag(text.to_owned()));
        }
        Err(RegistryError::Address(text.chars().take(200).collect()))
    }

    /// Parses a digest.
    ///
    /// # Errors
    /// Fails unless the text is a SHA-256 digest.
    pub fn digest(text: &str) -> Result<Self, RegistryError> {
        text.parse()
            .map(Self::Digest)
            .map_err(|_| RegistryError::Address(text.chars().take(200).collect()))
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => f.write_str(digest.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_host_and_a_name_and_nothing_else() {
        let parse = |text: &str| Address::parse(text).map(|address| address.to_string()).ok();
        assert_eq!(
            parse("127.0.0.1:5000/a/b").as_deref(),
            Some("127.0.0.1:5000/a/b")
        );
        assert_eq!(
            parse("nginx").as_deref(),
            Some("index.docker.io/library/nginx")
        );
        for bad in [
            "",
            "h/a:tag",
            "h/a@sha256:00",
            "H/../x",
            "h/A",
            "http://h/a",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert!(
            Version::tag("v1.0_x-y").is_ok()
                && Version::tag("../x").is_err()
                && Version::tag("-x").is_err()
        );
        assert!(Version::digest("sha256:../../etc").is_err() && Version::digest("md5:00").is_err());
    }
}
