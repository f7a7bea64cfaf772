//! A resource on its way through a build.

use std::collections::HashSet;

use super::schema::Schema;
use super::shared::{self, Shared};
use crate::yaml::{Node, Style, Value};

/// Group, version, kind, name and namespace at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Id {
    pub group: String,
    pub version: String,
    pub kind: String,
    pub name: String,
    pub namespace: String,
    /// Whether a schema of the user says that the kind has no namespace.
    pub scope_is_told: bool,
}

impl Id {
    /// Whether its kind certainly has no namespace.
    pub fn is_cluster_scoped(&self) -> bool {
        let knows = |(group, versions, kinds): &(&str, &[&str], &[&str])| {
            self.group == *group
                && versions.contains(&&*self.version)
                && kinds.contains(&&*self.kind)
        };
        self.scope_is_told || CLUSTER_SCOPED.iter().any(knows)
    }

    /// The namespace that counts when ids are compared: none is `default`, and kinds that have none have
    /// one of their own, whatever they say.
    pub fn effective_namespace(&self) -> &str {
        match self.namespace.as_str() {
            _ if self.is_cluster_scoped() => NO_NAMESPACE,
            "" => "default",
            namespace => namespace,
        }
    }

    /// The id with the namespace that counts; ids are equal if their keys are.
    pub fn key(mut self) -> Key {
        self.namespace = self.effective_namespace().to_owned();
        self.scope_is_told = false;
        self
    }

    /// Whether two ids name the same object.
    pub fn equals(&self, other: &Self) -> bool {
        (
            &self.group,
            &self.version,
            &self.kind,
            &self.name,
            self.effective_namespace(),
        ) == (
            &other.group,
            &other.version,
            &other.kind,
            &other.name,
            other.effective_namespace(),
        )
    }
}

/// What no namespace is called.
const NO_NAMESPACE: &str = "_non_namespaceable_";

/// What makes two ids equal: the id with the namespace that counts.
pub(super) type Key = Id;

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let namespace = if self.namespace.is_empty() {
            "[noNs]"
        } else {
            &self.namespace
        };
        let version = if self.version.is_empty() {
            "[noVer]"
        } else {
            &self.version
        };
        let group = if self.group.is_empty() {
            "[noGrp]"
        } else {
            &self.group
        };
        write!(
            f,
            "{}.{version}.{group}/{}.{namespace}",
            self.kind, self.name
        )
    }
}

/// A resource: its tree, and every id it had.
#[derive(Debug, Clone)]
pub(super) struct Resource {
    pub node: Node,
    /// Whether the tree is as if it were read from JSON.
    pub is_plain: bool,
    /// Oldest first; the present one is read off the tree.
    pub earlier: Vec<Id>,
    /// What was put before and after its name, in order.
    pub prefixes: Vec<String>,
    pub suffixes: Vec<String>,
    /// Whether its name gets a hash of its content at the end.
    pub needs_hash: bool,
    /// Whether a generator made it.
    pub is_generated: bool,
    /// Whether a chart made it; it keeps the namespace that the chart gave it.
    pub is_from_helm: bool,
    /// Values that are one at several places.
    pub shared: Vec<Shared>,
    /// The variables that take their values from it.
    pub variables: Vec<String>,
    /// The number by which an explanation knows it; 0 if it has none.
    pub number: usize,
    /// See [`Id::scope_is_told`].
    scope_is_told: bool,
}

