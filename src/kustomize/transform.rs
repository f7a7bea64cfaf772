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
use patch::SharedIndex;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::BuildError;
use super::resource::Resource;
use crate::kustomize::go::decode::{Unknown, decode, decode_config};
use crate::kustomize::load::setup::Setup;
use crate::kustomize::load::step::{ConfiguredStep, FieldRef};
use crate::kustomize::schema::configuration::Configuration;
use crate::kustomize::schema::kustomization::Kustomization;
use crate::kustomize::schema::patch::Patch;
use crate::kustomize::transform::hash::Hash;

pub(crate) trait Transform {
    /// Changes the objects.
    ///
    /// # Errors
    /// The error has no field; the caller knows which one asked for the transformer.
    fn apply(&self, resources: &mut Vec<Resource>) -> Result<(), BuildError>;

    /// Returns a note for each selector or name that matches none of the objects.
    fn unmatched(&self, _resources: &[Resource]) -> Vec<BuildError> {
        Vec::new()
    }

    /// Returns the parts that are written elsewhere than in the field itself, such as patch files,
    /// so that `explain` can attribute changes to them. Applying the parts in order equals `apply`.
    /// Empty if there are none.
    fn parts(&self) -> Vec<Part<'_>> {
        Vec::new()
    }
}

impl<T: Transform> Transform for &T {
    fn apply(&self, resources: &mut Vec<Resource>) -> Result<(), BuildError> {
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
// Long: one entry per field.
pub(crate) fn from_fields(
    kustomization: &Kustomization,
    configuration: &Configuration,
    setup: &mut Setup<'_, '_>,
) -> Result<Vec<ConfiguredStep<dyn Transform>>, BuildError> {
    let mut list = List(Vec::new());
    list.add(
        "patchesStrategicMerge",
        "PatchStrategicMergeTransformer",
        strategic_merge::from_kustomization(kustomization, setup),
    )?;
    let mut index = SharedIndex::default();
    list.add_entries(
        "patches",
        "PatchTransformer",
        &kustomization.patches,
        |entry| Ok(index.share(entry.set_up(setup)?)),
    )?;
    list.add(
        "namespace",
        "NamespaceTransformer",
        namespace::from_kustomization(kustomization, configuration),
    )?;
    list.add(
        "namePrefix",
        "PrefixTransformer",
        name::prefix_from_kustomization(kustomization, configuration),
    )?;
    list.add(
        "nameSuffix",
        "SuffixTransformer",
        name::suffix_from_kustomization(kustomization, configuration),
    )?;
    list.add_entries(
        "labels",
        "LabelTransformer",
        &kustomization.labels,
        |entry| label::from_entry(entry, configuration),
    )?;
    list.add(
        "commonLabels",
        "LabelTransformer",
        label::common_from_kustomization(kustomization, configuration),
    )?;
    list.add(
        "commonAnnotations",
        "AnnotationsTransformer",
        annotation::from_kustomization(kustomization, configuration),
    )?;
    list.add_entries(
        "patchesJson6902",
        "PatchJson6902Transformer",
        &kustomization.patches_json6902,
        |entry| json6902::from_entry(entry, setup),
    )?;
    list.add_entries(
        "replicas",
        "ReplicaCountTransformer",
        &kustomization.replicas,
        |entry| replica::from_entry(entry, configuration),
    )?;
    list.add_entries(
        "images",
        "ImageTagTransformer",
        &kustomization.images,
        |entry| image::from_entry(entry, configuration),
    )?;
    list.add(
        "replacements",
        "ReplacementTransformer",
        replacement::from_entries(&kustomization.replacements, setup),
    )?;
    Ok(list.0)
}

struct List(Vec<ConfiguredStep<dyn Transform>>);

impl List {
    /// Adds the single transformer of a field, if the field is set.
    fn add<T: Transform + 'static>(
        &mut self,
        field: &'static str,
        kind: &'static str,
        transformer: Result<Option<T>, BuildError>,
    ) -> Result<(), BuildError> {
        if let Some(transformer) = transformer.map_err(|error| error.below(field))? {
            self.0.push(ConfiguredStep {
                field_ref: FieldRef::whole(field),
                kind,
                work: Box::new(transformer),
            });
        }
        Ok(())
    }

    /// Adds a transformer for each entry of a field.
    fn add_entries<E, T: Transform + 'static>(
        &mut self,
        field: &'static str,
        kind: &'static str,
        entries: &[E],
        mut make: impl FnMut(&E) -> Result<T, BuildError>,
    ) -> Result<(), BuildError> {
        for (at, entry) in entries.iter().enumerate() {
            let field_ref = FieldRef::entry(field, at);
            let transformer = make(entry).map_err(|error| error.below(field_ref))?;
            self.0.push(ConfiguredStep {
                field_ref,
                kind,
                work: Box::new(transformer),
            });
        }
        Ok(())
    }
}

/// Returns the transformer for a config under `transformers:` or `validators:`. Unknown fields of a
/// config are ignored, as in kustomize.
pub(crate) fn from_config(
    kind: &str,
    config: &Value,
    setup: &mut Setup<'_, '_>,
) -> Result<Box<dyn Transform>, BuildError> {
    Ok(match kind {
        "AnnotationsTransformer" => Box::new(read::<annotation::Annotations>(config)?),
        "HashTransformer" => Box::new(Hash),
        "ImageTagTransformer" => Box::new(read::<image::ImageTagConfig>(config)?.compile()?),
        "LabelTransformer" => Box::new(read::<Labels>(config)?),
        "NamespaceTransformer" => {
            Box::new(read::<namespace::NamespaceConfig>(config)?.into_transformer()?)
        }
        "PatchJson6902Transformer" => {
            Box::new(read::<json6902::Json6902Config>(config)?.set_up(setup)?)
        }
        "PatchStrategicMergeTransformer" => {
            Box::new(read::<strategic_merge::StrategicMergeConfig>(config)?.set_up(setup)?)
        }
        "PatchTransformer" => Box::new(read::<Patch>(config)?.set_up(setup)?),
        "PrefixSuffixTransformer" => Box::new(read::<name::AffixConfig>(config)?.both()?),
        "PrefixTransformer" => Box::new(read::<name::AffixConfig>(config)?.prefix()?),
        "ReplacementTransformer" => {
            // Kustomize embeds what a replacement consists of.
            let config: replacement::ReplacementConfig = decode(config, Unknown::Ignore)?;
            Box::new(config.set_up(setup)?)
        }
        "ReplicaCountTransformer" => Box::new(read::<replica::ReplicaCountTransformer>(config)?),
        "SuffixTransformer" => Box::new(read::<name::AffixConfig>(config)?.suffix()?),
        "ValueAddTransformer" => {
            Box::new(read::<value_add::ValueAddConfig>(config)?.set_up(setup)?)
        }
        _ => {
            return Err(BuildError::new(format!("there is no transformer {kind}")));
        }
    })
}

fn read<T: DeserializeOwned>(config: &Value) -> Result<T, BuildError> {
    decode_config(config)
}
