//! Documents with a subject, such as signatures and SBOMs, and their list under a tag, for registries
//! that keep none themselves (distribution specification 1.1, "Referrers Tag Schema").

use bytes::Bytes;
use serde_json::{Value, json};

use super::document::INDEX;
use super::{Descriptor, Digest, Document, RegistryError, StoredManifest};

/// Returns the tag of the list of a subject's referrers.
pub(super) fn list_tag(subject: &Digest) -> String {
    subject.as_str().replace(':', "-")
}

/// Returns the subject of a manifest or index, if it has one.
pub(super) fn subject_of(stored: &StoredManifest) -> Option<Digest> {
    let document: Value = serde_json::from_slice(&stored.bytes).ok()?;
    document
        .get("subject")?
        .get("digest")?
        .as_str()?
        .parse()
        .ok()
}

/// Returns the list with one more referrer; `None` if it is listed.
///
/// # Errors
/// Fails if the list is no index.
pub(super) fn added_to(
    list: Option<&StoredManifest>,
    referrer: &StoredManifest,
) -> Result<Option<StoredManifest>, RegistryError> {
    let mut listed = match list.map(Document::parse).transpose()? {
        Some(Document::Index(listed)) => listed,
        Some(Document::Manifest(_)) => {
            return Err(RegistryError::Manifest {
                what: list.map(|list| list.digest.to_string()).unwrap_or_default(),
                why: "it is no list of referrers".into(),
            });
        }
        None => Vec::new(),
    };
    if listed.iter().any(|known| known.digest == referrer.digest) {
        return Ok(None);
    }
    listed.push(describe(referrer));
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": listed});
    let bytes = Bytes::from(index.to_string());
    Ok(Some(StoredManifest {
        digest: Digest::of(&bytes),
        media_type: INDEX.to_owned(),
        bytes,
    }))
}

/// Returns the descriptor of a referrer, with its kind of artifact and its annotations.
fn describe(stored: &StoredManifest) -> Descriptor {
    let document: Value = serde_json::from_slice(&stored.bytes).unwrap_or_default();
    let own = document.get("artifactType");
    let kind = own.or_else(|| document.get("config")?.get("mediaType"));
    let annotations = document.get("annotations").cloned();
    Descriptor {
        media_type: stored.media_type.clone(),
        digest: stored.digest.clone(),
        size: stored.bytes.len() as u64,
        artifact_type: kind.and_then(Value::as_str).map(str::to_owned),
        annotations: annotations
            .and_then(|all| serde_json::from_value(all).ok())
            .unwrap_or_default(),
        platform: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::document::MANIFEST;

    fn stored(media_type: &str, document: Value) -> StoredManifest {
        let bytes = Bytes::from(document.to_string());
        StoredManifest {
            digest: Digest::of(&bytes),
            media_type: media_type.to_owned(),
            bytes,
        }
    }

    #[test]
    fn a_referrer_is_listed_once_with_its_kind() {
        let subject = Digest::of(b"subject");
        let signature = json!({"schemaVersion": 2, "mediaType": MANIFEST, "layers": [],
            "config": {"mediaType": "application/example", "digest": Digest::of(b"{}"), "size": 2},
            "subject": {"mediaType": MANIFEST, "digest": subject, "size": 7}, "annotations": {"a": "b"}});
        let signature = stored(MANIFEST, signature);
        assert_eq!(subject_of(&signature), Some(subject));
        let list = added_to(None, &signature).unwrap().unwrap();
        let Document::Index(listed) = Document::parse(&list).unwrap() else {
            panic!("a list is an index");
        };
        assert_eq!(listed[0].digest, signature.digest);
        assert_eq!(
            listed[0].artifact_type.as_deref(),
            Some("application/example")
        );
        assert_eq!(listed[0].annotations["a"], "b");
        assert!(added_to(Some(&list), &signature).unwrap().is_none());
        assert!(added_to(Some(&signature), &signature).is_err());
    }
}
