//! `configurations`: field specs in addition to the built-in ones. The configuration of a base also
//! applies to the kustomizations that use it.
//!
//! ```yaml
//! nameReference:
//! - {kind: Bee, fieldSpecs: [{kind: Hive, path: spec/queen}]}   # Hives name Bees there
//! commonLabels: [{kind: Hive, path: spec/selector, create: true}]
//! ```

use std::sync::LazyLock;

use serde::Deserialize;

use crate::kustomize::BuildError;
use crate::kustomize::go::decode::{Unknown, decode};
use crate::kustomize::schema::field_spec::FieldSpec;
use crate::kustomize::schema::kind_order::rank;
use crate::kustomize::schema::name_reference::{BackReference, GvkPattern};
use crate::kustomize::schema::{builtin, name_reference, settings};

/// The field specs of a kustomization, or of one or several configuration files.
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
        let Some(tree) = settings::parse(bytes)? else {
            return Ok(Self::default());
        };
        let value = settings::to_json(&tree)?;
        settings::check_keys(&tree)?;
        decode(&value, Unknown::Deny)
    }

    /// Returns the built-in field specs, without name references, which are a table of their own
    /// ([`name_reference::builtin`]).
    pub fn builtin() -> Self {
        static BUILTIN: LazyLock<Configuration> = LazyLock::new(|| {
            let mut all = Configuration {
                name_prefix: builtin::NAMES.to_vec(),
                name_suffix: builtin::NAMES.to_vec(),
                namespace: builtin::NAMESPACES.to_vec(),
                common_labels: builtin::common_labels(),
                labels: Vec::new(),
                template_labels: builtin::TEMPLATE_LABELS.to_vec(),
                volume_claim_template_labels: vec![builtin::CLAIM_LABELS],
                common_annotations: builtin::ANNOTATIONS.to_vec(),
                name_reference: Vec::new(),
                var_reference: builtin::variables(),
                images: builtin::IMAGES.to_vec(),
                replicas: builtin::REPLICAS.to_vec(),
            };
            all.lists().into_iter().for_each(|list| sort(list));
            all
        });
        BUILTIN.clone()
    }

    fn lists(&mut self) -> [&mut Vec<FieldSpec>; 11] {
        [
            &mut self.name_prefix,
            &mut self.name_suffix,
            &mut self.namespace,
            &mut self.common_labels,
            &mut self.labels,
            &mut self.template_labels,
            &mut self.volume_claim_template_labels,
            &mut self.common_annotations,
            &mut self.var_reference,
            &mut self.images,
            &mut self.replicas,
        ]
    }

    /// Adds the field specs of `other` that the known ones do not cover, and sorts them: the order
    /// decides which of several is left out when a list is merged into another one.
    ///
    /// # Errors
    /// Fails if a covered one differs in `create`.
    pub fn merge(&mut self, mut other: Self) -> Result<(), BuildError> {
        for (known, more) in self.lists().into_iter().zip(other.lists()) {
            merge(known, std::mem::take(more))?;
            sort(known);
        }
        for referred in other.name_reference {
            self.add_reference(referred)?;
        }
        Ok(())
    }

    /// Adds fields that hold names of a kind.
    fn add_reference(&mut self, referred: Referred) -> Result<(), BuildError> {
        let gvk = |one: &Referred| (one.group.clone(), one.version.clone(), one.kind.clone());
        let target = referred.pattern();
        for builtin in name_reference::builtin()
            .iter()
            .filter(|known| known.target == target)
        {
            merge(&mut builtin.fields.clone(), referred.field_specs.clone())?;
        }
        let mut known = self.name_reference.iter_mut();
        match known.find(|known| gvk(known) == gvk(&referred)) {
            Some(known) => merge(&mut known.field_specs, referred.field_specs),
            None => {
                self.name_reference.push(referred);
                Ok(())
            }
        }
    }

    /// Returns the name references in addition to the built-in ones.
    pub fn references(&self) -> Vec<BackReference> {
        let references = self.name_reference.iter().map(|reference| BackReference {
            target: reference.pattern(),
            fields: reference.field_specs.clone(),
        });
        references.collect()
    }
}

impl Referred {
    fn pattern(&self) -> GvkPattern {
        GvkPattern {
            group: self.group.clone(),
            version: self.version.clone(),
            kind: self.kind.clone(),
        }
    }
}

/// Adds the field specs that no known one covers.
///
/// # Errors
/// Fails if a covered one differs in `create`.
fn merge(known: &mut Vec<FieldSpec>, more: Vec<FieldSpec>) -> Result<(), BuildError> {
    for field_spec in more {
        match known.iter().find(|known| known.covers(&field_spec)) {
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

/// Sorts field specs as kustomize does: by the order of kinds, then by group, version and kind, with
/// `~G`, `~V` and `~K` for those that are empty.
fn sort(field_specs: &mut [FieldSpec]) {
    fn text<'s>(text: &'s str, empty: &'static str) -> &'s str {
        if text.is_empty() { empty } else { text }
    }
    field_specs.sort_by_cached_key(|spec| {
        let group = text(&spec.group, "~G");
        let (version, kind) = (text(&spec.version, "~V"), text(&spec.kind, "~K"));
        (rank(&spec.kind), format!("{group}_{version}_{kind}"))
    });
}

/// Concatenates two lists of field specs, without those in `then` that `first` covers.
pub(crate) fn united(
    first: &[FieldSpec],
    then: &[FieldSpec],
) -> Result<Vec<FieldSpec>, BuildError> {
    let mut field_specs = first.to_vec();
    merge(&mut field_specs, then.to_vec())?;
    Ok(field_specs)
}
