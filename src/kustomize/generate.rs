//! The generators, one file each, and how what they make joins the objects that are there.

pub(crate) mod data;
mod helm;
mod iam_policy;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::BuildError;
use super::resource::Resource;
use crate::kustomize::go::decode::{Unknown, decode};
use crate::kustomize::load::host::Host;
use crate::kustomize::load::setup::Setup;
use crate::kustomize::load::step::{FieldRef, Step};
use crate::kustomize::schema::chart::{Chart, HelmGlobals};
use crate::kustomize::schema::kustomization::{Generator, Kustomization, Metadata};

/// Something that makes objects.
pub(crate) trait Generate {
    /// Makes the objects.
    ///
    /// # Errors
    /// What is wrong, as a sentence.
    fn generate(&self, host: &dyn Host) -> Result<Vec<Generated>, String>;
}

/// An object that was made.
#[derive(Debug, Clone)]
pub(crate) struct Generated {
    pub resource: Resource,
    pub behavior: Behavior,
}

impl Generated {
    /// An object that must be new.
    fn new(resource: Resource) -> Self {
        Self {
            resource,
            behavior: Behavior::Create,
        }
    }
}

/// What becomes of an object that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behavior {
    /// There must be none.
    Create,
    /// It is completed.
    Merge,
    /// It gives way.
    Replace,
}

impl Behavior {
    fn read(text: &str) -> Self {
        match text {
            "merge" => Self::Merge,
            "replace" => Self::Replace,
            _ => Self::Create,
        }
    }
}

/// The generators that the fields of a kustomization ask for, in kustomize's order. `parent` is the
/// namespace that kustomizations above ask for; charts are inflated for it.
pub(crate) fn of_fields(
    kustomization: &Kustomization,
    parent: &str,
    setup: &mut Setup<'_, '_>,
) -> Result<Vec<Step<dyn Generate>>, BuildError> {
    let mut steps = Vec::new();
    let mut add = |field, entry, kind, work: Box<dyn Generate>| {
        steps.push(Step {
            field_ref: FieldRef {
                field,
                entry: Some(entry),
            },
            kind,
            work,
        });
    };
    let common = kustomization.generator_options.as_ref();
    for (field, plugin, kind, entries) in [
        (
            "configMapGenerator",
            "ConfigMapGenerator",
            data::Kind::ConfigMap,
            &kustomization.config_map_generator,
        ),
        (
            "secretGenerator",
            "SecretGenerator",
            data::Kind::Secret,
            &kustomization.secret_generator,
        ),
    ] {
        setup.field = field;
        for (entry, generator) in entries.iter().enumerate() {
            add(
                field,
                entry,
                plugin,
                Box::new(data::of(kind, generator, common, setup)?),
            );
        }
    }
    setup.field = "helmCharts";
    for (entry, chart) in kustomization.helm_charts.iter().enumerate() {
        let mut chart = chart.clone();
        if chart.namespace.is_empty() {
            chart.namespace = if kustomization.namespace.is_empty() {
                parent
            } else {
                &kustomization.namespace
            }
            .to_owned();
        }
        let globals = kustomization.helm_globals.clone().unwrap_or_default();
        add(
            setup.field,
            entry,
            "HelmChartInflationGenerator",
            Box::new(helm::of(chart, globals, setup)?),
        );
    }
    Ok(steps)
}

/// The generator that a config under `generators:` describes.
pub(crate) fn of_config(
    kind: &str,
    config: &Value,
    setup: &mut Setup<'_, '_>,
) -> Result<Box<dyn Generate>, BuildError> {
    let data_kind = match kind {
        "ConfigMapGenerator" => data::Kind::ConfigMap,
        "SecretGenerator" => data::Kind::Secret,
        "HelmChartInflationGenerator" => {
            let (chart, globals) = (
                read::<Chart>(config, setup)?,
                read::<HelmGlobals>(config, setup)?,
            );
            return Ok(Box::new(helm::of(chart, globals, setup)?));
        }
        "IAMPolicyGenerator" => return Ok(Box::new(read::<iam_policy::Account>(config, setup)?)),
        _ => {
            return Err(setup.failure(format!(
                "unable to load builtin {kind}: there is no such generator"
            )));
        }
    };
    let metadata = read::<WithMetadata>(config, setup)?.metadata;
    Ok(Box::new(data::of_config(
        data_kind,
        read::<Generator>(config, setup)?,
        metadata,
        setup,
    )?))
}

/// What every config has.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct WithMetadata {
    metadata: Metadata,
}

fn read<T: DeserializeOwned>(config: &Value, setup: &Setup<'_, '_>) -> Result<T, BuildError> {
    decode(config, Unknown::Ignored).map_err(|message| setup.failure(message))
}
