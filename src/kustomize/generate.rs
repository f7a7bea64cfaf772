//! The generators, one file each, and how what they make joins the objects that are there.

mod data;
mod helm;
mod iam_policy;

pub(super) use helm::{Chart, DeprecatedChart, HelmGlobals};
use indexmap::IndexMap;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::accumulated::Accumulated;
use super::decode::{Unknown, decode};
use super::host::Host;
use super::kustomization::{Generator, Kustomization, Metadata};
use super::resource::Resource;
use super::setup::Setup;
use super::step::{Asked, Step};
use super::{BuildError, field, json, origin};
use crate::yaml::{self, Node};

/// Something that makes objects.
pub(super) trait Generate {
    /// Makes the objects.
    ///
    /// # Errors
    /// What is wrong, as a sentence.
    fn generate(&self, host: &dyn Host) -> Result<Vec<Generated>, String>;
}

/// An object that was made.
#[derive(Debug, Clone)]
pub(super) struct Generated {
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
pub(super) enum Behavior {
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
pub(super) fn of_fields(
    kustomization: &Kustomization,
    parent: &str,
    setup: &mut Setup<'_, '_>,
) -> Result<Vec<Step<dyn Generate>>, BuildError> {
    let mut steps = Vec::new();
    let mut add = |field, entry, kind, work: Box<dyn Generate>| {
        steps.push(Step {
            asked: Asked {
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
pub(super) fn of_config(
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

/// Adds what was made to what is there.
pub(super) fn absorb(resources: &mut Accumulated, made: Generated) -> Result<(), String> {
    let Generated { resource, behavior } = made;
    let id = resource.id();
    let old = resources.the_one(&id)?;
    match (old, behavior) {
        (None, Behavior::Create) => resources.add(resource),
        (None, _) => Err(format!("id {id} does not exist; cannot merge or replace")),
        (Some(_), Behavior::Create) => Err(format!(
            "id {id} exists; behavior must be merge or replace to change what is there"
        )),
        (Some(old), behavior) => {
            *old = onto(old, resource, behavior);
            Ok(())
        }
    }
}

/// A generated object in the place of the one with its name, which it may complete. What is known of
/// the other's names stays.
fn onto(old: &Resource, mut new: Resource, behavior: Behavior) -> Resource {
    let mut joined = old.clone();
    for map in ["labels", "annotations"] {
        let both = united(old.node.get("metadata"), new.node.get("metadata"), map);
        if !both.is_empty() {
            field::set(field::entry(&mut new.node, "metadata"), map, texts(both));
        }
    }
    let present = old.id();
    new.set_metadata("name", &present.name);
    if !present.namespace.is_empty() {
        new.set_metadata("namespace", &present.namespace);
    }
    if behavior == Behavior::Merge {
        let mut before = old.node.clone();
        fold_string_data(&mut before);
        for map in ["data", "binaryData"] {
            let both = united(Some(&before), Some(&new.node), map);
            if !both.is_empty() {
                field::set(&mut new.node, map, texts(both));
            }
        }
        if let Some(note) = origin::of(old) {
            origin::restore(&mut new, note);
        }
    }
    joined.needs_hash &= new.needs_hash;
    joined.is_generated |= new.is_generated;
    joined.node = new.node;
    joined.is_plain = new.is_plain;
    joined
}

/// A Secret's plain texts, encoded among its data.
fn fold_string_data(secret: &mut Node) {
    if secret.get("kind").and_then(Node::as_str) != Some("Secret") {
        return;
    }
    for (key, text) in texts_of(Some(secret), "stringData") {
        field::set(
            field::entry(secret, "data"),
            &key,
            json::text(&data::encode(text.as_bytes())),
        );
    }
}

fn texts_of(holder: Option<&Node>, map: &str) -> IndexMap<String, String> {
    let pairs = holder
        .and_then(|holder| holder.get(map))
        .and_then(Node::as_mapping)
        .unwrap_or_default();
    pairs
        .iter()
        .filter_map(|(key, value)| Some((key.as_str()?.to_owned(), value.as_str()?.to_owned())))
        .collect()
}

/// The texts of two maps; the second one's win.
fn united(first: Option<&Node>, second: Option<&Node>, map: &str) -> IndexMap<String, String> {
    let mut both = texts_of(first, map);
    both.extend(texts_of(second, map));
    both
}

fn texts(map: IndexMap<String, String>) -> Node {
    Node::new(yaml::Value::Mapping(
        map.iter()
            .map(|(key, text)| (json::text(key), json::text(text)))
            .collect(),
    ))
}
