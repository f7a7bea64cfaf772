//! The generators, one file each, and how generated objects are merged with existing ones.

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
use crate::kustomize::load::step::{ConfiguredStep, FieldRef};
use crate::kustomize::schema::chart::{Chart, HelmGlobals};
use crate::kustomize::schema::kustomization::{Generator, Kustomization, Metadata};

/// A generator.
pub(crate) trait Generate {
    /// Generates the objects.
    ///
    /// # Errors
    /// The error has no field; the caller knows which one asked for the generator.
    fn generate(&self, host: &dyn Host) -> Result<Vec<Generated>, BuildError>;
}

/// A generated object.
#[derive(Debug, Clone)]
pub(crate) struct Generated {
    pub resource: Resource,
    pub behavior: Behavior,
}

impl Generated {
    /// Returns a generated object that must not exist yet.
    fn new(resource: Resource) -> Self {
        Self {
            resource,
            behavior: Behavior::Create,
        }
    }
}

/// `behavior`: how a generated object relates to an existing one with its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behavior {
    /// No such object may exist.
    Create,
    /// The object must exist. Generated data is added to its data.
    Merge,
    /// The object must exist. Generated data replaces its data.
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

/// Returns the generators for the fields of a kustomization, in kustomize's order. `parent` is the
/// namespace that the enclosing kustomizations set, which is used for charts if this one sets none.
pub(crate) fn of_fields(
    kustomization: &Kustomization,
    parent: &str,
    setup: &mut Setup<'_, '_>,
) -> Result<Vec<ConfiguredStep<dyn Generate>>, BuildError> {
    let mut steps = Vec::new();
    let mut add = |field_ref: FieldRef, kind, work: Result<Box<dyn Generate>, BuildError>| {
        let work = work.map_err(|error| error.below(field_ref))?;
        steps.push(ConfiguredStep {
            field_ref,
            kind,
            work,
        });
        Ok::<_, BuildError>(())
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
        for (entry, generator) in entries.iter().enumerate() {
            add(
                FieldRef::entry(field, entry),
                plugin,
                boxed(data::of(kind, generator, common, setup)),
            )?;
        }
    }
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
            FieldRef::entry("helmCharts", entry),
            "HelmChartInflationGenerator",
            boxed(helm::of(chart, globals, setup)),
        )?;
    }
    Ok(steps)
}

fn boxed<T: Generate + 'static>(
    generator: Result<T, BuildError>,
) -> Result<Box<dyn Generate>, BuildError> {
    generator.map(|generator| Box::new(generator) as Box<dyn Generate>)
}

/// Returns the generator for a config under `generators:`.
pub(crate) fn of_config(
    kind: &str,
    config: &Value,
    setup: &mut Setup<'_, '_>,
) -> Result<Box<dyn Generate>, BuildError> {
    let data_kind = match kind {
        "ConfigMapGenerator" => data::Kind::ConfigMap,
        "SecretGenerator" => data::Kind::Secret,
        "HelmChartInflationGenerator" => {
            let (chart, globals) = (read::<Chart>(config)?, read::<HelmGlobals>(config)?);
            return Ok(Box::new(helm::of(chart, globals, setup)?));
        }
        "IAMPolicyGenerator" => return Ok(Box::new(read::<iam_policy::Account>(config)?)),
        _ => {
            return Err(BuildError::new(format!("there is no generator {kind}")));
        }
    };
    let metadata = read::<WithMetadata>(config)?.metadata;
    Ok(Box::new(data::of_config(
        data_kind,
        read::<Generator>(config)?,
        metadata,
        setup,
    )?))
}

/// The metadata of a config.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct WithMetadata {
    metadata: Metadata,
}

fn read<T: DeserializeOwned>(config: &Value) -> Result<T, BuildError> {
    decode(config, Unknown::Ignore)
}
