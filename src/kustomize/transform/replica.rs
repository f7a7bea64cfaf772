//! `replicas`.

use crate::kustomize::BuildError;
use crate::kustomize::field::{self, FieldSpec, entry};
use crate::kustomize::kustomization::Replicas;
use crate::kustomize::resource::Resource;
use crate::yaml::{Node, Style, Value};

const KINDS: [&str; 4] = ["Deployment", "ReplicationController", "ReplicaSet", "StatefulSet"];

pub(super) fn apply(resources: &mut [Resource], replicas: &[Replicas], more: &[FieldSpec]) -> Result<(), BuildError> {
    for wanted in replicas {
        let mut found = false;
        for resource in resources.iter_mut() {
            let id = resource.id();
            if !resource.ids().iter().any(|id| id.name == wanted.name) {
                continue;
            }
            let count = Node::new(Value::Scalar(wanted.count.to_string().into(), Style::Plain));
            if KINDS.contains(&id.kind.as_str()) {
                found = true;
                field::set(entry(&mut resource.node, "spec"), "replicas", count.clone());
            }
            for spec in more.iter().filter(|spec| spec.selects(&id)) {
                found = true;
                spec.visit(&mut resource.node, &mut |node| *node = count.clone())?;
            }
        }
        if !found {
            let message = format!("no {} is named {:?}", KINDS.join(", "), wanted.name);
            return Err(BuildError::new("replicas", message));
        }
    }
    Ok(())
}
