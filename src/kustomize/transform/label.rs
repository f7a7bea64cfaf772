//! `labels` and `commonLabels`: adds labels to every object, to templates, and if requested to
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
use crate::kustomize::BuildError;
use crate::kustomize::go::json;
use crate::kustomize::resource::aliased::AliasedValue;
use crate::kustomize::resource::{Resource, check_ids};
use crate::kustomize::schema::configuration::{Configuration, united};
use crate::kustomize::schema::field_spec::FieldSpec;
use crate::kustomize::schema::kustomization::Kustomization;
use crate::kustomize::schema::{builtin, kustomization};
use crate::kustomize::tree::walk::set;
use crate::yaml::Node;

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Labels {
    pub labels: BTreeMap<String, String>,
    pub field_specs: Vec<FieldSpec>,
}

impl Labels {
    /// Sets labels only in the metadata of objects.
    pub fn metadata_only(labels: BTreeMap<String, String>) -> Self {
        Self {
            labels,
            field_specs: vec![builtin::LABELS],
        }
    }
}

/// Returns the transformer for an entry of `labels`.
pub(crate) fn from_entry(
    entry: &kustomization::Labels,
    configuration: &Configuration,
) -> Result<Labels, BuildError> {
    let places = || {
        let mut places = united(&entry.fields, &configuration.labels)?;
        if entry.include_selectors {
            return united(&places, &configuration.common_labels);
        }
        if entry.include_templates {
            places = united(&places, &configuration.template_labels)?;
        }
        if entry.include_volume_claim_templates {
            places = united(&places, &configuration.volume_claim_template_labels)?;
        }
        united(&places, &[builtin::LABELS])
    };
    Ok(Labels {
        labels: entry.pairs.clone(),
        field_specs: places()?,
    })
}

/// Returns the transformer for `commonLabels`. As in kustomize, it is present if either
/// `commonLabels` or `labels` is set.
pub(crate) fn common_from_kustomization(
    kustomization: &Kustomization,
    configuration: &Configuration,
) -> Result<Option<Labels>, BuildError> {
    let labels = kustomization.common_labels.clone();
    if labels.is_empty() && kustomization.labels.is_empty() {
        return Ok(None);
    }
    let field_specs = configuration.common_labels.clone();
    Ok(Some(Labels {
        labels,
        field_specs,
    }))
}

impl Transform for Labels {
    fn apply(&self, resources: &mut Vec<Resource>) -> Result<(), BuildError> {
        set_pairs(resources, &self.labels, &self.field_specs)
    }
}

/// Sets keys in maps of labels or annotations.
pub(crate) fn set_pairs(
    resources: &mut [Resource],
    pairs: &BTreeMap<String, String>,
    places: &[FieldSpec],
) -> Result<(), BuildError> {
    if pairs.is_empty() {
        return Ok(());
    }
    for resource in resources.iter_mut() {
        let id = resource.id();
        // The new keys, with the maps that they are added to.
        let mut new: BTreeMap<&str, Vec<Cow<'static, str>>> = BTreeMap::new();
        for place in places.iter().filter(|place| place.selects(&id)) {
            let put = &mut |map: &mut Node| {
                if !map.is_null() && map.as_mapping().is_none() {
                    return Err(BuildError::new(format!(
                        "wrong node kind: expected a map but got {}",
                        map.kind()
                    )));
                }
                if map.is_null() && !place.create {
                    return Ok(());
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
                .map_err(|error| error.about(&id))?;
        }
        resource.update_aliased_values();
        for (key, mut maps) in new {
            maps.dedup();
            let text = pairs.get(key).map(String::as_str).unwrap_or_default();
            resource
                .aliased_values
                .extend(AliasedValue::new(key, text, maps));
        }
    }
    check_ids(resources)
}
