//! `replicas`.

use crate::kustomize::BuildError;
use crate::kustomize::field::{self, entry};
use crate::kustomize::kustomization::Replicas;
use crate::kustomize::resource::Resource;
use crate::yaml::{Node, Style, Value};

const KINDS: [&str; 4] = ["Deployment", "ReplicationController", "ReplicaSet", "StatefulSet"];

pub(super) fn apply(resources: &mut [Resource], replicas: &[Replicas]) -> Result<(), BuildError> {
    for wanted in replicas {
        let mut found = false;
        for resource in resources.iter_mut() {
            let is_kind = KINDS.contains(&resource.id().kind.as_str());
            if is_kind && resource.ids().iter().any(|id| id.name == wanted.name) {
                found = true;
                let count = Node::new(Value::Scalar(wanted.count.to_string().into(), Style::Plain));
                field::set(entry(&mut resource.node, "spec"), "replicas", count);
            }
        }
        if !found {
            let message = format!("no {} is named {:?}", KINDS.join(", "), wanted.name);
            return Err(BuildError::new("replicas", message));
        }
    }
    Ok(())
}
