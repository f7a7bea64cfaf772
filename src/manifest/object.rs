//! One Kubernetes object and its identity.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// An object as free-form JSON. Nothing about its shape is promised.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Object(pub Map<String, Value>);

/// What identifies an object in a cluster, whatever version it is read in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId {
    /// API group; empty for the core group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Namespace; empty for cluster-scoped objects.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Object {
    /// `apiVersion`, or nothing.
    pub fn api_version(&self) -> &str {
        self.text("apiVersion")
    }

    /// `kind`, or nothing.
    pub fn kind(&self) -> &str {
        self.text("kind")
    }

    /// The group part of `apiVersion`.
    pub fn group(&self) -> &str {
        self.api_version()
            .split_once('/')
            .map_or("", |(group, _)| group)
    }

    /// The version part of `apiVersion`.
    pub fn version(&self) -> &str {
        self.api_version()
            .split_once('/')
            .map_or(self.api_version(), |(_, version)| version)
    }

    /// `metadata.name`, or nothing.
    pub fn name(&self) -> &str {
        self.metadata_text("name")
    }

    /// `metadata.namespace`, or nothing.
    pub fn namespace(&self) -> &str {
        self.metadata_text("namespace")
    }

    /// Sets `metadata.namespace`.
    pub fn set_namespace(&mut self, namespace: &str) {
        if let Value::Object(metadata) = self
            .0
            .entry("metadata")
            .or_insert_with(|| Value::Object(Map::new()))
        {
            metadata.insert("namespace".into(), namespace.into());
        }
    }

    /// A member of `metadata`.
    pub fn metadata(&self, member: &str) -> Option<&Value> {
        self.0.get("metadata")?.get(member)
    }

    /// The UID that the server has given it.
    pub fn uid(&self) -> Option<&str> {
        self.metadata("uid")?.as_str()
    }

    /// The conditions of its status; none if it has none.
    pub fn conditions(&self) -> impl Iterator<Item = &Value> {
        let conditions = self
            .0
            .get("status")
            .and_then(|status| status.get("conditions"));
        conditions.and_then(Value::as_array).into_iter().flatten()
    }

    /// An annotation's text.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata("annotations")?.get(key)?.as_str()
    }

    /// Its identity.
    pub fn id(&self) -> ObjectId {
        ObjectId {
            group: self.group().to_owned(),
            kind: self.kind().to_owned(),
            namespace: self.namespace().to_owned(),
            name: self.name().to_owned(),
        }
    }

    /// Whether its values are secret.
    pub fn is_secret(&self) -> bool {
        self.kind() == "Secret" && self.group().is_empty()
    }

    /// Whether it defines a kind.
    pub fn is_definition(&self) -> bool {
        self.kind() == "CustomResourceDefinition" && self.group() == "apiextensions.k8s.io"
    }

    /// Group and kind of what it defines, if it is a definition.
    pub fn defines(&self) -> Option<(&str, &str)> {
        let spec = self.0.get("spec").filter(|_| self.is_definition())?;
        Some((
            spec.get("group")?.as_str()?,
            spec.get("names")?.get("kind")?.as_str()?,
        ))
    }

    /// Whether it is a namespace.
    pub fn is_namespace(&self) -> bool {
        self.kind() == "Namespace" && self.group().is_empty()
    }

    /// `Kind/namespace/name`, or `Kind/name`.
    pub fn subject(&self) -> String {
        self.id().to_string()
    }

    fn text(&self, member: &str) -> &str {
        self.0
            .get(member)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    fn metadata_text(&self, member: &str) -> &str {
        self.metadata(member)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }
}

impl std::fmt::Display for ObjectId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{}/{}", self.kind, self.name)
        } else {
            write!(f, "{}/{}/{}", self.kind, self.namespace, self.name)
        }
    }
}
