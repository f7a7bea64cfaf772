//! References to artifacts, as people write them: `oci://HOST/NAME[:TAG][@DIGEST]`, or
//! `oci-layout:PATH[:TAG][@DIGEST]` for an image layout on disk.

use std::path::PathBuf;

use super::{Address, RegistryError, Version};

/// Scheme of an artifact in a registry.
const REGISTRY: &str = "oci://";

/// Scheme of an artifact in an image layout.
const LAYOUT: &str = "oci-layout:";

/// Tag of a reference without tag and digest.
const DEFAULT_TAG: &str = "latest";

/// Where an artifact is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A repository of a registry.
    Registry(Address),
    /// An image layout in this directory.
    Layout(PathBuf),
}

/// A reference to an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Where it is.
    pub place: Place,
    /// Its tag, if the reference names one.
    pub tag: Option<String>,
    /// What is read: the digest, else the tag, else the tag `latest`.
    pub version: Version,
}

impl Reference {
    /// Returns true for texts that are meant as references.
    pub fn is_meant(text: &str) -> bool {
        text.starts_with(REGISTRY) || text.starts_with(LAYOUT)
    }

    /// Parses a reference. Without a scheme it is one to a registry.
    ///
    /// # Errors
    /// [`RegistryError::Address`] if the text is no reference.
    pub fn parse(text: &str) -> Result<Self, RegistryError> {
        let layout = text.strip_prefix(LAYOUT);
        let rest = layout.unwrap_or_else(|| text.strip_prefix(REGISTRY).unwrap_or(text));
        let (name, digest) = match rest.split_once("@sha256:") {
            Some((name, hex)) => (name, Some(Version::digest(&format!("sha256:{hex}"))?)),
            None => (rest, None),
        };
        // A colon before the last slash belongs to a port or a directory.
        let (name, tag) = match name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')) {
            Some((name, tag)) => (name, Some(tag.to_owned())),
            None => (name, None),
        };
        let tagged = Version::tag(tag.as_deref().unwrap_or(DEFAULT_TAG))?;
        let place = match layout {
            Some(_) if name.is_empty() => return Err(RegistryError::Address(text.to_owned())),
            Some(_) => Place::Layout(name.into()),
            None => Place::Registry(Address::parse(name)?),
        };
        Ok(Self {
            place,
            tag,
            version: digest.unwrap_or(tagged),
        })
    }

    /// Returns the tag to write: the one that the reference names, else `latest`.
    pub fn tag_to_write(&self) -> &str {
        self.tag.as_deref().unwrap_or(DEFAULT_TAG)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_digests_are_told_from_ports_and_folders() {
        let hex = "a".repeat(64);
        let read = |text: &str| {
            let reference = Reference::parse(text).ok()?;
            let place = match reference.place {
                Place::Registry(address) => address.to_string(),
                Place::Layout(path) => format!("layout {}", path.display()),
            };
            Some((place, reference.tag, reference.version.to_string()))
        };
        let digest = format!("sha256:{hex}");
        for (text, place, tag, version) in [
            ("oci://h:5000/a/b", "h:5000/a/b", None, "latest"),
            ("oci://h:5000/a:v1", "h:5000/a", Some("v1"), "v1"),
            ("r.example/a:v1", "r.example/a", Some("v1"), "v1"),
            (
                &format!("oci://r.example/a:v1@{digest}"),
                "r.example/a",
                Some("v1"),
                &digest,
            ),
            (
                &format!("oci://r.example/a@{digest}"),
                "r.example/a",
                None,
                &digest,
            ),
            ("oci-layout:a:b/c", "layout a:b/c", None, "latest"),
            ("oci-layout:/a/b:v1", "layout /a/b", Some("v1"), "v1"),
        ] {
            let expected = (place.to_owned(), tag.map(str::to_owned), version.to_owned());
            assert_eq!(read(text), Some(expected), "{text}");
        }
        for wrong in [
            "oci://",
            "oci-layout:",
            "oci://h/a@sha256:1",
            "oci://h/a:-",
            "oci://u:p@h/a",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
