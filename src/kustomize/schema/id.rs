//! The identity of a resource.

/// The identity of a resource at one point of the build.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Id {
    pub group: String,
    pub version: String,
    pub kind: String,
    pub name: String,
    pub namespace: String,
    /// True if a custom schema says that the kind is cluster-scoped.
    pub cluster_scoped_by_schema: bool,
}

impl Id {
    /// Returns true if the kind is known to be cluster-scoped. Unknown kinds count as namespaced.
    pub fn is_cluster_scoped(&self) -> bool {
        let knows = |(group, versions, kinds): &(&str, &[&str], &[&str])| {
            self.group == *group
                && versions.contains(&&*self.version)
                && kinds.contains(&&*self.kind)
        };
        self.cluster_scoped_by_schema || CLUSTER_SCOPED.iter().any(knows)
    }

    /// Returns the namespace for comparing ids: an empty one is `default`, and cluster-scoped kinds
    /// have a placeholder, whatever the object says.
    pub fn effective_namespace(&self) -> &str {
        match self.namespace.as_str() {
            _ if self.is_cluster_scoped() => NO_NAMESPACE,
            "" => "default",
            namespace => namespace,
        }
    }

    /// Returns the `apiVersion`.
    pub fn api_version(&self) -> String {
        match self.group.as_str() {
            "" => self.version.clone(),
            group => format!("{group}/{}", self.version),
        }
    }

    /// Returns the id with its effective namespace. Two ids are equal if their keys are.
    pub fn key(mut self) -> Key {
        self.namespace = self.effective_namespace().to_owned();
        self.cluster_scoped_by_schema = false;
        self
    }

    /// Returns true if two ids name the same object.
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

/// The placeholder namespace of cluster-scoped kinds; not a valid name.
const NO_NAMESPACE: &str = "_non_namespaceable_";

/// An id with its effective namespace, as [`Id::key`] returns it.
pub(crate) type Key = Id;

impl std::fmt::Display for Id {
    /// Writes `KIND/NAME`, or `KIND/NAMESPACE/NAME`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts = [&self.kind, &self.namespace, &self.name];
        let parts = parts.into_iter().filter(|part| !part.is_empty());
        let parts: Vec<&str> = parts.map(String::as_str).collect();
        f.write_str(&parts.join("/"))
    }
}

/// Cluster-scoped kinds by group and versions, as in the schema that kustomize embeds. Kinds in
/// versions for which that schema has no path count as namespaced.
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
