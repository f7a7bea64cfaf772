//! What an approved plan promises: what was read when it was made, so that an apply can tell whether that
//! still holds. It travels as the member `runner` of a plan's contents; the objects themselves come from the
//! artifact. No Secret value is in it, only keyed fingerprints.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::change::Change;

/// The version of this document.
pub const VERSION: u32 = 1;

/// What a plan promises.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedPlan {
    /// Version of this document's shape.
    pub schema_version: u32,
    /// `oci://…@sha256:…` of the artifact that holds the objects; none if they are in the plan itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<String>,
    /// Keyed fingerprint of the objects that no artifact names, as they are sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
    /// UID of the namespace `kube-system`, by which a cluster is known; none if it may not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Fingerprint of the settings by which objects are changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<String>,
    /// What was read of each object.
    pub objects: Vec<ExpectedObject>,
    /// What is deleted: by an apply because it is no longer part of the component, by a teardown all of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deletions: Vec<PlannedDeletion>,
}

/// An object, whatever version it is read in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Subject {
    /// API group; empty for the core group.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Namespace; empty for cluster-scoped objects.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            kind,
            namespace,
            name,
            ..
        } = self;
        match namespace.as_str() {
            "" => write!(f, "{kind}/{name}"),
            namespace => write!(f, "{kind}/{namespace}/{name}"),
        }
    }
}

/// What the plan says of one object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExpectedObject {
    /// Which.
    #[serde(flatten)]
    pub subject: Subject,
    /// What becomes of it.
    pub change: Change,
    /// What was in the fields that its manifest touches; none if it was not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub touched: Option<Map<String, Value>>,
    /// Its UID; none if it was not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Keyed fingerprint of these fields as the server says that they will be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// Whether it is deleted and made again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recreate: bool,
}

/// An object that goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedDeletion {
    /// Which.
    #[serde(flatten)]
    pub subject: Subject,
    /// The UID that was read.
    pub uid: String,
}

/// The digest of an artifact's reference, `oci://…@sha256:…`.
pub fn digest_of(reference: &str) -> Option<&str> {
    reference.rsplit_once('@').map(|(_, digest)| digest)
}

impl SavedPlan {
    /// A contract about objects and deletions.
    pub fn new(objects: Vec<ExpectedObject>, deletions: Vec<PlannedDeletion>) -> Self {
        Self {
            schema_version: VERSION,
            artifact: None,
            manifest: None,
            cluster: None,
            options: None,
            objects,
            deletions,
        }
    }

    /// Whether nothing is changed by it.
    pub fn is_noop(&self) -> bool {
        self.deletions.is_empty()
            && self
                .objects
                .iter()
                .all(|promise| promise.change == Change::Unchanged)
    }

    /// Whether it lists a deletion.
    pub fn lists(&self, subject: &Subject, uid: &str) -> bool {
        self.deletions
            .iter()
            .any(|doomed| doomed.subject == *subject && doomed.uid == uid)
    }
}
