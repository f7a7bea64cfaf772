//! `configurations`: field specs in addition to the built-in ones. The configuration of a base also
//! applies to the kustomizations that use it.
//!
//! ```yaml
//! nameReference:
//! - {kind: Bee, fieldSpecs: [{kind: Hive, path: spec/queen}]}   # Hives name Bees there
//! commonLabels: [{kind: Hive, path: spec/selector, create: true}]
//! ```

use serde::Deserialize;

use crate::kustomize::BuildError;
use crate::kustomize::go::decode::{Unknown, decode};
use crate::kustomize::schema::field_spec::FieldSpec;
use crate::kustomize::schema::name_reference::{BackReference, GvkPattern};
use crate::kustomize::schema::{builtin, settings};

/// The field specs of one or several configuration files, without the built-in ones.
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

/// A kind, and the fields that hold names of objects of this kind.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Referred {
    pub group: String,
    pub version: String,
    pub kind: String,
    pub field_specs: Vec<FieldSpec>,
}

impl Configuration {
    /// Parses a configuration file; an empty one has no field specs.
    pub fn read(bytes: &[u8]) -> Result<Self, BuildError> {
        match settings::read(bytes)? {
            Some(value) => decode(&value, Unknown::Deny),
            None => Ok(Self::default()),
        }
    }

    /// Adds the field specs of `other`.
    ///
    /// # Errors
    /// Fails if a field spec is given both with and without `create`.
    pub fn merge(&mut self, other: Self) -> Result<(), BuildError> {
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

    /// Returns the name references in addition to the built-in ones.
    pub fn references(&self) -> Vec<BackReference> {
        let references = self.name_reference.iter().map(|reference| BackReference {
            target: GvkPattern {
                group: reference.group.clone(),
                version: reference.version.clone(),
                kind: reference.kind.clone(),
            },
            fields: reference.field_specs.clone(),
        });
        references.collect()
    }
}

/// Adds the field specs that neither `known` nor `builtin` covers. Fails if a covered one differs
/// in `create`.
fn merge(
    known: &mut Vec<FieldSpec>,
    more: Vec<FieldSpec>,
    builtin: &[FieldSpec],
) -> Result<(), BuildError> {
    for field_spec in more {
        match builtin
            .iter()
            .chain(known.iter())
            .find(|known| known.covers(&field_spec))
        {
            Some(same) if same.create == field_spec.create => {}
            Some(_) => {
                return Err(BuildError::new(format!(
                    "conflicting fieldspecs: create is set for {} in one and not in the other",
                    field_spec.path
                )));
            }
            None => known.push(field_spec),
        }
    }
    Ok(())
}

/// Concatenates two lists of field specs, without those in `then` that `first` covers.
pub(crate) fn united(
    first: &[FieldSpec],
    then: &[FieldSpec],
) -> Result<Vec<FieldSpec>, BuildError> {
    let mut field_specs = first.to_vec();
    merge(&mut field_specs, then.to_vec(), &[])?;
    Ok(field_specs)
}
