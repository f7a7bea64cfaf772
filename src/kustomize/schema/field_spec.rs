//! Fields of resources of a kind, as configurations name them.

use std::borrow::Cow;

use serde::Deserialize;

use super::id::Id;
use crate::kustomize::BuildError;
use crate::kustomize::go::decode::plain_text;
use crate::kustomize::tree::walk::{self, ChangeNode};
use crate::yaml::Node;

/// A path to fields in resources of a kind. Empty `group`, `version` and `kind` match anything.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct FieldSpec {
    #[serde(deserialize_with = "plain_text")]
    pub group: Cow<'static, str>,
    #[serde(deserialize_with = "plain_text")]
    pub version: Cow<'static, str>,
    #[serde(deserialize_with = "plain_text")]
    pub kind: Cow<'static, str>,
    /// Parts separated by `/`; a slash inside a part is written `\/`. Lists are traversed
    /// implicitly. A part that ends with `[]` is a list and is never created.
    pub path: Cow<'static, str>,
    /// If true, missing maps are created.
    pub create: bool,
}

/// Returns a field spec for all kinds.
pub(crate) const fn anywhere(path: &'static str, create: bool) -> FieldSpec {
    at_version("", "", "", path, create)
}

/// Returns a field spec for all versions of a kind; an empty `group` matches any group.
pub(crate) const fn at(
    group: &'static str,
    kind: &'static str,
    path: &'static str,
    create: bool,
) -> FieldSpec {
    at_version(group, "", kind, path, create)
}

/// Returns a field spec for one version of a kind.
pub(crate) const fn at_version(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    path: &'static str,
    create: bool,
) -> FieldSpec {
    FieldSpec {
        group: Cow::Borrowed(group),
        version: Cow::Borrowed(version),
        kind: Cow::Borrowed(kind),
        path: Cow::Borrowed(path),
        create,
    }
}

impl FieldSpec {
    /// Returns true if the field spec applies to the resource.
    pub fn selects(&self, id: &Id) -> bool {
        let fits = |wanted: &str, got: &str| wanted.is_empty() || wanted == got;
        fits(&self.kind, &id.kind)
            && fits(&self.group, &id.group)
            && fits(&self.version, &id.version)
    }

    /// Returns true if `other` adds nothing to this field spec: the paths are equal, and group,
    /// version and kind of `other` are each equal or empty.
    pub fn covers(&self, other: &Self) -> bool {
        let fits = |known: &str, new: &str| new.is_empty() || new == known;
        self.path == other.path
            && fits(&self.kind, &other.kind)
            && fits(&self.group, &other.group)
            && fits(&self.version, &other.version)
    }

    /// Calls `change` on every matching node. Creates the node if `create` is set.
    ///
    /// # Errors
    /// Fails if the path continues below a scalar or has an empty part, or if `change` fails.
    pub fn visit(&self, root: &mut Node, change: &mut ChangeNode<'_>) -> Result<(), BuildError> {
        walk::visit(root, &self.path, self.create, change)
    }

    /// Calls `change` on every matching node that exists, whatever `create` says.
    ///
    /// # Errors
    /// Fails as [`Self::visit`] does.
    pub fn visit_present(
        &self,
        root: &mut Node,
        change: &mut ChangeNode<'_>,
    ) -> Result<(), BuildError> {
        walk::visit(root, &self.path, false, change)
    }
}
