//! Fields of resources of a kind, as configurations name them.

use std::borrow::Cow;

use serde::Deserialize;

use super::id::Id;
use crate::kustomize::tree::walk::{self, Change};
use crate::yaml::Node;

/// A place in resources of a kind; empty parts of the kind match anything.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct FieldSpec {
    pub group: Cow<'static, str>,
    pub version: Cow<'static, str>,
    pub kind: Cow<'static, str>,
    /// Parts joined by `/`, which is written `\/` inside a part. Lists are entered by themselves; a part
    /// that ends with `[]` is a list and is never made.
    pub path: Cow<'static, str>,
    /// Whether missing maps are made.
    pub create: bool,
}

/// A place in every kind.
pub(crate) const fn anywhere(path: &'static str, create: bool) -> FieldSpec {
    at_version("", "", "", path, create)
}

/// A place in one kind.
pub(crate) const fn at(
    group: &'static str,
    kind: &'static str,
    path: &'static str,
    create: bool,
) -> FieldSpec {
    at_version(group, "", kind, path, create)
}

/// A place in one version of a kind.
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
    /// Whether it applies to a resource.
    pub fn selects(&self, id: &Id) -> bool {
        let fits = |wanted: &str, got: &str| wanted.is_empty() || wanted == got;
        fits(&self.kind, &id.kind)
            && fits(&self.group, &id.group)
            && fits(&self.version, &id.version)
    }

    /// Whether another place says nothing new beside this one. An empty part of the other's kind is
    /// like any.
    pub fn covers(&self, other: &Self) -> bool {
        let fits = |known: &str, new: &str| new.is_empty() || new == known;
        self.path == other.path
            && fits(&self.kind, &other.kind)
            && fits(&self.group, &other.group)
            && fits(&self.version, &other.version)
    }

    /// Calls `change` on every node at the place, and makes it where that is allowed.
    ///
    /// # Errors
    /// A scalar stands where the path goes on, or `change` failed.
    pub fn visit(&self, root: &mut Node, change: &mut Change<'_>) -> Result<(), String> {
        walk::visit(root, &self.path, self.create, change)
    }

    /// Calls `change` on every node at the place that is there.
    ///
    /// # Errors
    /// As for [`Self::visit`].
    pub fn visit_present(&self, root: &mut Node, change: &mut Change<'_>) -> Result<(), String> {
        walk::visit(root, &self.path, false, change)
    }
}
