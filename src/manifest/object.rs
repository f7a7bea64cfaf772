//! A Kubernetes object and its identity.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// An object as free-form JSON. Its shape is not validated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Object(pub Map<String, Value>);

/// Identity of an object in a cluster, independent of the API version it is read in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId {
    /// API group; empty for the core group.
    pub group: String,
    /// Kind, such as `Deployment`.
    pub kind: String,
    /// Namespace; empty for cluster-scoped objects.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
}

impl Object {
    /// Returns `apiVersion`; empty if it is missing or not a string.
    pub fn api_version(&self) -> &str {
        self.text("apiVersion")
    }

    /// Returns `kind`; empty if it is missing or not a string.
    pub fn kind(&self) -> &str {
        self.text("kind")
    }

    /// Returns the group part of `apiVersion`; empty for the core group.
    pub fn group(&self) -> &str {
        self.api_version()
            .split_once('/')
            .map_or("", |(group, _)| group)
    }

    /// Returns the version part of `apiVersion`.
    pub fn version(&self) -> &str {
        self.api_version()
            .split_once('/')
            .map_or(self.api_version(), |(_, version)| version)
    }

    /// Returns `metadata.name`; empty if it is missing or not a string.
    pub fn name(&self) -> &str {
        self.metadata_text("name")
    }

    /// Returns `metadata.namespace`; empty if it is missing or not a string.
    pub fn namespace(&self) -> &str {
        self.metadata_text("namespace")
    }

    /// Sets `metadata.namespace`. Does nothing if `metadata` is not a map.
    pub fn set_namespace(&mut self, namespace: &str) {
        if let Value::Object(metadata) = self
            .0
            .entry("metadata")
            .or_insert_with(|| Value::Object(Map::new()))
        {
            metadata.insert("namespace".into(), namespace.into());
        }
    }

    /// Returns a member of `metadata`.
    pub fn metadata(&self, member: &str) -> Option<&Value> {
        self.0.get("metadata")?.get(member)
    }

    /// Returns `metadata.uid`, which the API server sets.
    pub fn uid(&self) -> Option<&str> {
        self.metadata("uid")?.as_str()
    }

    /// Iterates over `status.conditions`.
    pub fn conditions(&self) -> impl Iterator<Item = &Value> {
        let conditions = self
            .0
            .get("status")
            .and_then(|status| status.get("conditions"));
        conditions.and_then(Value::as_array).into_iter().flatten()
    }

    /// Returns the value of an annotation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata("annotations")?.get(key)?.as_str()
    }

    /// Returns the object's identity.
    pub fn id(&self) -> ObjectId {
        ObjectId {
            group: self.group().to_owned(),
            kind: self.kind().to_owned(),
            namespace: self.namespace().to_owned(),
            name: self.name().to_owned(),
        }
    }

    /// Returns true for a `Secret` of the core group; its values must not be shown.
    pub fn is_secret(&self) -> bool {
        self.kind() == "Secret" && self.group().is_empty()
    }

    /// Returns true for a CustomResourceDefinition.
    pub fn is_crd(&self) -> bool {
        self.kind() == "CustomResourceDefinition" && self.group() == "apiextensions.k8s.io"
    }

    /// Returns the group and kind that a CRD defines; `None` for other objects.
    pub fn defined_kind(&self) -> Option<(&str, &str)> {
        let spec = self.0.get("spec").filter(|_| self.is_crd())?;
        Some((
            spec.get("group")?.as_str()?,
            spec.get("names")?.get("kind")?.as_str()?,
        ))
    }

    /// Returns the path of the pod's spec in a Pod or a kind with a pod template; `None` for other
    /// kinds.
    pub fn pod_path(&self) -> Option<&'static [&'static str]> {
        match (self.group(), self.kind()) {
            ("", "Pod") => Some(&["spec"]),
            ("", "PodTemplate") => Some(&["template", "spec"]),
            ("", "ReplicationController")
            | ("apps", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet")
            | ("batch", "Job") => Some(&["spec", "template", "spec"]),
            ("batch", "CronJob") => Some(&["spec", "jobTemplate", "spec", "template", "spec"]),
            _ => None,
        }
    }

    /// Returns true for a `Namespace`.
    pub fn is_namespace(&self) -> bool {
        self.kind() == "Namespace" && self.group().is_empty()
    }

    /// Returns `Kind/namespace/name`, or `Kind/name` for cluster-scoped objects.
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
