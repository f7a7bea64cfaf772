//! The field `vars`.

use serde::Deserialize;

/// An entry of `vars`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Variable {
    pub name: String,
    pub objref: ObjectRef,
    pub fieldref: Option<FieldSelector>,
}

/// The object that provides the value.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ObjectRef {
    pub api_version: String,
    pub group: String,
    pub version: String,
    pub kind: String,
    pub name: String,
    pub namespace: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct FieldSelector {
    pub field_path: String,
}
