//! `helmCharts`: inflates Helm charts, with values from files and from the kustomization.

use serde_json::{Map, Value};

use super::{Generate, Generated};
use crate::kustomize::BuildError;
use crate::kustomize::go::json;
use crate::kustomize::load::host::{Host, Pull, Template};
use crate::kustomize::load::setup::Setup;
use crate::kustomize::resource::{document, merge};
use crate::kustomize::schema::chart::{Chart, HelmGlobals};
use crate::kustomize::schema::openapi::Schema;
use crate::kustomize::schema::settings;
use crate::yaml::{self, Limits};

/// The default directory of charts.
const CHART_HOME: &str = "charts";

/// A chart, with its files and values loaded.
pub(crate) struct Inflation {
    chart: Chart,
    home: String,
    /// The chart's files; none if it must be downloaded.
    files: Option<Vec<(String, Vec<u8>)>>,
    /// The content of `valuesFile`; none for the chart's own.
    values: Option<Vec<u8>>,
    additional: Vec<Vec<u8>>,
    values_merge: ValuesMerge,
}

/// `valuesMerge`: with `override` inline values win over the values file, with `merge` the file
/// wins, and with `replace` inline values, if any, are used alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ValuesMerge {
    Override,
    Merge,
    Replace,
}

// Long: one check per field of a chart.
pub(crate) fn of(
    chart: Chart,
    globals: HelmGlobals,
    setup: &mut Setup<'_, '_>,
) -> Result<Inflation, BuildError> {
    if setup.host().helm().is_none() {
        return Err(BuildError::new("this build may not inflate charts")
            .with_help("allow it: --enable-helm, or the component's enable_helm"));
    }
    if chart.name.is_empty() {
        return Err("chart name cannot be empty".into());
    }
    for (what, text) in [
        ("releaseName", &chart.release_name),
        ("chart name", &chart.name),
    ] {
        if text.starts_with('-') {
            return Err(BuildError::new(format!(
                "{what} must not start with '-', got {text:?}"
            )));
        }
    }
    let values_merge = match chart.values_merge.as_str() {
        "" | "override" => ValuesMerge::Override,
        "merge" => ValuesMerge::Merge,
        "replace" => ValuesMerge::Replace,
        _ => return Err("valuesMerge must be one of [merge override replace]".into()),
    };
    let home = if globals.chart_home.is_empty() {
        CHART_HOME
    } else {
        &globals.chart_home
    };
    let home = match chart.version.is_empty() || chart.repo.is_empty() {
        true => home.to_owned(),
        false => format!("{home}/{}-{}", chart.name, chart.version),
    };
    let mut additional = Vec::new();
    for file in &chart.additional_values_files {
        additional.push(setup.read(file)?);
    }
    let directory = format!("{home}/{}", chart.name);
    let files = if setup.is_directory(&directory) {
        Some(setup.read_all(&directory)?)
    } else {
        None
    };
    let values = if chart.values_file.is_empty() {
        None
    } else {
        Some(setup.read(&chart.values_file)?)
    };
    Ok(Inflation {
        chart,
        home,
        files,
        values,
        additional,
        values_merge,
    })
}

impl Generate for Inflation {
    fn generate(&self, host: &dyn Host) -> Result<Vec<Generated>, BuildError> {
        let helm = host.helm().ok_or("this build may not inflate charts")?;
        let chart = match &self.files {
            Some(files) => files.clone(),
            None if self.chart.repo.is_empty() => {
                return Err(BuildError::new(format!(
                    "no repo specified for pull, no chart found at '{}/{}'",
                    self.home, self.chart.name
                )));
            }
            None => helm.pull(&self.pull())?,
        };
        let values = self.values(&chart)?;
        let text = helm.template(&self.template(chart, values))?;
        let resources = document::of_text("what helm printed", &text)?;
        Ok(resources.into_iter().map(from_helm).collect())
    }
}

fn from_helm(mut resource: crate::kustomize::resource::Resource) -> Generated {
    resource.is_from_helm = true;
    Generated::new(resource)
}

impl Inflation {
    fn pull(&self) -> Pull {
        let Chart {
            repo,
            name,
            version,
            devel,
            ..
        } = self.chart.clone();
        Pull {
            repo,
            name,
            version,
            devel,
        }
    }

    /// Returns the values file: the kustomization's, else the chart's, merged with the inline
    /// values.
    fn values(&self, chart: &[(String, Vec<u8>)]) -> Result<Vec<u8>, BuildError> {
        let inline = Value::Object(self.chart.values_inline.clone());
        if self.values_merge == ValuesMerge::Replace && !self.chart.values_inline.is_empty() {
            return as_yaml(&inline);
        }
        let chart_values = || {
            chart
                .iter()
                .find(|(name, _)| name == "values.yaml")
                .map(|(_, content)| content)
        };
        let file = self.values.as_ref().or_else(chart_values);
        let file =
            file.ok_or_else(|| format!("the chart {} has no values.yaml", self.chart.name))?;
        if self.chart.values_inline.is_empty() {
            return Ok(file.clone());
        }
        let text = std::str::from_utf8(file).map_err(|_| "the file of values is not UTF-8")?;
        let node = yaml::parse(text, Limits::default())
            .map_err(|error| format!("the file of values: {error}"))?;
        let node = node
            .filter(|node| !node.is_null())
            .unwrap_or_else(|| json::from_json(&Value::Object(Map::new())));
        let inline = json::from_json(&inline);
        let schema = Schema::default();
        let merged = match self.values_merge {
            ValuesMerge::Merge => merge::merge(inline, &node, None, &schema, false)?,
            ValuesMerge::Override | ValuesMerge::Replace => {
                merge::merge(node, &inline, None, &schema, false)?
            }
        };
        let Some(merged) = merged else {
            return as_yaml(&Value::Null);
        };
        settings::check_keys(&merged).map_err(|twice| format!("the file of values: {twice}"))?;
        as_yaml(&json::to_json(&merged)?)
    }

    fn template(&self, chart: Vec<(String, Vec<u8>)>, values: Vec<u8>) -> Template {
        let non_empty = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let settings = &self.chart;
        let mut flags = Vec::new();
        let mut add = |flag: &str, value: Option<String>| {
            if let Some(value) = value {
                flags.push(format!("{flag}={value}"));
            }
        };
        add("--namespace", non_empty(&settings.namespace));
        add("--name-template", non_empty(&settings.name_template));
        settings
            .api_versions
            .iter()
            .for_each(|version| add("--api-versions", Some(version.clone())));
        add("--kube-version", non_empty(&settings.kube_version));
        for (flag, is_set) in [
            ("--include-crds", settings.include_crds),
            ("--skip-tests", settings.skip_tests),
            ("--no-hooks", settings.skip_hooks),
            ("--debug", settings.debug),
            ("--devel", settings.devel),
        ] {
            if is_set {
                flags.push(flag.to_owned());
            }
        }
        let values = [values]
            .into_iter()
            .chain(self.additional.iter().cloned())
            .collect();
        Template {
            name: settings.name.clone(),
            chart,
            release: non_empty(&settings.release_name),
            values,
            flags,
        }
    }
}

fn as_yaml(value: &Value) -> Result<Vec<u8>, BuildError> {
    let mut text = String::new();
    yaml::emit::emit_into(&mut text, value).map_err(|error| error.to_string())?;
    Ok(text.into_bytes())
}
