//! What an inventory holds: whose it is, its objects, its deploys.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::base::invalid::InvalidInput;
use crate::manifest::Object;
use crate::plan::saved_plan::digest_of;

/// Prefix of the name of every inventory, followed by the component's name.
pub(super) const PREFIX: &str = "nuon-inventory-";

/// Label by which inventories are listed.
pub(super) const LABEL: (&str, &str) = ("app.kubernetes.io/component", "inventory");

/// Second label, which only this program's inventories have.
pub(super) const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "nuon-runner");

/// Returns true if the object is named or labeled as an inventory.
pub fn is_inventory(object: &Object) -> bool {
    let has = |(key, value): (&str, &str)| {
        object
            .metadata("labels")
            .and_then(|labels| labels.get(key)?.as_str())
            == Some(value)
    };
    let is_named = object.name().starts_with(PREFIX);
    object.group().is_empty()
        && object.kind() == "ConfigMap"
        && (is_named || (has(LABEL) && has(MANAGED_BY)))
}

/// The component that owns an inventory, and where the inventory is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    /// Id or name of the component: lower-case letters, digits, dots and dashes.
    pub name: String,
    /// Namespace of the inventory.
    pub namespace: String,
}

impl Component {
    /// Creates a component from a name that is valid in object names and labels.
    ///
    /// # Errors
    /// Fails with a sentence if the name is not valid.
    pub fn named(name: &str, namespace: &str) -> Result<Self, InvalidInput> {
        let is_edge =
            |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        let fits = name.len() <= 63
            && name
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.')
            && is_edge(name.chars().next())
            && is_edge(name.chars().last());
        let wrong = || {
            InvalidInput(format!(
                "{name:?} is not a valid component name: use up to 63 of a-z, 0-9, - and ., beginning and ending with a letter or digit"
            ))
        };
        fits.then(|| Self {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
        })
        .ok_or_else(wrong)
    }

    /// Returns the name of the ConfigMap.
    pub(super) fn config_map(&self) -> String {
        format!("{PREFIX}{}", self.name)
    }

    /// Returns where the inventory is stored if its namespace does not exist: all objects of a
    /// component may be in other namespaces.
    pub(super) fn fallback(&self) -> Self {
        Self {
            name: format!("{}.{}", self.name, self.namespace),
            namespace: "default".into(),
        }
    }
}

/// The inventory's record of one object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// API version in which it was applied, without the group.
    #[serde(rename = "ver")]
    pub version: String,
    /// UID of the object; empty until it is created.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Hash of the desired object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<String>,
    /// Hash of the managed values in the cluster after the apply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<String>,
    /// Whether the object existed before the component, which adopted it: it is released, not
    /// deleted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopted: bool,
    /// Whether it is a Job that has succeeded. If it has removed itself since, it is not run again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub finished: bool,
    /// When it became stale, if it is kept only for a rollback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub superseded: Option<Timestamp>,
}

/// One deploy in the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployRecord {
    /// Sequence number, starting at 1.
    pub number: u64,
    /// When the deploy ended.
    pub time: Timestamp,
    /// `oci://…@sha256:…` of the artifact; `None` if the objects came from elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<String>,
    /// How the deploy ended.
    pub outcome: DeployOutcome,
    /// Number of objects in the inventory, without those kept for a rollback.
    pub objects: usize,
    /// Numbers of created, changed and deleted objects.
    pub changes: [usize; 3],
}

impl DeployRecord {
    /// Returns the digest of the artifact.
    pub fn digest(&self) -> Option<&str> {
        digest_of(self.artifact.as_deref()?)
    }
}

/// How a deploy ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeployOutcome {
    /// All objects were applied and became ready.
    Succeeded,
    /// The objects did not become ready.
    Failed,
    /// The deploy was stopped or refused, which says nothing about the artifact.
    Unfinished,
}
