//! `labels` and `commonLabels`.

use std::collections::BTreeMap;

use crate::kustomize::BuildError;
use crate::kustomize::configuration::{Configuration, specs};
use crate::kustomize::field::{FieldSpec, anywhere, at, at_version, set, visit_path};
use crate::kustomize::json;
use crate::kustomize::kustomization::Kustomization;
use crate::kustomize::resource::Resource;

const METADATA: FieldSpec = anywhere("metadata/labels", true);

/// Labels of what workloads make.
const TEMPLATES: [FieldSpec; 9] = [
    at_version("", "v1", "ReplicationController", "spec/template/metadata/labels", true),
    at("", "Deployment", "spec/template/metadata/labels", true),
    at("", "ReplicaSet", "spec/template/metadata/labels", true),
    at("", "DaemonSet", "spec/template/metadata/labels", true),
    at("apps", "StatefulSet", "spec/template/metadata/labels", true),
    at("apps", "StatefulSet", "spec/volumeClaimTemplates[]/metadata/labels", true),
    at("batch", "Job", "spec/template/metadata/labels", true),
    at("batch", "CronJob", "spec/jobTemplate/metadata/labels", true),
    at("batch", "CronJob", "spec/jobTemplate/spec/template/metadata/labels", true),
];

const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution/podAffinityTerm/labelSelector/matchLabels";
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution/labelSelector/matchLabels";

/// What selects by labels.
const SELECTORS: [FieldSpec; 12] = [
    at_version("", "v1", "Service", "spec/selector", true),
    at_version("", "v1", "ReplicationController", "spec/selector", true),
    at("", "Deployment", "spec/selector/matchLabels", true),
    at("", "ReplicaSet", "spec/selector/matchLabels", true),
    at("", "DaemonSet", "spec/selector/matchLabels", true),
    at("apps", "StatefulSet", "spec/selector/matchLabels", true),
    at("batch", "Job", "spec/selector/matchLabels", false),
    at("batch", "CronJob", "spec/jobTemplate/spec/selector/matchLabels", false),
    at("policy", "PodDisruptionBudget", "spec/selector/matchLabels", false),
    at("networking.k8s.io", "NetworkPolicy", "spec/podSelector/matchLabels", false),
    at("networking.k8s.io", "NetworkPolicy", "spec/ingress/from/podSelector/matchLabels", false),
    at("networking.k8s.io", "NetworkPolicy", "spec/egress/to/podSelector/matchLabels", false),
];

pub(super) fn apply(
    resources: &mut [Resource],
    kustomization: &Kustomization,
    configuration: &Configuration,
) -> Result<(), BuildError> {
    let common = specs(&configuration.common_labels);
    for labels in &kustomization.labels {
        let mut places = specs(&labels.fields);
        places.push(METADATA);
        if labels.include_selectors {
            places.extend(common.clone());
        }
        if labels.include_selectors || labels.include_templates {
            places.extend(TEMPLATES);
        }
        if labels.include_templates && !labels.include_selectors {
            places.extend(specs(&configuration.template_labels));
        }
        set_all(resources, &places, &labels.pairs, labels.include_selectors)?;
    }
    let mut places = vec![METADATA];
    places.extend(TEMPLATES);
    places.extend(common);
    set_all(resources, &places, &kustomization.common_labels, true)
}

/// The built-in places of `commonLabels`.
pub(super) fn builtin() -> Vec<FieldSpec> {
    [METADATA].into_iter().chain(TEMPLATES).chain(SELECTORS).collect()
}

fn set_all(
    resources: &mut [Resource],
    places: &[FieldSpec],
    pairs: &BTreeMap<String, String>,
    selectors: bool,
) -> Result<(), BuildError> {
    if pairs.is_empty() {
        return Ok(());
    }
    for resource in resources {
        let id = resource.id();
        let selecting: &[FieldSpec] = if selectors { &SELECTORS } else { &[] };
        for spec in places.iter().chain(selecting).filter(|spec| spec.selects(&id)) {
            spec.visit(&mut resource.node, &mut |map| put(map, pairs))?;
        }
        if selectors && id.group == "apps" && matches!(id.kind.as_str(), "Deployment" | "StatefulSet") {
            spread(resource, pairs)?;
        }
    }
    Ok(())
}

/// Affinities and spread constraints of a workload select its own pods.
fn spread(workload: &mut Resource, pairs: &BTreeMap<String, String>) -> Result<(), BuildError> {
    let template = "spec/template/spec";
    let mut paths = vec![format!("{template}/topologySpreadConstraints/labelSelector/matchLabels")];
    for affinity in ["podAffinity", "podAntiAffinity"] {
        paths.extend([PREFERRED, REQUIRED].map(|rest| format!("{template}/affinity/{affinity}/{rest}")));
    }
    for path in paths {
        visit_path(&mut workload.node, &path, &mut |map| put(map, pairs))?;
    }
    Ok(())
}

/// Sets pairs in a map of labels or annotations.
pub(super) fn put(map: &mut crate::yaml::Node, pairs: &BTreeMap<String, String>) {
    for (key, value) in pairs {
        set(map, key, json::text(value));
    }
}
