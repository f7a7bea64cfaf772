//! `namePrefix` and `nameSuffix`: changes the names of objects. References are updated at the end
//! of the build.
//!
//! ```yaml
//! # the kustomization
//! namePrefix: a-
//! nameSuffix: -z
//! # before
//! {apiVersion: v1, kind: ConfigMap, metadata: {name: c}}
//! # after
//! {apiVersion: v1, kind: ConfigMap, metadata: {name: a-c-z}}
//! ```

use serde::Deserialize;

use super::Transform;
use crate::kustomize::BuildError;
use crate::kustomize::go::json;
use crate::kustomize::resource::{Id, Resource};
use crate::kustomize::schema::configuration::Configuration;
use crate::kustomize::schema::field_spec::FieldSpec;
use crate::kustomize::schema::kustomization::Kustomization;
use crate::kustomize::tree::walk::set_scalar;
use crate::yaml::Node;

const NAME: &str = "metadata/name";

/// Adds a prefix or suffix to names.
pub(crate) struct Affix {
    text: String,
    side: Side,
    fields: Vec<FieldSpec>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Before,
    After,
}

/// The config of the prefix and suffix transformers.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct AffixConfig {
    prefix: String,
    suffix: String,
    field_specs: Option<Vec<FieldSpec>>,
}

impl AffixConfig {
    pub fn prefix(self) -> Result<Affix, BuildError> {
        Ok(Affix {
            text: self.prefix,
            side: Side::Before,
            fields: required(self.field_specs)?,
        })
    }

    pub fn suffix(self) -> Result<Affix, BuildError> {
        Ok(Affix {
            text: self.suffix,
            side: Side::After,
            fields: required(self.field_specs)?,
        })
    }

    pub fn both(self) -> Result<PrefixSuffixTransformer, BuildError> {
        let suffix = Self {
            suffix: self.suffix.clone(),
            field_specs: self.field_specs.clone(),
            ..Self::default()
        };
        Ok(PrefixSuffixTransformer(self.prefix()?, suffix.suffix()?))
    }
}

fn required(fields: Option<Vec<FieldSpec>>) -> Result<Vec<FieldSpec>, BuildError> {
    fields.ok_or_else(|| {
        "fieldSpecs is missing; it names the fields to change, such as metadata/name".into()
    })
}

pub(crate) fn prefix_from_kustomization(
    kustomization: &Kustomization,
    configuration: &Configuration,
) -> Result<Option<Affix>, BuildError> {
    affix(
        &kustomization.name_prefix,
        Side::Before,
        &configuration.name_prefix,
    )
}

pub(crate) fn suffix_from_kustomization(
    kustomization: &Kustomization,
    configuration: &Configuration,
) -> Result<Option<Affix>, BuildError> {
    affix(
        &kustomization.name_suffix,
        Side::After,
        &configuration.name_suffix,
    )
}

fn affix(text: &str, side: Side, fields: &[FieldSpec]) -> Result<Option<Affix>, BuildError> {
    if text.is_empty() {
        return Ok(None);
    }
    let fields = fields.to_vec();
    Ok(Some(Affix {
        text: text.to_owned(),
        side,
        fields,
    }))
}

impl Transform for Affix {
    fn apply(&self, resources: &mut Vec<Resource>) -> Result<(), BuildError> {
        for resource in resources {
            let original = resource.original_id();
            if keeps_its_name(&original) {
                continue;
            }
            let present = resource.id();
            for field in self.fields.iter().filter(|field| field.selects(&original)) {
                if field.path == NAME {
                    self.record(resource);
                }
                if field.selects(&present) {
                    field.visit(&mut resource.node, &mut |node| self.add(node))?;
                }
            }
        }
        Ok(())
    }
}

impl Affix {
    /// Records the affix, and unless it is empty the id before the change.
    fn record(&self, resource: &mut Resource) {
        match self.side {
            Side::Before => resource.prefixes.push(self.text.clone()),
            Side::After => resource.suffixes.push(self.text.clone()),
        }
        if !self.text.is_empty() {
            resource.record_id();
        }
    }

    fn add(&self, node: &mut Node) -> Result<(), BuildError> {
        let name = node.as_str().unwrap_or_default();
        let new = match self.side {
            Side::Before => json::text(&format!("{}{name}", self.text)),
            Side::After => json::text(&format!("{name}{}", self.text)),
        };
        set_scalar(node, new)
    }
}

/// A `PrefixSuffixTransformer`.
pub(crate) struct PrefixSuffixTransformer(Affix, Affix);

impl Transform for PrefixSuffixTransformer {
    fn apply(&self, resources: &mut Vec<Resource>) -> Result<(), BuildError> {
        self.0.apply(resources)?;
        self.1.apply(resources)
    }
}

fn keeps_its_name(id: &Id) -> bool {
    match id.kind.as_str() {
        "CustomResourceDefinition" | "Namespace" => true,
        "APIService" => id.group == "apiregistration.k8s.io",
        _ => false,
    }
}
