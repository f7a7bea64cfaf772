//! `configurations`: places in objects beside the built-in ones. What a base configures holds in
//! whatever is built on it.
//!
//! ```yaml
//! nameReference:
//! - {kind: Bee, fieldSpecs: [{kind: Hive, path: spec/queen}]}   # Hives name Bees there
//! commonLabels: [{kind: Hive, path: spec/selector, create: true}]
//! ```

use serde::Deserialize;

use crate::kustomize::go::decode::{Unknown, decode};
use crate::kustomize::schema::field_spec::FieldSpec;
use crate::kustomize::schema::name_reference::{BackReference, GvkPattern};
use crate::kustomize::schema::{builtin, settings};

/// The places of one file, or of several together, beside the built-in ones.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Configuration {
    pub name_prefix: Vec<FieldSpec>,
    pub name_suffix: Vec<FieldSpec>,
    pub namespace: Vec<FieldSpec>,
    pub common_labels: Vec<FieldSpec>,
    pub labels: Vec<FieldSpec>,
    pub template_labels: Vec<FieldSpec>,
    pub volume_claim_template_labels: Vec<FieldSpec>,
    pub common_annotations: Vec<FieldSpec>,
    pub name_reference: Vec<Referred>,
    pub var_reference: Vec<FieldSpec>,
    pub images: Vec<FieldSpec>,
    pub replicas: Vec<FieldSpec>,
}

/// A kind, and the places that name its objects.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Referred {
    pub group: String,
    pub version: String,
    pub kind: String,
    pub field_specs: Vec<FieldSpec>,
}

impl Configuration {
    /// Reads a file.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        match settings::read(bytes)? {
            Some(value) => decode(&value, Unknown::Refused),
            None => Ok(Self::default()),
        }
    }

    /// Adds another's places.
    ///
    /// # Errors
    /// A place is told with and without `create`.
    pub fn merge(&mut self, other: Self) -> Result<(), String> {
        merge(&mut self.name_prefix, other.name_prefix, &builtin::NAMES)?;
        merge(&mut self.name_suffix, other.name_suffix, &builtin::NAMES)?;
        merge(&mut self.namespace, other.namespace, &builtin::NAMESPACES)?;
        merge(
            &mut self.common_labels,
            other.common_labels,
            &builtin::common_labels(),
        )?;
        merge(&mut self.labels, other.labels, &[])?;
        merge(
            &mut self.template_labels,
            other.template_labels,
            &builtin::TEMPLATE_LABELS,
        )?;
        let claims = other.volume_claim_template_labels;
        merge(
            &mut self.volume_claim_template_labels,
            claims,
            &[builtin::CLAIM_LABELS],
        )?;
        merge(
            &mut self.common_annotations,
            other.common_annotations,
            &builtin::ANNOTATIONS,
        )?;
        merge(
            &mut self.var_reference,
            other.var_reference,
            &builtin::variables(),
        )?;
        merge(&mut self.images, other.images, &builtin::IMAGES)?;
        merge(&mut self.replicas, other.replicas, &builtin::REPLICAS)?;
        self.name_reference.extend(other.name_reference);
        Ok(())
    }

    /// References beside the built-in ones.
    pub fn references(&self) -> Vec<BackReference> {
        let references = self.name_reference.iter().map(|referred| BackReference {
            target: GvkPattern {
                group: referred.group.clone(),
                version: referred.version.clone(),
                kind: referred.kind.clone(),
            },
            fields: referred.field_specs.clone(),
        });
        references.collect()
    }
}

/// A place can be there once, and must be told alike each time.
fn merge(
    known: &mut Vec<FieldSpec>,
    more: Vec<FieldSpec>,
    builtin: &[FieldSpec],
) -> Result<(), String> {
    for place in more {
        match builtin
            .iter()
            .chain(known.iter())
            .find(|known| known.covers(&place))
        {
            Some(same) if same.create == place.create => {}
            Some(_) => {
                return Err(format!(
                    "conflicting fieldspecs: {} is told with and without create",
                    place.path
                ));
            }
            None => known.push(place),
        }
    }
    Ok(())
}

/// One list of places after another; what the first covers is not told again.
pub(crate) fn united(first: &[FieldSpec], then: &[FieldSpec]) -> Result<Vec<FieldSpec>, String> {
    let mut places = first.to_vec();
    merge(&mut places, then.to_vec(), &[])?;
    Ok(places)
}
