//! kustomize's built-in table of name references: which fields of which kinds hold names of which
//! other kinds.

use crate::kustomize::resource::Id;
use crate::kustomize::schema::field_spec::FieldSpec;

/// A group, version and kind; empty parts match anything.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct GvkPattern {
    pub group: String,
    pub version: String,
    pub kind: String,
}

impl GvkPattern {
    /// Returns true if an object is of this kind.
    pub fn matches(&self, id: &Id) -> bool {
        let fits = |wanted: &str, got: &str| wanted.is_empty() || wanted == got;
        fits(&self.group, &id.group)
            && fits(&self.version, &id.version)
            && fits(&self.kind, &id.kind)
    }
}

/// A kind, and the fields that hold names of objects of this kind.
#[derive(Debug, Clone)]
pub(crate) struct BackReference {
    pub target: GvkPattern,
    pub fields: Vec<FieldSpec>,
}

/// Version (empty matches any), kind, and the path of the pod spec.
type Workload = (&'static str, &'static str, &'static str);

const POD: Workload = ("v1", "Pod", "spec");
const ANY_POD: Workload = ("", "Pod", "spec");
const POD_TEMPLATE: Workload = ("", "PodTemplate", "template/spec");
const DEPLOYMENT: Workload = ("", "Deployment", "spec/template/spec");
const REPLICA_SET: Workload = ("", "ReplicaSet", "spec/template/spec");
const REPLICATION_CONTROLLER: Workload = ("", "ReplicationController", "spec/template/spec");
const DAEMON_SET: Workload = ("", "DaemonSet", "spec/template/spec");
const STATEFUL_SET: Workload = ("", "StatefulSet", "spec/template/spec");
const JOB: Workload = ("", "Job", "spec/template/spec");
const CRON_JOB: Workload = ("", "CronJob", "spec/jobTemplate/spec/template/spec");

/// Workloads in which kustomize updates names of ConfigMaps and Secrets.
const DATA_WORKLOADS: [Workload; 8] = [
    POD,
    POD_TEMPLATE,
    DEPLOYMENT,
    REPLICA_SET,
    DAEMON_SET,
    STATEFUL_SET,
    JOB,
    CRON_JOB,
];

/// Workloads in which kustomize updates names of service accounts, volume claims and priority
/// classes.
const ACCOUNT_WORKLOADS: [Workload; 7] = [
    ANY_POD,
    STATEFUL_SET,
    DEPLOYMENT,
    REPLICATION_CONTROLLER,
    CRON_JOB,
    JOB,
    DAEMON_SET,
];

const CONFIG_MAP_IN_POD: [&str; 6] = [
    "volumes/configMap/name",
    "containers/env/valueFrom/configMapKeyRef/name",
    "initContainers/env/valueFrom/configMapKeyRef/name",
    "containers/envFrom/configMapRef/name",
    "initContainers/envFrom/configMapRef/name",
    "volumes/projected/sources/configMap/name",
];

const SECRET_IN_POD: [&str; 7] = [
    "volumes/secret/secretName",
    "containers/env/valueFrom/secretKeyRef/name",
    "initContainers/env/valueFrom/secretKeyRef/name",
    "containers/envFrom/secretRef/name",
    "initContainers/envFrom/secretRef/name",
    "imagePullSecrets/name",
    "volumes/projected/sources/secret/name",
];

/// Group, version, kind and path of a field.
type Field = (&'static str, &'static str, &'static str, &'static str);

const RBAC: &str = "rbac.authorization.k8s.io";
const ADMISSION: &str = "admissionregistration.k8s.io";

const SCALE_TARGET: [Field; 1] = [(
    "",
    "",
    "HorizontalPodAutoscaler",
    "spec/scaleTargetRef/name",
)];

const CONFIG_MAP: [Field; 4] = [
    ("", "", "Node", "spec/configSource/configMap"),
    ("", "", "Role", "rules/resourceNames"),
    ("", "", "ClusterRole", "rules/resourceNames"),
    (
        "",
        "",
        "Ingress",
        r"metadata/annotations/nginx.ingress.kubernetes.io\/fastcgi-params-configmap",
    ),
];

const SECRET: [Field; 13] = [
    ("", "", "Ingress", "spec/tls/secretName"),
    (
        "",
        "",
        "Ingress",
        r"metadata/annotations/ingress.kubernetes.io\/auth-secret",
    ),
    (
        "",
        "",
        "Ingress",
        r"metadata/annotations/nginx.ingress.kubernetes.io\/auth-secret",
    ),
    (
        "",
        "",
        "Ingress",
        r"metadata/annotations/nginx.ingress.kubernetes.io\/auth-tls-secret",
    ),
    ("", "", "ServiceAccount", "imagePullSecrets/name"),
    ("", "", "StorageClass", "parameters/secretName"),
    ("", "", "StorageClass", "parameters/adminSecretName"),
    ("", "", "StorageClass", "parameters/userSecretName"),
    ("", "", "StorageClass", "parameters/secretRef"),
    ("", "", "Role", "rules/resourceNames"),
    ("", "", "ClusterRole", "rules/resourceNames"),
    (
        "serving.knative.dev",
        "v1",
        "Service",
        "spec/template/spec/containers/env/valueFrom/secretKeyRef/name",
    ),
    ("", "", "PersistentVolume", "spec/azureFile/secretName"),
];

const SERVICE: [Field; 8] = [
    ("apps", "", "StatefulSet", "spec/serviceName"),
    (
        "",
        "",
        "Ingress",
        "spec/rules/http/paths/backend/serviceName",
    ),
    ("", "", "Ingress", "spec/backend/serviceName"),
    (
        "",
        "",
        "Ingress",
        "spec/rules/http/paths/backend/service/name",
    ),
    ("", "", "Ingress", "spec/defaultBackend/service/name"),
    (
        "apiregistration.k8s.io",
        "",
        "APIService",
        "spec/service/name",
    ),
    (
        ADMISSION,
        "",
        "ValidatingWebhookConfiguration",
        "webhooks/clientConfig/service",
    ),
    (
        ADMISSION,
        "",
        "MutatingWebhookConfiguration",
        "webhooks/clientConfig/service",
    ),
];

const ROLE: [Field; 1] = [(RBAC, "", "RoleBinding", "roleRef/name")];
const CLUSTER_ROLE: [Field; 2] = [
    (RBAC, "", "RoleBinding", "roleRef/name"),
    (RBAC, "", "ClusterRoleBinding", "roleRef/name"),
];
const SUBJECTS: [Field; 2] = [
    (RBAC, "", "RoleBinding", "subjects"),
    (RBAC, "", "ClusterRoleBinding", "subjects"),
];
const VOLUME: [Field; 2] = [
    ("", "", "PersistentVolumeClaim", "spec/volumeName"),
    ("", "", "ClusterRole", "rules/resourceNames"),
];
const STORAGE_CLASS: [Field; 3] = [
    ("", "", "PersistentVolume", "spec/storageClassName"),
    ("", "", "PersistentVolumeClaim", "spec/storageClassName"),
    (
        "",
        "",
        "StatefulSet",
        "spec/volumeClaimTemplates/spec/storageClassName",
    ),
];
const ADMISSION_POLICY: [Field; 1] = [(
    ADMISSION,
    "",
    "ValidatingAdmissionPolicyBinding",
    "spec/policyName",
)];

/// Returns the table. kustomize's entry for IngressClass is left out, because its group matches no
/// object.
pub(crate) fn builtin() -> Vec<BackReference> {
    let scaled = [
        "Deployment",
        "ReplicationController",
        "ReplicaSet",
        "StatefulSet",
    ];
    let mut table: Vec<_> = scaled
        .into_iter()
        .map(|kind| reference(("", "", kind), Vec::new(), &SCALE_TARGET))
        .collect();
    table.extend([
        reference(
            ("", "v1", "ConfigMap"),
            in_pods(&DATA_WORKLOADS, &CONFIG_MAP_IN_POD),
            &CONFIG_MAP,
        ),
        reference(
            ("", "v1", "Secret"),
            in_pods(&DATA_WORKLOADS, &SECRET_IN_POD),
            &SECRET,
        ),
        reference(("", "v1", "Service"), Vec::new(), &SERVICE),
        reference((RBAC, "", "Role"), Vec::new(), &ROLE),
        reference((RBAC, "", "ClusterRole"), Vec::new(), &CLUSTER_ROLE),
        reference(
            ("", "v1", "ServiceAccount"),
            in_pods(&ACCOUNT_WORKLOADS, &["serviceAccountName"]),
            &SUBJECTS,
        ),
        reference(
            ("", "v1", "PersistentVolumeClaim"),
            in_pods(
                &ACCOUNT_WORKLOADS,
                &["volumes/persistentVolumeClaim/claimName"],
            ),
            &[],
        ),
        reference(("", "v1", "PersistentVolume"), Vec::new(), &VOLUME),
        reference(
            ("storage.k8s.io", "v1", "StorageClass"),
            Vec::new(),
            &STORAGE_CLASS,
        ),
        reference(
            ("scheduling.k8s.io", "v1", "PriorityClass"),
            in_pods(&ACCOUNT_WORKLOADS, &["priorityClassName"]),
            &[],
        ),
        reference(
            (ADMISSION, "", "ValidatingAdmissionPolicy"),
            Vec::new(),
            &ADMISSION_POLICY,
        ),
    ]);
    table
}

fn reference(
    target: (&str, &str, &str),
    mut fields: Vec<FieldSpec>,
    more: &[Field],
) -> BackReference {
    fields.extend(
        more.iter()
            .map(|(group, version, kind, path)| spec(group, version, kind, (*path).to_owned())),
    );
    let (group, version, kind) = target;
    BackReference {
        target: GvkPattern {
            group: group.into(),
            version: version.into(),
            kind: kind.into(),
        },
        fields,
    }
}

fn in_pods(workloads: &[Workload], paths: &[&str]) -> Vec<FieldSpec> {
    let all = workloads
        .iter()
        .flat_map(|workload| paths.iter().map(move |path| (workload, path)));
    all.map(|((version, kind, pod), path)| spec("", version, kind, format!("{pod}/{path}")))
        .collect()
}

fn spec(group: &str, version: &str, kind: &str, path: String) -> FieldSpec {
    FieldSpec {
        group: group.to_owned().into(),
        version: version.to_owned().into(),
        kind: kind.to_owned().into(),
        path: path.into(),
        create: false,
    }
}
