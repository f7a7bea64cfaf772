//! The fields that transformers reach without being configured: kustomize's built-in tables.

use super::field_spec::{FieldSpec, anywhere, at, at_version};

/// Fields of annotations.
pub(crate) const ANNOTATIONS: [FieldSpec; 9] = [
    anywhere("metadata/annotations", true),
    at_version(
        "",
        "v1",
        "ReplicationController",
        "spec/template/metadata/annotations",
        true,
    ),
    at("", "Deployment", "spec/template/metadata/annotations", true),
    at("", "ReplicaSet", "spec/template/metadata/annotations", true),
    at("", "DaemonSet", "spec/template/metadata/annotations", true),
    at(
        "",
        "StatefulSet",
        "spec/template/metadata/annotations",
        true,
    ),
    at("batch", "Job", "spec/template/metadata/annotations", true),
    at(
        "batch",
        "CronJob",
        "spec/jobTemplate/metadata/annotations",
        true,
    ),
    at(
        "batch",
        "CronJob",
        "spec/jobTemplate/spec/template/metadata/annotations",
        true,
    ),
];

/// Fields in addition to the images in lists named `containers` or `initContainers`.
pub(crate) const IMAGES: [FieldSpec; 7] = [
    anywhere("spec/containers[]/image", true),
    anywhere("spec/initContainers[]/image", true),
    anywhere("spec/volumes[]/image/reference", true),
    anywhere("spec/template/spec/containers[]/image", true),
    anywhere("spec/template/spec/initContainers[]/image", true),
    anywhere("spec/template/spec/volumes[]/image/reference", true),
    anywhere(
        "spec/jobTemplate/spec/template/spec/volumes[]/image/reference",
        true,
    ),
];

/// Fields of names.
pub(crate) const NAMES: [FieldSpec; 1] = [anywhere("metadata/name", false)];

/// Fields in addition to `metadata.namespace`.
pub(crate) const NAMESPACES: [FieldSpec; 3] = [
    at("", "Namespace", "metadata/name", true),
    at(
        "apiregistration.k8s.io",
        "APIService",
        "spec/service/namespace",
        true,
    ),
    at(
        "apiextensions.k8s.io",
        "CustomResourceDefinition",
        "spec/conversion/webhook/clientConfig/service/namespace",
        false,
    ),
];

/// Fields of numbers of replicas.
pub(crate) const REPLICAS: [FieldSpec; 4] = [
    at("", "Deployment", "spec/replicas", true),
    at("", "ReplicationController", "spec/replicas", true),
    at("", "ReplicaSet", "spec/replicas", true),
    at("", "StatefulSet", "spec/replicas", true),
];

/// Labels of objects themselves.
pub(crate) const LABELS: FieldSpec = anywhere("metadata/labels", true);

/// Labels of objects and of the objects that workloads create.
pub(crate) const TEMPLATE_LABELS: [FieldSpec; 9] = [
    LABELS,
    at_version(
        "",
        "v1",
        "ReplicationController",
        "spec/template/metadata/labels",
        true,
    ),
    at("", "Deployment", "spec/template/metadata/labels", true),
    at("", "ReplicaSet", "spec/template/metadata/labels", true),
    at("", "DaemonSet", "spec/template/metadata/labels", true),
    at("apps", "StatefulSet", "spec/template/metadata/labels", true),
    at("batch", "Job", "spec/template/metadata/labels", true),
    at("batch", "CronJob", "spec/jobTemplate/metadata/labels", true),
    at(
        "batch",
        "CronJob",
        "spec/jobTemplate/spec/template/metadata/labels",
        true,
    ),
];

/// Labels of the claims that a StatefulSet creates.
pub(crate) const CLAIM_LABELS: FieldSpec = at(
    "apps",
    "StatefulSet",
    "spec/volumeClaimTemplates[]/metadata/labels",
    true,
);

