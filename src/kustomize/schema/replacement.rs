//! The field `replacements`.

use serde::Deserialize;

use super::patch::Target;
use crate::kustomize::go::decode::plain_text;

/// An entry of `replacements`: inline, or the name of a file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Replacement {
    pub path: String,
    pub source: Option<SourceSelector>,
    pub source_value: Option<String>,
    pub targets: Option<Vec<TargetSelector>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct SourceSelector {
    #[serde(deserialize_with = "plain_text")]
    pub group: String,
    #[serde(deserialize_with = "plain_text")]
    pub version: String,
    #[serde(deserialize_with = "plain_text")]
    pub kind: String,
    #[serde(deserialize_with = "plain_text")]
    pub name: String,
    #[serde(deserialize_with = "plain_text")]
    pub namespace: String,
    pub field_path: String,
    pub options: Option<FieldOptions>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct TargetSelector {
    pub select: Option<Target>,
    pub reject: Vec<Target>,
    pub field_paths: Vec<String>,
    pub options: Option<FieldOptions>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct FieldOptions {
    pub delimiter: String,
    pub index: i64,
    /// Accepted but ignored, as in kustomize.
    #[serde(rename = "encoding")]
    pub _encoding: String,
    pub create: bool,
}
