//! What a build job reports.

use serde_json::{Map, Value, json};

use crate::job::report::{PushedArtifact, ResultReport};
use crate::plan::contents;
use crate::registry::StoredManifest;
use crate::registry::format::Packed;
use crate::worker::Outcome;

/// The pushed artifact, as reported to the control plane.
pub struct Pushed {
    /// Its manifest.
    pub stored: StoredManifest,
    annotations: Value,
    artifact_type: Option<&'static str>,
    /// Name of the file in the artifact; None if it was not packed here.
    file: Option<&'static str>,
}

impl Pushed {
    /// An artifact that was packed here.
    pub fn packed(packed: &Packed) -> Self {
        let annotations = json!(packed.annotations);
        Self {
            stored: packed.manifest.clone(),
            annotations,
            artifact_type: Some(packed.artifact_type),
            file: Some(packed.file),
        }
    }

    /// An existing artifact that was copied.
    pub fn copied(stored: &StoredManifest) -> Self {
        Self {
            stored: stored.clone(),
            annotations: Value::Null,
            artifact_type: None,
            file: None,
        }
    }

    /// Returns the result and outputs of a build (`docs/wire-contract.md`), including the digest,
    /// which older runners omit.
    pub fn outcome(&self, address: &str, tag: &str) -> Outcome {
        let image = json!({
            "tag": tag,
            "repository": address,
            "media_type": self.stored.media_type,
            "digest": self.stored.digest,
            "size": self.stored.bytes.len(),
            "urls": null,
            "annotations": self.annotations,
            "artifact_type": self.artifact_type.unwrap_or_default(),
        });
        let packed = contents::pack(&image.to_string());
        let result = ResultReport {
            success: true,
            oci_artifact: Some(PushedArtifact {
                url: address.to_owned(),
                digest: self.stored.digest.to_string(),
            }),
            contents_compressed: Some(packed.clone()),
            contents_display_compressed: Some(packed),
            ..ResultReport::default()
        };
        let mut outputs = Map::from_iter([("image".to_owned(), image)]);
        if let Some(file) = self.file {
            let files = json!([{"AbsPath": "", "RelPath": file, "FileType": ""}]);
            outputs.insert("files".to_owned(), files);
        }
        Outcome::Done {
            result: Some(result),
            outputs,
        }
    }
}
