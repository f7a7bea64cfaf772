//! The kustomization file: all fields that kustomize v5 accepts, including the deprecated ones.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::kustomize::BuildError;
use crate::kustomize::go::decode::{Unknown, decode};
use crate::kustomize::schema::chart::{Chart, DeprecatedChart, HelmGlobals};
use crate::kustomize::schema::field_spec::FieldSpec;
use crate::kustomize::schema::patch::Patch;
use crate::kustomize::schema::replacement::Replacement;
use crate::kustomize::schema::settings;
use crate::kustomize::schema::variable::Variable;
use crate::yaml::Node;

/// The accepted names of a kustomization file.
pub(crate) const FILE_NAMES: [&str; 3] =
    ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// A kustomization or a component.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Kustomization {
    pub api_version: String,
    pub kind: String,
    pub metadata: Option<Metadata>,
    pub openapi: BTreeMap<String, String>,
    pub name_prefix: String,
    pub name_suffix: String,
    pub namespace: String,
    pub common_labels: BTreeMap<String, String>,
    pub labels: Vec<Labels>,
    pub common_annotations: BTreeMap<String, String>,
    pub patches_strategic_merge: Vec<String>,
    pub patches_json6902: Vec<Patch>,
    pub patches: Vec<Patch>,
    pub images: Vec<Image>,
    image_tags: Vec<Image>,
    pub replacements: Vec<Replacement>,
    pub replicas: Vec<Replicas>,
    pub vars: Vec<Variable>,
    pub sort_options: Option<SortOptions>,
    pub resources: Vec<String>,
    pub components: Vec<String>,
    pub crds: Vec<String>,
    bases: Vec<String>,
    pub config_map_generator: Vec<Generator>,
    pub secret_generator: Vec<Generator>,
    pub helm_globals: Option<HelmGlobals>,
    pub helm_charts: Vec<Chart>,
    helm_chart_inflation_generator: Vec<DeprecatedChart>,
    pub generator_options: Option<GeneratorOptions>,
    pub configurations: Vec<String>,
    pub generators: Vec<String>,
    pub transformers: Vec<String>,
    pub validators: Vec<String>,
    pub build_metadata: Vec<String>,
}

/// The `metadata` of a kustomization or of a plugin config.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Metadata {
    pub name: String,
    pub namespace: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct SortOptions {
    pub order: String,
    pub legacy_sort_options: Option<LegacySortOptions>,
}

/// `sortOptions.legacySortOptions`: the kinds that come first and those that come last.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct LegacySortOptions {
    pub order_first: Vec<String>,
    pub order_last: Vec<String>,
}

/// An entry of `labels`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Labels {
    pub pairs: BTreeMap<String, String>,
    pub include_selectors: bool,
    pub include_templates: bool,
    pub include_volume_claim_templates: bool,
    /// Further fields that get the labels.
    pub fields: Vec<FieldSpec>,
}

/// An entry of `images`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Image {
    pub name: String,
    pub new_name: String,
    pub new_tag: String,
    pub tag_suffix: String,
    pub digest: String,
}

/// An entry of `replicas`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Replicas {
    pub name: String,
    pub count: i64,
}

/// An entry of `configMapGenerator` or `secretGenerator`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Generator {
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
#[serde(default, rename_all = "camelCase")]
pub(crate) struct GeneratorOptions {
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub disable_name_suffix_hash: bool,
    pub immutable: bool,
}

/// Deprecated fields and their replacements.
const DEPRECATED: [(&str, &str); 6] = [
    ("bases", "resources"),
    ("commonLabels", "labels"),
    ("imageTags", "images"),
    ("patchesJson6902", "patches"),
    ("patchesStrategicMerge", "patches"),
    ("vars", "replacements"),
];

/// Deprecated fields that are moved into others. An empty list in one of them counts as unset.
const MOVED: [&str; 3] = ["bases", "imageTags", "helmChartInflationGenerator"];

/// Reads a kustomization from the tree of its file. Calls `warn` for each deprecated field.
pub(crate) fn read(tree: &Node, warn: &mut dyn FnMut(&str)) -> Result<Kustomization, BuildError> {
    let value = settings::to_json(tree)?;
    let Value::Object(fields) = &value else {
        return Err("it must be a map".into());
    };
    refuse_flux_objects(fields)?;
    let mut kustomization: Kustomization = decode(&value, Unknown::Deny)?;
    let get = |name: &str| {
        fields
            .iter()
            .find(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    };
    for (field, other) in DEPRECATED {
        if get(field).is_some_and(|value| !value.is_null()) {
            let experimental = if field == "vars" {
                "[EXPERIMENTAL] "
            } else {
                ""
            };
            warn(&format!(
                "# Warning: '{field}' is deprecated. Please use '{other}' instead. \
                 {experimental}Run 'kustomize edit fix' to update your Kustomization \
                 automatically."
            ));
        }
    }
    if fields
        .iter()
        .all(|(name, value)| counts_as_unset(name, value))
    {
        return Err(BuildError::new("the kustomization sets no field")
            .with_help("add resources, or take it out of what names it"));
    }
    kustomization.check_type()?;
    kustomization.move_deprecated();
    Ok(kustomization)
}

/// Fails for the object of Flux that has the same kind and often the same file name.
fn refuse_flux_objects(fields: &Map<String, Value>) -> Result<(), BuildError> {
    let api_version = fields.get("apiVersion").and_then(Value::as_str);
    if !api_version.is_some_and(|text| text.starts_with("kustomize.toolkit.fluxcd.io/")) {
        return Ok(());
    }
    let path = fields
        .get("spec")
        .and_then(|spec| spec.get("path")?.as_str());
    let message = "it is an object of Flux, not a kustomization file";
    let help = format!(
        "build the directory of its spec.path{}",
        path.map(|path| format!(" ({path})")).unwrap_or_default()
    );
    Err(BuildError::new(message)
        .with_help(help)
        .in_field("apiVersion"))
}

fn counts_as_unset(name: &str, value: &Value) -> bool {
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    match value {
        _ if is("apiVersion") || is("kind") => true,
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty() && MOVED.into_iter().any(is),
        _ => false,
    }
}

impl Kustomization {
    pub fn is_component(&self) -> bool {
        self.kind == "Component"
    }

    fn check_type(&self) -> Result<(), BuildError> {
        let Self {
            kind, api_version, ..
        } = self;
        if !matches!(kind.as_str(), "" | "Kustomization" | "Component") {
            let message = format!("the kind must be Kustomization or Component, not {kind:?}");
            return Err(BuildError::new(message).in_field("kind"));
        }
        let version = if self.is_component() {
            "v1alpha1"
        } else {
            "v1beta1"
        };
        let expected = format!("kustomize.config.k8s.io/{version}");
        if !api_version.is_empty() && *api_version != expected {
            let message = format!("the apiVersion must be {expected}, not {api_version:?}");
            return Err(BuildError::new(message).in_field("apiVersion"));
        }
        Ok(())
    }

    fn move_deprecated(&mut self) {
        self.resources.append(&mut self.bases);
        self.images.append(&mut self.image_tags);
        let old = std::mem::take(&mut self.helm_chart_inflation_generator);
        let globals = DeprecatedChart::globals(&old);
        self.helm_globals = self.helm_globals.take().or(globals);
        self.helm_charts.extend(old.into_iter().map(Chart::from));
    }
}
