//! References to names. Renaming an object changes those that refer to it; this engine does not do
//! that yet, so a build in which it would be needed is refused instead of being wrong.

use super::BuildError;
use super::resource::{Id, Resource};
use crate::yaml::{Node, Value};

/// Kinds whose names other objects refer to.
const REFERRED: [&str; 14] = [
    "ConfigMap",
    "Secret",
    "Service",
    "ServiceAccount",
    "Role",
    "ClusterRole",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "StorageClass",
    "PriorityClass",
    "Deployment",
    "StatefulSet",
    "ReplicaSet",
    "IngressClass",
];

/// Refuses a build in which a renamed or moved object is referred to as it was before.
pub(super) fn check(resources: &[Resource]) -> Result<(), BuildError> {
    let mut renamed = Vec::new();
    for resource in resources.iter().filter(|resource| REFERRED.contains(&resource.id().kind.as_str())) {
        let present = resource.id();
        renamed.extend(resource.earlier.iter().filter(|earlier| earlier.name != present.name).cloned());
    }
    for resource in resources {
        let id = resource.id();
        let refuse = |what: &str, old: &Id, member: &str| {
            let message = format!(
                "{} {:?} is {what}, and {} {} refers to it under {member}; references to such objects are not supported yet",
                old.kind, old.name, id.kind, id.name
            );
            Err(BuildError::new("", message))
        };
        for (key, value) in resource.node.as_mapping().unwrap_or_default() {
            let member = key.as_str().unwrap_or_default();
            if !NOT_REFERRING.contains(&member)
                && let Some(old) = find(value, &renamed)
            {
                return refuse("renamed", old, member);
            }
        }
        if let Some(account) = moved_subject(resource, resources) {
            return refuse("moved to another namespace", &account, "subjects");
        }
    }
    Ok(())
}

/// Members of objects that hold no references.
const NOT_REFERRING: [&str; 6] = ["metadata", "kind", "apiVersion", "data", "stringData", "binaryData"];

/// An account that a binding still names in the namespace where it was.
fn moved_subject(binding: &Resource, resources: &[Resource]) -> Option<Id> {
    let subjects = binding.node.get("subjects").and_then(Node::as_sequence).unwrap_or_default();
    let text = |subject: &Node, member: &str| subject.get(member).and_then(Node::as_str).unwrap_or_default().to_owned();
    let accounts = || resources.iter().filter(|resource| resource.id().kind == "ServiceAccount");
    subjects.iter().find_map(|subject| {
        let (name, namespace) = (text(subject, "name"), text(subject, "namespace"));
        let is_there = accounts().any(|account| account.id().name == name && account.id().namespace == namespace);
        if is_there {
            return None;
        }
        accounts().find(|account| account.ids().iter().any(|id| id.name == name)).map(|account| account.id())
    })
}

fn find<'a>(node: &Node, renamed: &'a [Id]) -> Option<&'a Id> {
    match &node.value {
        Value::Scalar(text, _) => renamed.iter().find(|id| *id.name == **text),
        Value::Sequence(items) => items.iter().find_map(|item| find(item, renamed)),
        Value::Mapping(pairs) => pairs
            .iter()
            .filter(|(key, _)| {
                key.as_str().is_some_and(|key| key != "labels" && key != "matchLabels" && key != "selector")
            })
            .find_map(|(_, value)| find(value, renamed)),
    }
}
