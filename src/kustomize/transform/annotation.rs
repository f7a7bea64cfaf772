//! `commonAnnotations`.

use std::collections::BTreeMap;

use super::label::put;
use crate::kustomize::BuildError;
use crate::kustomize::field::{FieldSpec, anywhere, at, at_version};
use crate::kustomize::resource::Resource;

pub(super) const FIELDS: [FieldSpec; 9] = [
    anywhere("metadata/annotations", true),
    at_version("", "v1", "ReplicationController", "spec/template/metadata/annotations", true),
    at("", "Deployment", "spec/template/metadata/annotations", true),
    at("", "ReplicaSet", "spec/template/metadata/annotations", true),
    at("", "DaemonSet", "spec/template/metadata/annotations", true),
    at("", "StatefulSet", "spec/template/metadata/annotations", true),
    at("batch", "Job", "spec/template/metadata/annotations", true),
    at("batch", "CronJob", "spec/jobTemplate/metadata/annotations", true),
    at("batch", "CronJob", "spec/jobTemplate/spec/template/metadata/annotations", true),
];

pub(super) fn apply(
    resources: &mut [Resource],
    annotations: &BTreeMap<String, String>,
    more: &[FieldSpec],
) -> Result<(), BuildError> {
    if annotations.is_empty() {
        return Ok(());
    }
    for resource in resources {
        let id = resource.id();
        for spec in FIELDS.iter().chain(more).filter(|spec| spec.selects(&id)) {
            spec.visit(&mut resource.node, &mut |map| put(map, annotations))?;
        }
    }
    Ok(())
}
