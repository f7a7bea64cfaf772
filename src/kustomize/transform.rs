//! The transformers, one file each, and their order in kustomize.
//!
//! Each transformer is a struct, which is built from a config under `transformers:` or from a field
//! of a kustomization. Files are read during setup, so a transformer needs only the objects when it
//! runs.

mod annotation;
pub mod hash;
mod image;
mod json6902;
mod label;
mod name;
mod namespace;
pub mod origin;
mod patch;
pub mod reference;
mod replacement;
mod replica;
mod strategic_merge;
mod value_add;
pub mod variable;

pub(crate) use label::Labels;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::BuildError;
use super::resource::Resource;
use crate::kustomize::go::decode::{Unknown, decode};
use crate::kustomize::load::setup::Setup;
use crate::kustomize::load::step::{FieldRef, Step};
use crate::kustomize::schema::configuration::Configuration;
use crate::kustomize::schema::kustomization::Kustomization;
use crate::kustomize::schema::patch::Patch;
use crate::kustomize::transform::hash::Hash;

pub(crate) trait Transform {
    /// Changes the objects.
    ///
    /// # Errors
    /// The message names what is wrong, without the field.
    fn apply(&self, resources: &mut Vec<Resource>) -> Result<(), String>;

    /// Returns the parts that are written elsewhere than in the field itself, such as patch files,
    /// so that `explain` can attribute changes to them. Applying the parts in order equals `apply`.
    /// Empty if there are none.
    fn parts(&self) -> Vec<Part<'_>> {
        Vec::new()
    }
}

impl<T: Transform> Transform for &T {
    fn apply(&self, resources: &mut Vec<Resource>) -> Result<(), String> {
        (*self).apply(resources)
    }
}

/// A part of a transformer with a source location of its own.
pub(crate) struct Part<'a> {
    /// The entry of the field that contains the part, if the step covers the whole field.
    pub entry: Option<usize>,
    /// The file that contains it; none if it is inline.
    pub file: Option<&'a str>,
    /// The key of the entry that holds the inline part; empty if it is the entry itself.
    pub key: &'static str,
    /// True if the values that it writes carry their line numbers.
    pub has_lines: bool,
    pub work: Box<dyn Transform + 'a>,
}

/// Returns the transformers for the fields of a kustomization, in kustomize's order. Patches see
/// the names in the files, and replacements see all other changes. Prefixes before labels is only
/// convention.
pub(crate) fn from_fields(
    kustomization: &Kustomization,
    configuration: &Configuration,
    setup: &mut Setup<'_, '_>,
) -> Result<Vec<Step<dyn Transform>>, BuildError> {
    let mut list = List(Vec::new());
    list.add(
        "patchesStrategicMerge",
        "PatchStrategicMergeTransformer",
        strategic_merge::from_kustomization(kustomization, setup.at("patchesStrategicMerge"))?,
    );
    for patch in patch::from_entries(&kustomization.patches, setup.at("patches"))? {
        list.add_entry("patches", "PatchTransformer", patch);
    }
    list.add(
        "namespace",
        "NamespaceTransformer",
        namespace::from_kustomization(kustomization, configuration)?,
    );
    list.add(
        "namePrefix",
        "PrefixTransformer",
        name::prefix_from_kustomization(kustomization, configuration)?,
    );
    list.add(
        "nameSuffix",
        "SuffixTransformer",
        name::suffix_from_kustomization(kustomization, configuration)?,
    );
    for labels in &kustomization.labels {
        list.add_entry(
            "labels",
            "LabelTransformer",
            label::from_entry(labels, configuration)?,
        );
    }
    list.add(
        "commonLabels",
        "LabelTransformer",
        label::common_from_kustomization(kustomization, configuration)?,
    );
    list.add(
        "commonAnnotations",
        "AnnotationsTransformer",
        annotation::from_kustomization(kustomization, configuration)?,
    );
    for patch in &kustomization.patches_json6902 {
        list.add_entry(
            "patchesJson6902",
            "PatchJson6902Transformer",
            json6902::from_entry(patch, setup.at("patchesJson6902"))?,
        );
    }
    for replicas in &kustomization.replicas {
        list.add_entry(
            "replicas",
            "ReplicaCountTransformer",
            replica::from_entry(replicas, configuration)?,
        );
    }
    for image in &kustomization.images {
        list.add_entry(
            "images",
            "ImageTagTransformer",
            image::from_entry(image, configuration)?,
        );
    }
    list.add(
        "replacements",
        "ReplacementTransformer",
        replacement::from_entries(&kustomization.replacements, setup.at("replacements"))?,
    );
    Ok(list.0)
}

