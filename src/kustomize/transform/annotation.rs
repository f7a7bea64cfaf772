//! `commonAnnotations`: annotations on every object, and on the pods that objects make.
//!
//! ```yaml
//! # the kustomization
//! commonAnnotations: {owner: me}
//! # before
//! {apiVersion: v1, kind: ConfigMap, metadata: {name: c}}
//! # after
//! {apiVersion: v1, kind: ConfigMap, metadata: {name: c, annotations: {owner: me}}}
//! ```

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Transform;
use super::label::put;
use crate::kustomize::BuildError;
use crate::kustomize::configuration::{Configuration, united};
use crate::kustomize::field::{FieldSpec, anywhere, at, at_version};
use crate::kustomize::kustomization::Kustomization;
use crate::kustomize::resource::Resource;

pub(in crate::kustomize) const FIELDS: [FieldSpec; 9] = [
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

/// Sets annotations.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Annotations {
    annotations: BTreeMap<String, String>,
    field_specs: Vec<FieldSpec>,
}

pub(super) fn of(
    kustomization: &Kustomization,
    configuration: &Configuration,
) -> Result<Option<Annotations>, BuildError> {
    let annotations = kustomization.common_annotations.clone();
    if annotations.is_empty() {
        return Ok(None);
    }
    let field_specs = united(&FIELDS, &configuration.common_annotations);
    let field_specs =
        field_specs.map_err(|message| BuildError::new("commonAnnotations", message))?;
    Ok(Some(Annotations {
        annotations,
        field_specs,
    }))
}

impl Transform for Annotations {
    fn apply(&self, resources: &mut Vec<Resource>) -> Result<(), String> {
        put(resources, &self.annotations, &self.field_specs)
    }
}