/// Label selectors.
const SELECTORS: [FieldSpec; 12] = [
    at_version("", "v1", "Service", "spec/selector", true),
    at_version("", "v1", "ReplicationController", "spec/selector", true),
    at("", "Deployment", "spec/selector/matchLabels", true),
    at("", "ReplicaSet", "spec/selector/matchLabels", true),
    at("", "DaemonSet", "spec/selector/matchLabels", true),
    at("apps", "StatefulSet", "spec/selector/matchLabels", true),
    at("batch", "Job", "spec/selector/matchLabels", false),
    at(
        "batch",
        "CronJob",
        "spec/jobTemplate/spec/selector/matchLabels",
        false,
    ),
    at(
        "policy",
        "PodDisruptionBudget",
        "spec/selector/matchLabels",
        false,
    ),
    at(
        "networking.k8s.io",
        "NetworkPolicy",
        "spec/podSelector/matchLabels",
        false,
    ),
    at(
        "networking.k8s.io",
        "NetworkPolicy",
        "spec/ingress/from/podSelector/matchLabels",
        false,
    ),
    at(
        "networking.k8s.io",
        "NetworkPolicy",
        "spec/egress/to/podSelector/matchLabels",
        false,
    ),
];

/// Label selectors in the affinity and topology spread constraints of pods.
const AFFINITY_SELECTORS: [&str; 5] = [
    "spec/template/spec/affinity/podAffinity/preferredDuringSchedulingIgnoredDuringExecution/\
     podAffinityTerm/labelSelector/matchLabels",
    "spec/template/spec/affinity/podAffinity/requiredDuringSchedulingIgnoredDuringExecution/\
     labelSelector/matchLabels",
    "spec/template/spec/affinity/podAntiAffinity/preferredDuringSchedulingIgnoredDuringExecution/\
     podAffinityTerm/labelSelector/matchLabels",
    "spec/template/spec/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution/\
     labelSelector/matchLabels",
    "spec/template/spec/topologySpreadConstraints/labelSelector/matchLabels",
];

/// Returns the built-in fields of `commonLabels`.
pub(crate) fn common_labels() -> Vec<FieldSpec> {
    let affinity = AFFINITY_SELECTORS
        .iter()
        .flat_map(|path| ["Deployment", "StatefulSet"].map(|kind| at("apps", kind, path, false)));
    SELECTORS
        .into_iter()
        .chain(affinity)
        .chain(TEMPLATE_LABELS)
        .chain([CLAIM_LABELS])
        .collect()
}

/// Workloads in which variables are replaced, with the paths of their pod specs.
const WORKLOADS: [(&str, &str); 7] = [
    ("CronJob", "spec/jobTemplate/spec/template/spec"),
    ("DaemonSet", "spec/template/spec"),
    ("Deployment", "spec/template/spec"),
    ("Job", "spec/template/spec"),
    ("Pod", "spec"),
    ("ReplicaSet", "spec/template/spec"),
    ("StatefulSet", "spec/template/spec"),
];

const CONTAINER_FIELDS: [&str; 4] = ["args", "command", "env/value", "volumeMounts/mountPath"];

/// Further fields in which variables are replaced: kind and path. Some paths do not exist in the
/// API but are in kustomize's list.
const OTHER_FIELDS: [(&str, &str); 16] = [
    (
        "CronJob",
        "spec/jobTemplate/spec/template/volumes/nfs/server",
    ),
    ("DaemonSet", "spec/template/spec/volumes/nfs/server"),
    ("Deployment", "spec/template/spec/volumes/nfs/server"),
    ("Job", "spec/template/spec/volumes/nfs/server"),
    ("Pod", "spec/volumes/nfs/server"),
    ("StatefulSet", "spec/volumeClaimTemplates/spec/nfs/server"),
    ("ReplicaSet", "spec/template/spec/volumes/nfs/server"),
    ("PersistentVolume", "spec/nfs/server"),
    ("Deployment", "spec/template/metadata/annotations"),
    ("Ingress", "spec/rules/host"),
    ("Ingress", "spec/tls/hosts"),
    ("Ingress", "spec/tls/secretName"),
    ("Service", "spec/ports/port"),
    ("Service", "spec/ports/targetPort"),
    ("", "metadata/labels"),
    ("", "metadata/annotations"),
];

/// Returns the built-in fields in which variables are replaced.
pub(crate) fn variables() -> Vec<FieldSpec> {
    let place = |kind: &'static str, path: String| FieldSpec {
        kind: kind.into(),
        path: path.into(),
        ..FieldSpec::default()
    };
    let in_pods = WORKLOADS.iter().flat_map(|(kind, pod)| {
        ["containers", "initContainers"]
            .into_iter()
            .flat_map(move |list| {
                CONTAINER_FIELDS
                    .iter()
                    .map(move |field| place(kind, format!("{pod}/{list}/{field}")))
            })
    });
    in_pods
        .chain(
            OTHER_FIELDS
                .iter()
                .map(|(kind, path)| place(kind, (*path).to_owned())),
        )
        .collect()
}
