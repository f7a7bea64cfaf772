//! The kustomization file: which fields it has, and which of them this engine knows.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::BuildError;
use super::configuration::Place;
use super::selector::Target;
use super::transform::Replacement;
use crate::yaml::{self, Limits};

/// The names a kustomization file can have.
pub(super) const NAMES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// The fields that are known.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Kustomization {
    pub resources: Vec<String>,
    pub bases: Vec<String>,
    pub components: Vec<String>,
    pub configurations: Vec<String>,
    pub name_prefix: String,
    pub name_suffix: String,
    pub namespace: String,
    pub common_labels: BTreeMap<String, String>,
    pub common_annotations: BTreeMap<String, String>,
    pub labels: Vec<Labels>,
    pub images: Vec<Image>,
    pub replicas: Vec<Replicas>,
    pub patches_strategic_merge: Vec<String>,
    pub patches: Vec<Patch>,
    pub patches_json6902: Vec<Patch>,
    pub replacements: Vec<Replacement>,
    pub config_map_generator: Vec<Generator>,
    pub secret_generator: Vec<Generator>,
    pub generator_options: Option<GeneratorOptions>,
    pub sort_options: Option<SortOptions>,
    #[serde(skip)]
    pub is_component: bool,
}

/// `sortOptions`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct SortOptions {
    pub order: String,
    pub legacy_sort_options: Option<LegacySortOptions>,
}

/// Which kinds come first and which last.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct LegacySortOptions {
    pub order_first: Vec<String>,
    pub order_last: Vec<String>,
}

/// An entry of `labels`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Labels {
    pub pairs: BTreeMap<String, String>,
    pub include_selectors: bool,
    pub include_templates: bool,
    /// Further places.
    pub fields: Vec<Place>,
}

/// An entry of `images`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Image {
    pub name: String,
    pub new_name: String,
    pub new_tag: String,
    pub tag_suffix: String,
    pub digest: String,
}

/// An entry of `replicas`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Replicas {
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub count: i64,
}

/// An entry of `patches` or `patchesJson6902`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Patch {
    pub path: String,
    pub patch: String,
    pub target: Option<Target>,
    pub options: Option<BTreeMap<String, bool>>,
}

/// An entry of `configMapGenerator` or `secretGenerator`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Generator {
    pub name: String,
    pub namespace: String,
    pub behavior: String,
    pub literals: Vec<String>,
    pub files: Vec<String>,
    pub envs: Vec<String>,
    pub env: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub options: Option<GeneratorOptions>,
}

/// `generatorOptions`, or `options` of a generator.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct GeneratorOptions {
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub disable_name_suffix_hash: bool,
    pub immutable: bool,
}

/// Fields that are known.
const KNOWN: [&str; 25] = [
    "apiVersion",
    "kind",
    "metadata",
    "resources",
    "bases",
    "components",
    "configurations",
    "sortOptions",
    "namePrefix",
    "nameSuffix",
    "namespace",
    "commonLabels",
    "commonAnnotations",
    "labels",
    "images",
    "imageTags",
    "replicas",
    "replacements",
    "patchesStrategicMerge",
    "patches",
    "patchesJson6902",
    "configMapGenerator",
    "secretGenerator",
    "generatorOptions",
    "openapi",
];

/// Fields that kustomize has and this engine not yet. Empty ones do no harm.
const NOT_YET: [&str; 10] = [
    "crds",
    "openapi",
    "imageTags",
    "vars",
    "buildMetadata",
    "generators",
    "transformers",
    "validators",
    "helmCharts",
    "helmGlobals",
];

/// Reads the first document of a kustomization file.
pub(super) fn read(bytes: &[u8]) -> Result<Kustomization, BuildError> {
    let whole = |message: String| BuildError::new("", message);
    let text = std::str::from_utf8(bytes).map_err(|_| whole("it is not UTF-8".into()))?;
    let node = yaml::parse(text, Limits::default()).map_err(|error| whole(format!("it is not valid YAML: {error}")))?;
    let node = node.ok_or_else(|| whole("it is empty".into()))?;
    // Booleans and numbers as YAML 1.1 has them: kustomize reads this file by another library than resources.
    let value = yaml::json::to_json(&node).map_err(|error| whole(error.to_string()))?;
    let Value::Object(map) = value else { return Err(whole("it must be a map of fields".into())) };
    let mut fields = Map::new();
    for (name, value) in map {
        let known = KNOWN.iter().chain(&NOT_YET).find(|known| known.eq_ignore_ascii_case(&name));
        let Some(known) = known else {
            return Err(BuildError::new(name, "unknown field; kustomize has no field of this name"));
        };
        fields.insert((*known).to_owned(), value);
    }
    check_type(&fields)?;
    for field in NOT_YET {
        let set = fields.remove(field).is_some_and(|value| !is_empty(&value));
        if set {
            return Err(BuildError::new(field, "this field is not supported yet"));
        }
    }
    let is_component = fields.get("kind").and_then(Value::as_str) == Some("Component");
    if fields.keys().all(|name| ["apiVersion", "kind", "metadata"].contains(&name.as_str())) {
        return Err(whole("kustomization.yaml is empty".into()));
    }
    for field in ["apiVersion", "kind", "metadata"] {
        fields.remove(field);
    }
    fields.retain(|_, value| !value.is_null());
    let mut kustomization = Kustomization { is_component, ..parse_fields(fields)? };
    kustomization.resources.append(&mut kustomization.bases);
    Ok(kustomization)
}

/// Parses field by field, so that an error names its field.
fn parse_fields(fields: Map<String, Value>) -> Result<Kustomization, BuildError> {
    for (name, value) in &fields {
        let alone = Value::Object(Map::from_iter([(name.clone(), value.clone())]));
        serde_json::from_value::<Kustomization>(alone).map_err(|error| BuildError::new(name, error.to_string()))?;
    }
    serde_json::from_value(Value::Object(fields)).map_err(|error| BuildError::new("", error.to_string()))
}

fn check_type(fields: &Map<String, Value>) -> Result<(), BuildError> {
    let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    if !matches!(kind, "" | "Kustomization" | "Component") {
        return Err(BuildError::new("kind", format!("kind should be Kustomization or Component, not {kind:?}")));
    }
    let expected =
        if kind == "Component" { "kustomize.config.k8s.io/v1alpha1" } else { "kustomize.config.k8s.io/v1beta1" };
    if !api_version.is_empty() && api_version != expected {
        return Err(BuildError::new("apiVersion", format!("apiVersion should be {expected}, not {api_version:?}")));
    }
    Ok(())
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}
