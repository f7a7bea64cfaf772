//! The fields `helmCharts`, `helmGlobals` and `helmChartInflationGenerator`.

use serde::Deserialize;
use serde_json::{Map, Value};

/// `helmGlobals`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct HelmGlobals {
    pub chart_home: String,
    /// Accepted but ignored: Helm never sees the caller's configuration.
    #[serde(rename = "configHome")]
    _config_home: String,
}

/// An entry of `helmCharts`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Chart {
    pub name: String,
    pub version: String,
    pub repo: String,
    pub release_name: String,
    pub namespace: String,
    pub additional_values_files: Vec<String>,
    pub values_file: String,
    pub values_inline: Map<String, Value>,
    pub values_merge: String,
    #[serde(rename = "includeCRDs")]
    pub include_crds: bool,
    pub skip_hooks: bool,
    pub api_versions: Vec<String>,
    pub kube_version: String,
    pub name_template: String,
    pub skip_tests: bool,
    pub debug: bool,
    pub devel: bool,
}

/// An entry of the deprecated `helmChartInflationGenerator`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct DeprecatedChart {
    pub chart_name: String,
    pub chart_version: String,
    pub chart_repo_url: String,
    pub chart_home: String,
    pub helm_home: String,
    pub values: String,
    pub values_local: Map<String, Value>,
    pub values_merge: String,
    pub release_name: String,
    // Ignored, as in kustomize.
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
    /// Returns the global settings of all entries; the last entry that has one wins. None if no
    /// entry has any.
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
