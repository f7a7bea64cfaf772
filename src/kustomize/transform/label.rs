//! `labels` and `commonLabels`: labels on every object, on what objects make, and where asked for in
//! selectors.
//!
//! ```yaml
//! # the kustomization
//! labels: [{pairs: {app: web}, includeSelectors: true}]
//! # before
//! {apiVersion: v1, kind: Service, metadata: {name: web}}
//! # after
//! {apiVersion: v1, kind: Service, metadata: {name: web, labels: {app: web}}, spec: {selector: {app: web}}}
//! ```

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;

use super::Transform;
use crate::kustomize::configuration::{Configuration, united};
use crate::kustomize::field::{FieldSpec, anywhere, at, at_version, set};
use crate::kustomize::kustomization::{self, Kustomization};
use crate::kustomize::resource::{Resource, check_ids};
use crate::kustomize::shared::Shared;
use crate::kustomize::{BuildError, json};
use crate::yaml::Node;

const METADATA: FieldSpec = anywhere("metadata/labels", true);

/// Labels of what workloads make.
pub(in crate::kustomize) const TEMPLATES: [FieldSpec; 9] = [
    METADATA,
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

/// Labels of the claims that a StatefulSet makes.
pub(in crate::kustomize) const CLAIMS: FieldSpec = at(
    "apps",
    "StatefulSet",
    "spec/volumeClaimTemplates[]/metadata/labels",
    true,
);

/// What selects by labels.
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

/// Where a workload's pods say which pods they want near or far.
const SPREADING: [&str; 5] = [
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

/// The built-in places of `commonLabels`.
pub(in crate::kustomize) fn common() -> Vec<FieldSpec> {
    let spreading = SPREADING
        .iter()
        .flat_map(|path| ["Deployment", "StatefulSet"].map(|kind| at("apps", kind, path, false)));
    SELECTORS
        .into_iter()
        .chain(spreading)
        .chain(TEMPLATES)
        .chain([CLAIMS])
        .collect()
}

/// Sets labels.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in crate::kustomize) struct Labels {
    pub labels: BTreeMap<String, String>,
    pub field_specs: Vec<FieldSpec>,
}

impl Labels {
    /// On the objects alone.
    pub fn on_objects(labels: BTreeMap<String, String>) -> Self {
        Self {
            labels,
            field_specs: vec![METADATA],
        }
    }
}

/// One entry of `labels`.
pub(super) fn of(
    entry: &kustomization::Labels,
    configuration: &Configuration,
) -> Result<Labels, BuildError> {
    let places = || {
        let mut places = united(&entry.fields, &configuration.labels)?;
        if entry.include_selectors {
            places = united(&places, &common())?;
            return united(&places, &configuration.common_labels);
        }
        if entry.include_templates {
            places = united(&places, &TEMPLATES)?;
            places = united(&places, &configuration.template_labels)?;
        }
        if entry.include_volume_claim_templates {
            places = united(&places, &[CLAIMS])?;
            places = united(&places, &configuration.volume_claim_template_labels)?;
        }
        united(&places, &[METADATA])
    };
    let field_specs = places().map_err(|message| BuildError::new("labels", message))?;
    Ok(Labels {
        labels: entry.pairs.clone(),
        field_specs,
    })
}

/// `commonLabels`; kustomize runs the transformer as soon as there are labels of either sort.
pub(super) fn common_of(
    kustomization: &Kustomization,
    configuration: &Configuration,
) -> Result<Option<Labels>, BuildError> {
    let labels = kustomization.common_labels.clone();
    if labels.is_empty() && kustomization.labels.is_empty() {
        return Ok(None);
    }
    let field_specs = united(&common(), &configuration.common_labels);
    let field_specs = field_specs.map_err(|message| BuildError::new("commonLabels", message))?;
    Ok(Some(Labels {
        labels,
        field_specs,
    }))
}

impl Transform for Labels {
    fn apply(&self, resources: &mut Vec<Resource>) -> Result<(), String> {
        put(resources, &self.labels, &self.field_specs)
    }
}

/// Sets pairs in maps of labels or annotations.
pub(super) fn put(
    resources: &mut [Resource],
    pairs: &BTreeMap<String, String>,
    places: &[FieldSpec],
) -> Result<(), String> {
    if pairs.is_empty() {
        return Ok(());
    }
    for resource in resources.iter_mut() {
        let id = resource.id();
        // The keys that are new, with the maps that get them.
        let mut new: BTreeMap<&str, Vec<Cow<'static, str>>> = BTreeMap::new();
        for place in places.iter().filter(|place| place.selects(&id)) {
            let put = &mut |map: &mut Node| {
                if !map.is_null() && map.as_mapping().is_none() {
                    return Err(format!(
                        "wrong node kind: expected a map but got {}",
                        map.kind()
                    ));
                }
                for (key, value) in pairs {
                    if map.get(key).is_none() {
                        new.entry(key).or_default().push(place.path.clone());
                    }
                    set(map, key, json::text(value));
                }
                Ok(())
            };
            place
                .visit(&mut resource.node, put)
                .map_err(|message| format!("{id}: {message}"))?;
        }
        resource.settle();
        for (key, mut maps) in new {
            maps.dedup();
            let text = pairs.get(key).map(String::as_str).unwrap_or_default();
            resource.shared.extend(Shared::new(key, text, maps));
        }
    }
    check_ids(resources)
}
