//! `namespace`: sets the namespace of every namespaced object.
//!
//! ```yaml
//! # the kustomization
//! namespace: prod
//! # before
//! {apiVersion: v1, kind: ConfigMap, metadata: {name: c}}
//! ---
//! {apiVersion: v1, kind: Node, metadata: {name: node}}
//! # after
//! {apiVersion: v1, kind: ConfigMap, metadata: {name: c, namespace: prod}}
//! ---
//! {apiVersion: v1, kind: Node, metadata: {name: node}}
//! ```

use std::collections::HashSet;

use serde::Deserialize;

use super::Transform;
use crate::kustomize::BuildError;
use crate::kustomize::go::json;
use crate::kustomize::resource::Resource;
use crate::kustomize::schema::configuration::Configuration;
use crate::kustomize::schema::field_spec::FieldSpec;
use crate::kustomize::schema::kustomization::{Kustomization, Metadata};
use crate::kustomize::tree::walk;
use crate::kustomize::tree::walk::set_scalar;
use crate::yaml::{Node, Value};

pub(crate) struct Namespace {
    namespace: String,
    fields: Vec<FieldSpec>,
    unset_only: bool,
    subjects: Subjects,
}

/// `setRoleBindingSubjects`: which subjects of a binding get the namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subjects {
    /// The service account `default`. Other subjects follow when references are updated.
    Default,
    /// All service accounts.
    Accounts,
    None,
}

/// The config of a `NamespaceTransformer`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct NamespaceConfig {
    metadata: Metadata,
    field_specs: Vec<FieldSpec>,
    unset_only: bool,
    set_role_binding_subjects: String,
}

impl NamespaceConfig {
    pub fn into_transformer(self) -> Result<Namespace, BuildError> {
        let subjects = match self.set_role_binding_subjects.as_str() {
            "" | "defaultOnly" => Subjects::Default,
            "allServiceAccounts" => Subjects::Accounts,
            "none" => Subjects::None,
            other => {
                return Err(BuildError::new(format!(
                    "invalid value {other:?} for setRoleBindingSubjects: must be one of \
                     defaultOnly, none or allServiceAccounts"
                )));
            }
        };
        Ok(Namespace {
            namespace: self.metadata.namespace,
            fields: self.field_specs,
            unset_only: self.unset_only,
            subjects,
        })
    }
}

pub(crate) fn from_kustomization(
    kustomization: &Kustomization,
    configuration: &Configuration,
) -> Result<Option<Namespace>, BuildError> {
    let namespace = kustomization.namespace.clone();
    if namespace.is_empty() {
        return Ok(None);
    }
    let fields = configuration.namespace.clone();
    Ok(Some(Namespace {
        namespace,
        fields,
        unset_only: false,
        subjects: Subjects::Default,
    }))
}

impl Transform for Namespace {
    fn apply(&self, resources: &mut Vec<Resource>) -> Result<(), BuildError> {
        if self.namespace.is_empty() {
            return Ok(());
        }
        for resource in resources
            .iter_mut()
            .filter(|resource| !resource.is_from_helm)
        {
            self.set_in(resource)
                .map_err(|error| error.about(resource.id()))?;
        }
        let mut seen = HashSet::new();
        match resources
            .iter()
            .map(Resource::id)
            .find(|id| !seen.insert(id.clone().key()))
        {
            Some(id) => Err(BuildError::new(format!(
                "namespace transformation produces ID conflict: {id}"
            ))),
            None => Ok(()),
        }
    }
}

impl Namespace {
    fn set_in(&self, resource: &mut Resource) -> Result<(), BuildError> {
        resource.record_id();
        let id = resource.id();
        if !id.is_cluster_scoped() {
            self.set(walk::entry(
                walk::entry(&mut resource.node, "metadata"),
                "namespace",
            ))?;
        }
        let is_binding = matches!(id.kind.as_str(), "RoleBinding" | "ClusterRoleBinding");
        if is_binding {
            self.set_subjects(resource)?;
        }
        // `metadata/name` is only set in objects of the core API, where it is the name of a
        // Namespace.
        let is_core = resource.node.get("apiVersion").and_then(Node::as_str) == Some("v1");
        for spec in self.fields.iter().filter(|spec| spec.selects(&id)) {
            let is_special = spec.path == "metadata/namespace"
                || (spec.path == "metadata/name" && !is_core)
                || (is_binding && is_subject_namespace(spec));
            if !is_special {
                let mut change = |node: &mut Node| self.set(node);
                spec.visit(&mut resource.node, &mut change)?;
            }
        }
        Ok(())
    }

    fn set(&self, node: &mut Node) -> Result<(), BuildError> {
        if self.unset_only && node.as_str().is_some_and(|text| !text.is_empty()) {
            return Ok(());
        }
        let kind = node.kind();
        set_scalar(node, json::text(&self.namespace)).map_err(|_| {
            BuildError::new(format!(
                "namespace field specs must target scalar nodes, not {kind}"
            ))
        })
    }

    fn set_subjects(&self, binding: &mut Resource) -> Result<(), BuildError> {
        let Some(subjects) = walk::get_mut(&mut binding.node, "subjects") else {
            return Ok(());
        };
        let (member, text) = match self.subjects {
            Subjects::Default => ("name", "default"),
            Subjects::Accounts => ("kind", "ServiceAccount"),
            Subjects::None => return Ok(()),
        };
        let wrong = |node: &Node, expected: &str| {
            let message = format!(
                "wrong node kind: expected {expected} but got {}",
                node.kind()
            );
            BuildError::at(node.position, format!("subjects: {message}"))
        };
        if subjects.is_null() {
            return Ok(());
        }
        let error = wrong(subjects, "a list");
        let Value::Sequence(subjects) = &mut subjects.value else {
            return Err(error);
        };
        for subject in subjects {
            if subject.as_mapping().is_none() {
                return Err(wrong(subject, "a map"));
            }
            match subject.get(member) {
                Some(value) if value.as_str() == Some(text) => {
                    self.set(walk::entry(subject, "namespace"))?;
                }
                Some(value) if value.as_str().is_none() => return Err(wrong(value, "a scalar")),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Returns true if a field spec is about subjects, which `setRoleBindingSubjects` controls instead.
fn is_subject_namespace(spec: &FieldSpec) -> bool {
    matches!(&*spec.kind, "RoleBinding" | "ClusterRoleBinding") && spec.path == "subjects/namespace"
}
