//! What an inventory holds: whose it is, its objects, its deploys.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::manifest::Object;
use crate::plan::contract::digest_of;

/// Before the component in the name of its inventory.
pub(super) const PREFIX: &str = "nuon-inventory-";

/// The label by which all inventories are found.
pub(super) const LABEL: (&str, &str) = ("app.kubernetes.io/component", "inventory");

/// The label, beside the other, of inventories that this program writes.
pub(super) const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "nuon-runner");

/// Returns true for what is named, or labelled, as an inventory.
pub fn is_one(object: &Object) -> bool {
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

/// Whose inventory it is, and where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    /// Its id or name: lower case letters, digits, dots and dashes.
    pub name: String,
    /// The namespace of the inventory.
    pub namespace: String,
}

impl Component {
    /// A component by a name of which the names of objects and labels can be made.
    ///
    /// # Errors
    /// Why the name is none.
    pub fn named(name: &str, namespace: &str) -> Result<Self, String> {
        let is_edge =
            |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        let fits = name.len() <= 63
            && name
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.')
            && is_edge(name.chars().next())
            && is_edge(name.chars().last());
        let wrong = || {
            format!(
                "{name:?} names no component: up to 63 of a-z, 0-9, - and . are a name, with - \
                 and . inside"
            )
        };
        fits.then(|| Self {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
        })
        .ok_or_else(wrong)
    }

    /// The name of the ConfigMap.
    pub(super) fn config_map(&self) -> String {
        format!("{PREFIX}{}", self.name)
    }

    /// Where the inventory lies if its namespace is not there: a component may have all its objects elsewhere.
    pub(super) fn elsewhere(&self) -> Self {
        Self {
            name: format!("{}.{}", self.name, self.namespace),
            namespace: "default".into(),
        }
    }
}

/// What is known of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// API version in which it was applied, the group left out.
    #[serde(rename = "ver")]
    pub version: String,
    /// Its UID; empty until it has one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Fingerprint of what was wanted of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<String>,
    /// Fingerprint of what the cluster had in the touched fields after the apply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<String>,
    /// Whether it was there before the component, which made it its own: it is released, not deleted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopted: bool,
    /// Since when it is kept only for a rollback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub superseded: Option<Timestamp>,
}

/// One deploy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deploy {
    /// Counts up from 1.
    pub number: u64,
    /// When it ended.
    pub time: Timestamp,
    /// `oci://…@sha256:…` of what was deployed, if it was an artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<String>,
    /// How it ended.
    pub outcome: DeployOutcome,
    /// Objects of the component.
    pub objects: usize,
    /// Objects that were created, changed and deleted.
    pub changes: [usize; 3],
}

impl Deploy {
    /// The digest of its artifact.
    pub fn digest(&self) -> Option<&str> {
        digest_of(self.artifact.as_deref()?)
    }
}

/// How a deploy ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeployOutcome {
    /// All objects are there and ready.
    Succeeded,
    /// The objects did not become ready.
    Failed,
    /// It was stopped, or something was refused: that says nothing of what was to be deployed.
    Unfinished,
}
