//! A resource on its way through a build.

use crate::yaml::{Node, Style, Value};

/// Group, version, kind, name and namespace at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Id {
    pub group: String,
    pub version: String,
    pub kind: String,
    pub name: String,
    pub namespace: String,
}

impl Id {
    /// The namespace that counts when ids are compared: none is `default`.
    pub fn effective_namespace(&self) -> &str {
        if self.namespace.is_empty() && !is_cluster_scoped(&self.group, &self.kind) {
            "default"
        } else {
            &self.namespace
        }
    }

    /// Whether two ids name the same object.
    pub fn equals(&self, other: &Self) -> bool {
        (&self.group, &self.version, &self.kind, &self.name, self.effective_namespace())
            == (&other.group, &other.version, &other.kind, &other.name, other.effective_namespace())
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let namespace = if self.namespace.is_empty() { "[noNs]" } else { &self.namespace };
        let version = if self.version.is_empty() { "[noVer]" } else { &self.version };
        let group = if self.group.is_empty() { "[noGrp]" } else { &self.group };
        write!(f, "{}.{version}.{group}/{}.{namespace}", self.kind, self.name)
    }
}

/// A resource: its tree, and every id it had.
#[derive(Debug, Clone)]
pub(super) struct Resource {
    pub node: Node,
    /// Oldest first; the present one is read off the tree.
    pub earlier: Vec<Id>,
}

impl Resource {
    pub fn new(node: Node) -> Self {
        Self { node, earlier: Vec::new() }
    }

    pub fn id(&self) -> Id {
        let text = |node: Option<&Node>| node.and_then(Node::as_str).unwrap_or_default().to_owned();
        let api_version = text(self.node.get("apiVersion"));
        let (group, version) = match api_version.split_once('/') {
            Some((group, version)) => (group.to_owned(), version.to_owned()),
            None => (String::new(), api_version),
        };
        let metadata = self.node.get("metadata");
        Id {
            group,
            version,
            kind: text(self.node.get("kind")),
            name: text(metadata.and_then(|metadata| metadata.get("name"))),
            namespace: text(metadata.and_then(|metadata| metadata.get("namespace"))),
        }
    }

    /// Every id it has or had.
    pub fn ids(&self) -> Vec<Id> {
        let mut ids = self.earlier.clone();
        ids.push(self.id());
        ids
    }

    /// Notes the present id, before something changes it.
    pub fn remember(&mut self) {
        let id = self.id();
        if self.earlier.last() != Some(&id) {
            self.earlier.push(id);
        }
    }

    /// A label or annotation.
    pub fn metadata_text(&self, map: &str, key: &str) -> Option<&str> {
        self.node.get("metadata")?.get(map)?.get(key)?.as_str()
    }

    /// Sets a text member of `metadata`.
    pub fn set_metadata(&mut self, member: &str, text: &str) {
        let metadata = super::field::entry(&mut self.node, "metadata");
        super::field::set(metadata, member, Node::new(Value::Scalar(text.into(), Style::Plain)));
    }
}

/// Kinds of the built-in API that have no namespace.
const CLUSTER_SCOPED: [(&str, &str); 27] = [
    ("", "Namespace"),
    ("", "Node"),
    ("", "PersistentVolume"),
    ("", "ComponentStatus"),
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"),
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"),
    ("apiextensions.k8s.io", "CustomResourceDefinition"),
    ("apiregistration.k8s.io", "APIService"),
    ("authentication.k8s.io", "TokenReview"),
    ("authorization.k8s.io", "SelfSubjectAccessReview"),
    ("authorization.k8s.io", "SelfSubjectRulesReview"),
    ("authorization.k8s.io", "SubjectAccessReview"),
    ("certificates.k8s.io", "CertificateSigningRequest"),
    ("extensions", "PodSecurityPolicy"),
    ("flowcontrol.apiserver.k8s.io", "FlowSchema"),
    ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration"),
    ("internal.apiserver.k8s.io", "StorageVersion"),
    ("networking.k8s.io", "IngressClass"),
    ("node.k8s.io", "RuntimeClass"),
    ("policy", "PodSecurityPolicy"),
    ("rbac.authorization.k8s.io", "ClusterRole"),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
    ("scheduling.k8s.io", "PriorityClass"),
    ("storage.k8s.io", "CSIDriver"),
    ("storage.k8s.io", "CSINode"),
    ("storage.k8s.io", "StorageClass"),
    ("storage.k8s.io", "VolumeAttachment"),
];

/// Whether a kind is certainly without namespace.
pub(super) fn is_cluster_scoped(group: &str, kind: &str) -> bool {
    CLUSTER_SCOPED.contains(&(group, kind))
}
