//! The fields `patches` and `patchesJson6902`.

use serde::Deserialize;

use crate::kustomize::go::decode::plain_text;
use crate::kustomize::schema::id::Id;

/// An entry of `patches` or `patchesJson6902`, and the config of a `PatchTransformer`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Patch {
    pub path: String,
    pub patch: String,
    pub target: Option<Target>,
    pub options: Option<PatchOptions>,
}

/// The `options` of a patch: the parts of the identity that it may change.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct PatchOptions {
    pub allow_name_change: bool,
    pub allow_kind_change: bool,
}

/// A target as written in a kustomization.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Target {
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
    pub label_selector: String,
    pub annotation_selector: String,
}

impl Target {
    /// Returns the parts of the target that name an object, for messages.
    pub fn id(&self) -> Id {
        Id {
            group: self.group.clone(),
            version: self.version.clone(),
            kind: self.kind.clone(),
            name: self.name.clone(),
            namespace: self.namespace.clone(),
            cluster_scoped_by_schema: false,
        }
    }
}
