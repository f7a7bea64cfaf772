//! The transformers, one file each, and the list of them in kustomize's order.
//!
//! Each is a struct that its config under `transformers:` is read into; a field of a kustomization
//! makes the same struct. Files are read while a transformer is set up, and what it does to the
//! objects needs nothing but the objects.

mod annotation;
mod image;
mod json6902;
mod label;
mod name;
mod namespace;
mod patch;
mod replacement;
mod replica;
mod strategic_merge;
mod value_add;

pub(super) use label::Labels;
pub(super) use patch::Patch;
pub(super) use replacement::Replacement;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::BuildError;
use super::configuration::Configuration;
use super::decode::{Unknown, decode};
use super::hash::Hash;
use super::kustomization::Kustomization;
use super::resource::Resource;
use super::setup::Setup;
use super::step::{Asked, Step};

/// Something that changes objects.
pub(super) trait Transform {
    /// Changes the objects.
    ///
    /// # Errors
    /// What is wrong, as a sentence.
    fn apply(&self, resources: &mut Vec<Resource>) -> Result<(), String>;

    /// What it is made of, if that is written elsewhere than where it is asked for. One part after the
    /// other does the same to the objects.
    fn parts(&self) -> Vec<Part<'_>> {
        Vec::new()
    }
}

impl<T: Transform> Transform for &T {
    fn apply(&self, resources: &mut Vec<Resource>) -> Result<(), String> {
        (*self).apply(resources)
    }
}

/// A part of a transformer that is written in a place of its own.
pub(super) struct Part<'a> {
    /// The entry of the field in which it is, if the step is for the whole field.
    pub entry: Option<usize>,
    /// The file that it was read from; none if it is written in the kustomization.
    pub file: Option<&'a str>,
    /// The key of the entry under which it is written there; empty if it is the entry.
    pub key: &'static str,
    /// Whether what it puts into objects knows its line.
    pub has_lines: bool,
    pub work: Box<dyn Transform + 'a>,
}

/// Places that kustomize knows by itself, by the name of the list in `configurations`.
pub(super) mod builtin {
    pub(in crate::kustomize) use super::annotation::FIELDS as ANNOTATIONS;
    pub(in crate::kustomize) use super::image::FIELDS as IMAGES;
    pub(in crate::kustomize) use super::label::{
        CLAIMS as CLAIM_LABELS, TEMPLATES as TEMPLATE_LABELS, common as common_labels,
    };
    pub(in crate::kustomize) use super::name::FIELDS as NAME;
    pub(in crate::kustomize) use super::namespace::FIELDS as NAMESPACE;
    pub(in crate::kustomize) use super::replica::FIELDS as REPLICAS;
}

/// The transformers that the fields of a kustomization ask for, in kustomize's order: patches see the
/// names that the files have, prefixes come before labels only by custom, and replacements see all.
pub(super) fn of_fields(
    kustomization: &Kustomization,
    configuration: &Configuration,
    setup: &mut Setup<'_, '_>,
) -> Result<Vec<Step<dyn Transform>>, BuildError> {
    let mut list = List(Vec::new());
    list.add(
        "patchesStrategicMerge",
        "PatchStrategicMergeTransformer",
        strategic_merge::of(kustomization, setup.at("patchesStrategicMerge"))?,
    );
    for patch in patch::of(&kustomization.patches, setup.at("patches"))? {
        list.add_entry("patches", "PatchTransformer", patch);
    }
    list.add(
        "namespace",
        "NamespaceTransformer",
        namespace::of(kustomization, configuration)?,
    );
    list.add(
        "namePrefix",
        "PrefixTransformer",
        name::prefix_of(kustomization, configuration)?,
    );
    list.add(
        "nameSuffix",
        "SuffixTransformer",
        name::suffix_of(kustomization, configuration)?,
    );
    for labels in &kustomization.labels {
        list.add_entry(
            "labels",
            "LabelTransformer",
            label::of(labels, configuration)?,
        );
    }
    list.add(
        "commonLabels",
        "LabelTransformer",
        label::common_of(kustomization, configuration)?,
    );
    list.add(
        "commonAnnotations",
        "AnnotationsTransformer",
        annotation::of(kustomization, configuration)?,
    );
    for patch in &kustomization.patches_json6902 {
        list.add_entry(
            "patchesJson6902",
            "PatchJson6902Transformer",
            json6902::of(patch, setup.at("patchesJson6902"))?,
        );
    }
    for replicas in &kustomization.replicas {
        list.add_entry(
            "replicas",
            "ReplicaCountTransformer",
            replica::of(replicas, configuration)?,
        );
    }
    for image in &kustomization.images {
        list.add_entry(
            "images",
            "ImageTagTransformer",
            image::of(image, configuration)?,
        );
    }
    list.add(
        "replacements",
        "ReplacementTransformer",
        replacement::of(&kustomization.replacements, setup.at("replacements"))?,
    );
    Ok(list.0)
}

struct List(Vec<Step<dyn Transform>>);

impl List {
    /// Adds the one transformer of a field, if the field is set.
    fn add<T: Transform + 'static>(
        &mut self,
        field: &'static str,
        kind: &'static str,
        transformer: Option<T>,
    ) {
        if let Some(transformer) = transformer {
            self.0.push(Step {
                asked: Asked::whole(field),
                kind,
                work: Box::new(transformer),
            });
        }
    }

    /// Adds the transformer of one entry of a field.
    fn add_entry(
        &mut self,
        field: &'static str,
        kind: &'static str,
        transformer: impl Transform + 'static,
    ) {
        let last = self
            .0
            .last()
            .map(|step| step.asked)
            .filter(|asked| asked.field == field);
        let entry = last
            .and_then(|asked| asked.entry)
            .map_or(0, |entry| entry + 1);
        self.0.push(Step {
            asked: Asked {
                field,
                entry: Some(entry),
            },
            kind,
            work: Box::new(transformer),
        });
    }
}

/// The transformer that a config under `transformers:` or `validators:` describes. Unknown fields of a
/// config have no effect, as in kustomize.
pub(super) fn of_config(
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
                .compiled()
                .map_err(bad)?,
        ),
        "LabelTransformer" => Box::new(read::<Labels>(config, setup)?),
        "NamespaceTransformer" => Box::new(
            read::<namespace::Config>(config, setup)?
                .checked()
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
        "ReplicaCountTransformer" => Box::new(read::<replica::Count>(config, setup)?),
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
    decode(config, Unknown::Ignored).map_err(|message| setup.failure(message))
}
