//! `configurations`: places in objects beside the built-in ones. What a base configures holds in
//! whatever is built on it.
//!
//! ```yaml
//! nameReference:
//! - {kind: Bee, fieldSpecs: [{kind: Hive, path: spec/queen}]}   # Hives name Bees there
//! commonLabels: [{kind: Hive, path: spec/selector, create: true}]
//! ```

use serde::Deserialize;
use serde_json::Value;

use super::BuildError;
use super::field::FieldSpec;
use super::reference::{BackReference, Kind};
use crate::yaml::{self, Limits};

/// The places of one file, or of several together.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Configuration {
    pub name_prefix: Vec<Place>,
    pub name_suffix: Vec<Place>,
    pub namespace: Vec<Place>,
    pub common_labels: Vec<Place>,
    pub labels: Vec<Place>,
    pub template_labels: Vec<Place>,
    pub volume_claim_template_labels: Vec<Place>,
    pub common_annotations: Vec<Place>,
    pub name_reference: Vec<Referred>,
    pub var_reference: Vec<Place>,
    pub images: Vec<Place>,
    pub replicas: Vec<Place>,
}

/// A place.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Place {
    group: String,
    version: String,
    kind: String,
    path: String,
    create: bool,
}

/// A kind, and the places that name its objects.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Referred {
    group: String,
    version: String,
    kind: String,
    field_specs: Vec<Place>,
}

impl Configuration {
    /// Reads a file.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8")?;
        let node = yaml::parse(text, Limits::default()).map_err(|error| format!("it is not valid YAML: {error}"))?;
        let Some(node) = node.filter(|node| !node.is_null()) else { return Ok(Self::default()) };
        let mut value = yaml::json::to_json(&node).map_err(|error| error.to_string())?;
        if let Value::Object(map) = &mut value {
            map.retain(|_, value| !value.is_null());
        }
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    /// Adds another's places.
    pub fn merge(&mut self, other: Self) -> Result<(), BuildError> {
        merge(&mut self.name_prefix, other.name_prefix)?;
        merge(&mut self.name_suffix, other.name_suffix)?;
        merge(&mut self.namespace, other.namespace)?;
        merge(&mut self.common_labels, other.common_labels)?;
        merge(&mut self.labels, other.labels)?;
        merge(&mut self.template_labels, other.template_labels)?;
        merge(&mut self.volume_claim_template_labels, other.volume_claim_template_labels)?;
        merge(&mut self.common_annotations, other.common_annotations)?;
        merge(&mut self.var_reference, other.var_reference)?;
        merge(&mut self.images, other.images)?;
        merge(&mut self.replicas, other.replicas)?;
        self.name_reference.extend(other.name_reference);
        Ok(())
    }

    /// References beside the built-in ones.
    pub fn references(&self) -> Vec<BackReference> {
        let references = self.name_reference.iter().map(|referred| BackReference {
            target: Kind {
                group: referred.group.clone(),
                version: referred.version.clone(),
                kind: referred.kind.clone(),
            },
            fields: specs(&referred.field_specs),
        });
        references.collect()
    }
}

/// Places as the transformers take them.
pub(super) fn specs(places: &[Place]) -> Vec<FieldSpec> {
    let spec = |place: &Place| FieldSpec {
        group: place.group.clone().into(),
        version: place.version.clone().into(),
        kind: place.kind.clone().into(),
        path: place.path.clone().into(),
        create: place.create,
    };
    places.iter().map(spec).collect()
}

/// A place can be there once, and must be told alike each time.
fn merge(known: &mut Vec<Place>, more: Vec<Place>) -> Result<(), BuildError> {
    for place in more {
        match known.iter().find(|known| Place { create: place.create, ..(*known).clone() } == place) {
            Some(same) if same.create == place.create => {}
            Some(_) => {
                let message = format!("conflicting fieldspecs: {} is told with and without create", place.path);
                return Err(BuildError::new("configurations", message));
            }
            None => known.push(place),
        }
    }
    Ok(())
}
