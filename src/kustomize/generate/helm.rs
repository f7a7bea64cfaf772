//! `helmCharts`: what a chart says, with values from files and from the kustomization.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Generate, Generated};
use crate::kustomize::host::{Host, Pull, Template};
use crate::kustomize::schema::Schema;
use crate::kustomize::setup::Setup;
use crate::kustomize::{BuildError, document, json, merge};
use crate::yaml::{self, Limits};

/// Where charts lie if nothing else is said.
const CHART_HOME: &str = "charts";

/// `helmGlobals`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in crate::kustomize) struct HelmGlobals {
    chart_home: String,
    /// Accepted, and without effect: Helm never sees the caller's own configuration.
    #[serde(rename = "configHome")]
    _config_home: String,
}

/// An entry of `helmCharts`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in crate::kustomize) struct Chart {
    name: String,
    version: String,
    repo: String,
    release_name: String,
    pub namespace: String,
    additional_values_files: Vec<String>,
    values_file: String,
    values_inline: Map<String, Value>,
    values_merge: String,
    #[serde(rename = "includeCRDs")]
    include_crds: bool,
    skip_hooks: bool,
    api_versions: Vec<String>,
    kube_version: String,
    name_template: String,
    skip_tests: bool,
    debug: bool,
    devel: bool,
}

/// An entry of the deprecated `helmChartInflationGenerator`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in crate::kustomize) struct DeprecatedChart {
    chart_name: String,
    chart_version: String,
    chart_repo_url: String,
    chart_home: String,
    helm_home: String,
    values: String,
    values_local: Map<String, Value>,
    values_merge: String,
    release_name: String,
    // Known to kustomize, and without effect there.
    #[serde(rename = "chartRepoName")]
    _chart_repo_name: String,
    #[serde(rename = "helmBin")]
    _helm_bin: String,
    #[serde(rename = "releaseNamespace")]
    _release_namespace: String,
    #[serde(rename = "extraArgs")]
    _extra_args: Vec<String>,
}

impl DeprecatedChart {
    /// What several entries say of all charts; the last one wins.
    pub fn globals(charts: &[Self]) -> Option<HelmGlobals> {
        let last = |text: fn(&Self) -> &String| {
            charts
                .iter()
                .map(text)
                .rfind(|text| !text.is_empty())
                .cloned()
        };
        let (chart_home, config_home) = (
            last(|chart| &chart.chart_home),
            last(|chart| &chart.helm_home),
        );
        (chart_home.is_some() || config_home.is_some()).then(|| HelmGlobals {
            chart_home: chart_home.unwrap_or_default(),
            _config_home: config_home.unwrap_or_default(),
        })
    }
}

impl From<DeprecatedChart> for Chart {
    fn from(old: DeprecatedChart) -> Self {
        Self {
            name: old.chart_name,
            version: old.chart_version,
            repo: old.chart_repo_url,
            values_file: old.values,
            values_inline: old.values_local,
            values_merge: old.values_merge,
            release_name: old.release_name,
            ..Self::default()
        }
    }
}

/// A chart whose files and values were read.
pub(super) struct Inflation {
    chart: Chart,
    home: String,
    /// The chart's files, if it is in the tree.
    files: Option<Vec<(String, Vec<u8>)>>,
    /// The file that the kustomization names.
    values: Option<Vec<u8>>,
    additional: Vec<Vec<u8>>,
    merging: Merging,
}

/// Which values win: those of the kustomization, or those of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Merging {
    Override,
    Merge,
    Replace,
}

pub(super) fn of(
    chart: Chart,
    globals: HelmGlobals,
    setup: &mut Setup<'_, '_>,
) -> Result<Inflation, BuildError> {
    if setup.host().helm().is_none() {
        return Err(setup.failure(
            "must specify --enable-helm: charts are inflated only where that is allowed",
        ));
    }
    if chart.name.is_empty() {
        return Err(setup.failure("chart name cannot be empty"));
    }
    for (what, text) in [
        ("releaseName", &chart.release_name),
        ("chart name", &chart.name),
    ] {
        if text.starts_with('-') {
            return Err(setup.failure(format!("{what} must not start with '-', got {text:?}")));
        }
    }
    let merging = match chart.values_merge.as_str() {
        "" | "override" => Merging::Override,
        "merge" => Merging::Merge,
        "replace" => Merging::Replace,
        _ => return Err(setup.failure("valuesMerge must be one of [merge override replace]")),
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
        merging,
    })
}

impl Generate for Inflation {
    fn generate(&self, host: &dyn Host) -> Result<Vec<Generated>, String> {
        let helm = host.helm().ok_or("this build may not inflate charts")?;
        let chart = match &self.files {
            Some(files) => files.clone(),
            None if self.chart.repo.is_empty() => {
                return Err(format!(
                    "no repo specified for pull, no chart found at '{}/{}'",
                    self.home, self.chart.name
                ));
            }
            None => helm.pull(&self.pull())?,
        };
        let values = self.values(&chart)?;
        let text = helm.template(&self.template(chart, values))?;
        let resources =
            document::of_text("what helm printed", &text).map_err(|error| error.to_string())?;
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

    /// The file of values: the kustomization's own, or the chart's, with the inline ones.
    fn values(&self, chart: &[(String, Vec<u8>)]) -> Result<Vec<u8>, String> {
        let inline = Value::Object(self.chart.values_inline.clone());
        if self.merging == Merging::Replace && !self.chart.values_inline.is_empty() {
            return as_yaml(&inline);
        }
        let of_chart = || {
            chart
                .iter()
                .find(|(name, _)| name == "values.yaml")
                .map(|(_, content)| content)
        };
        let file = self.values.as_ref().or_else(of_chart);
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
        let merged = match self.merging {
            Merging::Merge => merge::merge(inline, &node, None, &schema)?,
            Merging::Override | Merging::Replace => merge::merge(node, &inline, None, &schema)?,
        };
        as_yaml(&merged.map_or(Ok(Value::Null), |merged| json::to_json(&merged))?)
    }

    fn template(&self, chart: Vec<(String, Vec<u8>)>, values: Vec<u8>) -> Template {
        let told = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let of = &self.chart;
        let mut flags = Vec::new();
        let mut add = |flag: &str, value: Option<String>| {
            if let Some(value) = value {
                flags.push(format!("{flag}={value}"));
            }
        };
        add("--namespace", told(&of.namespace));
        add("--name-template", told(&of.name_template));
        of.api_versions
            .iter()
            .for_each(|version| add("--api-versions", Some(version.clone())));
        add("--kube-version", told(&of.kube_version));
        for (flag, is_set) in [
            ("--include-crds", of.include_crds),
            ("--skip-tests", of.skip_tests),
            ("--no-hooks", of.skip_hooks),
            ("--debug", of.debug),
            ("--devel", of.devel),
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
            name: of.name.clone(),
            chart,
            release: told(&of.release_name),
            values,
            flags,
        }
    }
}

fn as_yaml(value: &Value) -> Result<Vec<u8>, String> {
    let mut text = String::new();
    yaml::emit::emit_into(&mut text, value).map_err(|error| error.to_string())?;
    Ok(text.into_bytes())
}
