//! `namespace`.

use crate::kustomize::BuildError;
use crate::kustomize::field::{self, FieldSpec, at};
use crate::kustomize::json;
use crate::kustomize::resource::Resource;
use crate::yaml::{Node, Value};

/// Places beside `metadata.namespace`.
const FIELDS: [FieldSpec; 3] = [
    at("", "Namespace", "metadata/name", true),
    at("apiregistration.k8s.io", "APIService", "spec/service/namespace", true),
    at(
        "apiextensions.k8s.io",
        "CustomResourceDefinition",
        "spec/conversion/webhook/clientConfig/service/namespace",
        false,
    ),
];

pub(super) fn apply(resources: &mut [Resource], namespace: &str, more: &[FieldSpec]) -> Result<(), BuildError> {
    if namespace.is_empty() {
        return Ok(());
    }
    for resource in resources {
        let id = resource.id();
        resource.remember();
        if !id.is_cluster_scoped() {
            resource.set_metadata("namespace", namespace);
        }
        for spec in FIELDS
            .iter()
            .chain(more)
            .filter(|spec| spec.selects(&id) && (spec.kind != "Namespace" || id.group.is_empty()))
        {
            spec.visit(&mut resource.node, &mut |node| *node = json::text(namespace))?;
        }
        if matches!(id.kind.as_str(), "RoleBinding" | "ClusterRoleBinding") {
            subjects(resource, namespace);
        }
    }
    Ok(())
}

/// Of a binding's subjects the account `default` moves here; the others follow their objects when
/// references are fixed.
fn subjects(binding: &mut Resource, namespace: &str) {
    let Some(subjects) = field::get_mut(&mut binding.node, "subjects") else { return };
    let Value::Sequence(subjects) = &mut subjects.value else { return };
    for subject in subjects.iter_mut().filter(|subject| subject.get("name").and_then(Node::as_str) == Some("default")) {
        field::set(subject, "namespace", json::text(namespace));
    }
}