struct List(Vec<Step<dyn Transform>>);

impl List {
    /// Adds the single transformer of a field, if the field is set.
    fn add<T: Transform + 'static>(
        &mut self,
        field: &'static str,
        kind: &'static str,
        transformer: Option<T>,
    ) {
        if let Some(transformer) = transformer {
            self.0.push(Step {
                field_ref: FieldRef::whole(field),
                kind,
                work: Box::new(transformer),
            });
        }
    }

    /// Adds the transformer for the next entry of a field.
    fn add_entry(
        &mut self,
        field: &'static str,
        kind: &'static str,
        transformer: impl Transform + 'static,
    ) {
        let last = self
            .0
            .last()
            .map(|step| step.field_ref)
            .filter(|field_ref| field_ref.field == field);
        let entry = last
            .and_then(|last| last.entry)
            .map_or(0, |entry| entry + 1);
        self.0.push(Step {
            field_ref: FieldRef {
                field,
                entry: Some(entry),
            },
            kind,
            work: Box::new(transformer),
        });
    }
}

/// Returns the transformer for a config under `transformers:` or `validators:`. Unknown fields of a
/// config are ignored, as in kustomize.
pub(crate) fn from_config(
    kind: &str,
    config: &Value,
    setup: &mut Setup<'_, '_>,
) -> Result<Box<dyn Transform>, BuildError> {
    let field = setup.field;
    let bad = |message: String| BuildError::new(field, message);
    Ok(match kind {
        "AnnotationsTransformer" => Box::new(read::<annotation::Annotations>(config, setup)?),
        "HashTransformer" => Box::new(Hash),
        "ImageTagTransformer" => Box::new(
            read::<image::Config>(config, setup)?
                .compile()
                .map_err(bad)?,
        ),
        "LabelTransformer" => Box::new(read::<Labels>(config, setup)?),
        "NamespaceTransformer" => Box::new(
            read::<namespace::Config>(config, setup)?
                .into_transformer()
                .map_err(bad)?,
        ),
        "PatchJson6902Transformer" => {
            Box::new(read::<json6902::Config>(config, setup)?.set_up(setup)?)
        }
        "PatchStrategicMergeTransformer" => {
            Box::new(read::<strategic_merge::Config>(config, setup)?.set_up(setup)?)
        }
        "PatchTransformer" => Box::new(read::<Patch>(config, setup)?.set_up(setup)?),
        "PrefixSuffixTransformer" => {
            Box::new(read::<name::Config>(config, setup)?.both().map_err(bad)?)
        }
        "PrefixTransformer" => {
            Box::new(read::<name::Config>(config, setup)?.prefix().map_err(bad)?)
        }
        "ReplacementTransformer" => {
            Box::new(read::<replacement::Config>(config, setup)?.set_up(setup)?)
        }
        "ReplicaCountTransformer" => {
            Box::new(read::<replica::ReplicaCountTransformer>(config, setup)?)
        }
        "SuffixTransformer" => {
            Box::new(read::<name::Config>(config, setup)?.suffix().map_err(bad)?)
        }
        "ValueAddTransformer" => Box::new(read::<value_add::Config>(config, setup)?.set_up(setup)?),
        _ => {
            return Err(bad(format!(
                "unable to load builtin {kind}: there is no such transformer"
            )));
        }
    })
}

fn read<T: DeserializeOwned>(config: &Value, setup: &Setup<'_, '_>) -> Result<T, BuildError> {
    decode(config, Unknown::Ignore).map_err(|message| setup.failure(message))
}
