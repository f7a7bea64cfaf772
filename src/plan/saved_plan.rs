//! The saved plan: the cluster state that an approved plan was made from, so that an apply can
//! check whether it still holds. It is the member `runner` of the plan contents. The objects
//! themselves come from the artifact. It contains no Secret values, only keyed hashes of them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::plan::change::ChangeKind;

/// Current schema version of this document.
pub const VERSION: u32 = 1;

/// The preconditions of an approved plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedPlan {
    /// Schema version of this document.
    pub schema_version: u32,
    /// `oci://…@sha256:…` of the artifact with the objects; `None` if they are in the plan itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<String>,
    /// Keyed hash of the objects as they are sent; only if there is no artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
    /// UID of the namespace `kube-system`, which identifies the cluster; `None` if it may not be
    /// read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Hash of the settings that determine how objects are changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<String>,
    /// The expected state of each object.
    pub objects: Vec<ExpectedObject>,
    /// Objects to delete. An apply deletes those that are no longer part of the component, a
    /// teardown deletes all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deletions: Vec<PlannedDeletion>,
}

/// Identity of an object, independent of the API version it is read in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Subject {
    /// API group; empty for the core group.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Kind of the object.
    pub kind: String,
    /// Namespace; empty for cluster-scoped objects.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// `metadata.name`.
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

/// Expected state of one object, and what the plan does to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExpectedObject {
    /// The object.
    #[serde(flatten)]
    pub subject: Subject,
    /// The planned change.
    pub change: ChangeKind,
    /// Values, when the plan was made, of the fields that an apply of the manifest sets or removes;
    /// `None` if the object did not exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub touched: Option<Map<String, Value>>,
    /// UID of the object; `None` if it did not exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Keyed hash of these fields after the apply, as the server predicts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// Whether the object is deleted and created again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recreate: bool,
    /// Whether the object could not be read, so that nothing is planned for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unread: bool,
    /// The component from which the object is taken over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_from: Option<String>,
}

/// An object to delete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedDeletion {
    /// The object.
    #[serde(flatten)]
    pub subject: Subject,
    /// UID of the object when the plan was made.
    pub uid: String,
    /// What the deletion takes along that is not of the component; only of namespaces and CRDs.
    #[serde(default, skip_serializing_if = "PlannedContents::is_empty")]
    pub contents: PlannedContents,
}

/// What the deletion of a namespace or CRD takes along.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedContents {
    /// Objects that are not of the component, without those that another of them owns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<HeldObject>,
    /// Kinds (`plural` or `plural.group`) whose objects could not be listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<String>,
}

/// An object in a namespace or of a CRD that is deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldObject {
    /// The object.
    #[serde(flatten)]
    pub subject: Subject,
    /// Its UID when the plan was made.
    pub uid: String,
}

impl PlannedContents {
    fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.unread.is_empty()
    }
}

/// Returns the digest of an artifact reference, `oci://…@sha256:…`.
pub fn digest_of(reference: &str) -> Option<&str> {
    reference.rsplit_once('@').map(|(_, digest)| digest)
}

impl SavedPlan {
    /// Creates a saved plan of objects and deletions. All other members are unset.
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

    /// Returns true if the plan changes and deletes nothing.
    pub fn is_noop(&self) -> bool {
        self.deletions.is_empty()
            && self
                .objects
                .iter()
                .all(|object| object.change == ChangeKind::Unchanged)
    }

    /// Returns the planned deletion of this object with this UID; `None` if it is not planned.
    pub fn deletion(&self, subject: &Subject, uid: &str) -> Option<&PlannedDeletion> {
        self.deletions
            .iter()
            .find(|deletion| deletion.subject == *subject && deletion.uid == uid)
    }
}