impl Resource {
    pub fn new(node: Node) -> Self {
        Self {
            node,
            is_plain: false,
            earlier: Vec::new(),
            prefixes: Vec::new(),
            suffixes: Vec::new(),
            needs_hash: false,
            is_generated: false,
            is_from_helm: false,
            shared: Vec::new(),
            variables: Vec::new(),
            number: 0,
            scope_is_told: false,
        }
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
            scope_is_told: self.scope_is_told,
        }
    }

    /// Takes from a schema whether its kind has a namespace.
    pub fn learn_scope(&mut self, schema: &Schema) {
        let text = |member: &str| {
            self.node
                .get(member)
                .and_then(Node::as_str)
                .unwrap_or_default()
        };
        self.scope_is_told = schema.is_cluster_scoped(text("apiVersion"), text("kind"));
    }

    /// Whether nothing was done that made it this other one.
    pub fn is_untouched(&self, after: &Self) -> bool {
        (&self.node, &self.earlier, &self.prefixes, &self.suffixes)
            == (
                &after.node,
                &after.earlier,
                &after.prefixes,
                &after.suffixes,
            )
    }

    /// Its first id.
    pub fn original_id(&self) -> Id {
        self.earlier.first().cloned().unwrap_or_else(|| self.id())
    }

    /// Whether `fits` holds for an id that it has or had.
    pub fn any_id(&self, fits: impl Fn(&Id) -> bool) -> bool {
        self.earlier.iter().any(&fits) || fits(&self.id())
    }

    /// Whether it has, or had, an id.
    pub fn answers_to(&self, id: &Id) -> bool {
        self.earlier.iter().any(|known| known.equals(id))
            || (self.metadata_member("name") == Some(id.name.as_str()) && self.id().equals(id))
    }

    fn metadata_member(&self, member: &str) -> Option<&str> {
        self.node.get("metadata")?.get(member)?.as_str()
    }

    /// Every id it has or had.
    pub fn ids(&self) -> Vec<Id> {
        let mut ids = self.earlier.clone();
        ids.push(self.id());
        ids
    }

    /// Whether kustomize would have noted something on it by now.
    pub fn has_notes(&self) -> bool {
        let names = [&self.prefixes, &self.suffixes]
            .into_iter()
            .any(|affixes| !affixes.is_empty());
        names || !self.earlier.is_empty() || self.is_generated || self.is_from_helm
    }

    /// Notes the present id, before something changes it.
    pub fn remember(&mut self) {
        let id = self.id();
        if self.earlier.last() != Some(&id) {
            self.earlier.push(id);
        }
    }

    /// Says that kustomize writes the annotations anew.
    pub fn part_annotations(&mut self) {
        shared::part_annotations(&mut self.shared);
    }

    /// Brings changes of values that are one to all their places.
    pub fn settle(&mut self) {
        shared::settle(&mut self.shared, &mut self.node);
    }

    /// A label or annotation.
    pub fn metadata_text(&self, map: &str, key: &str) -> Option<&str> {
        self.node.get("metadata")?.get(map)?.get(key)?.as_str()
    }

    /// Sets the namespace, or removes it.
    pub fn set_namespace(&mut self, namespace: &str) {
        if !namespace.is_empty() {
            return self.set_metadata("namespace", namespace);
        }
        if let Value::Mapping(pairs) = &mut super::field::entry(&mut self.node, "metadata").value {
            pairs.retain(|(key, _)| key.as_str() != Some("namespace"));
        }
    }

    /// Sets a text member of `metadata`.
    pub fn set_metadata(&mut self, member: &str, text: &str) {
        let metadata = super::field::entry(&mut self.node, "metadata");
        super::field::set(
            metadata,
            member,
            Node::new(Value::Scalar(text.into(), Style::Plain)),
        );
    }
}

/// Refuses two resources of one id.
pub(super) fn check_ids(resources: &[Resource]) -> Result<(), String> {
    let mut seen = HashSet::with_capacity(resources.len());
    match resources
        .iter()
        .map(Resource::id)
        .find(|id| !seen.insert(id.clone().key()))
    {
        Some(id) => Err(format!(
            "may not add resource with an already registered id: {id}"
        )),
        None => Ok(()),
    }
}

/// Kinds that have no namespace, by group and versions. The schema that kustomize embeds counts: kinds
/// in versions that it has no path for are taken to have one.
const CLUSTER_SCOPED: [(&str, &[&str], &[&str]); 13] = [
    (
        "",
        &["v1"],
        &[
            "ComponentStatus",
            "Namespace",
            "Node",
            "NodeProxyOptions",
            "PersistentVolume",
        ],
    ),
    (
        "admissionregistration.k8s.io",
        &["v1", "v1beta1"],
        &[
            "MutatingWebhookConfiguration",
            "ValidatingWebhookConfiguration",
        ],
    ),
    (
        "admissionregistration.k8s.io",
        &["v1"],
        &[
            "ValidatingAdmissionPolicy",
            "ValidatingAdmissionPolicyBinding",
        ],
    ),
    (
        "apiextensions.k8s.io",
        &["v1", "v1beta1"],
        &["CustomResourceDefinition"],
    ),
    (
        "apiregistration.k8s.io",
        &["v1", "v1beta1"],
        &["APIService"],
    ),
    (
        "certificates.k8s.io",
        &["v1", "v1beta1"],
        &["CertificateSigningRequest"],
    ),
    (
        "flowcontrol.apiserver.k8s.io",
        &["v1beta1"],
        &["FlowSchema", "PriorityLevelConfiguration"],
    ),
    ("networking.k8s.io", &["v1", "v1beta1"], &["IngressClass"]),
    ("node.k8s.io", &["v1", "v1beta1"], &["RuntimeClass"]),
    ("policy", &["v1beta1"], &["PodSecurityPolicy"]),
    (
        "rbac.authorization.k8s.io",
        &["v1", "v1beta1"],
        &["ClusterRole", "ClusterRoleBinding"],
    ),
    ("scheduling.k8s.io", &["v1", "v1beta1"], &["PriorityClass"]),
    (
        "storage.k8s.io",
        &["v1", "v1beta1"],
        &["CSIDriver", "CSINode", "StorageClass", "VolumeAttachment"],
    ),
];
