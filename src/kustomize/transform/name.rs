//! `namePrefix` and `nameSuffix`: what is put before and after the names of objects. What refers to an
//! object by its name follows at the end of the build.
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
use crate::kustomize::configuration::{Configuration, united};
use crate::kustomize::field::{FieldSpec, anywhere, set_scalar};
use crate::kustomize::kustomization::Kustomization;
use crate::kustomize::resource::{Id, Resource};
use crate::kustomize::{BuildError, json};
use crate::yaml::Node;

const NAME: &str = "metadata/name";

pub(in crate::kustomize) const FIELDS: [FieldSpec; 1] = [anywhere(NAME, false)];

/// Puts a text before or after names.
pub(super) struct Affix {
    text: String,
    side: Side,
    fields: Vec<FieldSpec>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Before,
    After,
}

/// The config of the transformers of either side.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Config {
    prefix: String,
    suffix: String,
    field_specs: Option<Vec<FieldSpec>>,
}

impl Config {
    pub fn prefix(self) -> Result<Affix, String> {
        Ok(Affix {
            text: self.prefix,
            side: Side::Before,
            fields: named(self.field_specs)?,
        })
    }

    pub fn suffix(self) -> Result<Affix, String> {
        Ok(Affix {
            text: self.suffix,
            side: Side::After,
            fields: named(self.field_specs)?,
        })
    }

    pub fn both(self) -> Result<Both, String> {
        let suffix = Self {
            suffix: self.suffix.clone(),
            field_specs: self.field_specs.clone(),
            ..Self::default()
        };
        Ok(Both(self.prefix()?, suffix.suffix()?))
    }
}

fn named(fields: Option<Vec<FieldSpec>>) -> Result<Vec<FieldSpec>, String> {
    fields.ok_or_else(|| {
        "fieldSpecs is missing; it names the fields to change, such as metadata/name".to_owned()
    })
}

pub(super) fn prefix_of(
    kustomization: &Kustomization,
    configuration: &Configuration,
) -> Result<Option<Affix>, BuildError> {
    affix(
        &kustomization.name_prefix,
        Side::Before,
        &configuration.name_prefix,
        "namePrefix",
    )
}

pub(super) fn suffix_of(
    kustomization: &Kustomization,
    configuration: &Configuration,
) -> Result<Option<Affix>, BuildError> {
    affix(
        &kustomization.name_suffix,
        Side::After,
        &configuration.name_suffix,
        "nameSuffix",
    )
}

fn affix(
    text: &str,
    side: Side,
    more: &[FieldSpec],
    field: &str,
) -> Result<Option<Affix>, BuildError> {
    if text.is_empty() {
        return Ok(None);
    }
    let fields = united(&FIELDS, more).map_err(|message| BuildError::new(field, message))?;
    Ok(Some(Affix {
        text: text.to_owned(),
        side,
        fields,
    }))
}

impl Transform for Affix {
    fn apply(&self, resources: &mut Vec<Resource>) -> Result<(), String> {
        for resource in resources {
            let original = resource.original_id();
            if has_a_name_that_means_something(&original) {
                continue;
            }
            let present = resource.id();
            for field in self.fields.iter().filter(|field| field.selects(&original)) {
                if field.path == NAME {
                    self.note(resource);
                }
                if field.selects(&present) {
                    field.visit(&mut resource.node, &mut |node| self.put(node))?;
                }
            }
        }
        Ok(())
    }
}

impl Affix {
    /// An object keeps what its name was, and what was put around it.
    fn note(&self, resource: &mut Resource) {
        match self.side {
            Side::Before => resource.prefixes.push(self.text.clone()),
            Side::After => resource.suffixes.push(self.text.clone()),
        }
        if !self.text.is_empty() {
            resource.remember();
        }
    }

    fn put(&self, node: &mut Node) -> Result<(), String> {
        let name = node.as_str().unwrap_or_default();
        let new = match self.side {
            Side::Before => json::text(&format!("{}{name}", self.text)),
            Side::After => json::text(&format!("{name}{}", self.text)),
        };
        set_scalar(node, new)
    }
}

/// Both sides by one config.
pub(super) struct Both(Affix, Affix);

impl Transform for Both {
    fn apply(&self, resources: &mut Vec<Resource>) -> Result<(), String> {
        self.0.apply(resources)?;
        self.1.apply(resources)
    }
}

fn has_a_name_that_means_something(id: &Id) -> bool {
    match id.kind.as_str() {
        "CustomResourceDefinition" | "Namespace" => true,
        "APIService" => id.group == "apiregistration.k8s.io",
        _ => false,
    }
}
