//! `commonAnnotations`: adds annotations to every object and to pod templates.
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
use super::label::set_pairs;
use crate::kustomize::BuildError;
use crate::kustomize::resource::Resource;
use crate::kustomize::schema::configuration::Configuration;
use crate::kustomize::schema::field_spec::FieldSpec;
use crate::kustomize::schema::kustomization::Kustomization;

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Annotations {
    annotations: BTreeMap<String, String>,
    field_specs: Vec<FieldSpec>,
}

pub(crate) fn from_kustomization(
    kustomization: &Kustomization,
    configuration: &Configuration,
) -> Result<Option<Annotations>, BuildError> {
    let annotations = kustomization.common_annotations.clone();
    if annotations.is_empty() {
        return Ok(None);
    }
    let field_specs = configuration.common_annotations.clone();
    Ok(Some(Annotations {
        annotations,
        field_specs,
    }))
}

impl Transform for Annotations {
    fn apply(&self, resources: &mut Vec<Resource>) -> Result<(), BuildError> {
        set_pairs(resources, &self.annotations, &self.field_specs)
    }
}
