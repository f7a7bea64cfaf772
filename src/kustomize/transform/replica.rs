//! `replicas`: sets the number of replicas of workloads.
//!
//! ```yaml
//! # the kustomization
//! replicas: [{name: web, count: 3}]
//! # before
//! {apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: 1}}
//! # after
//! {apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: 3}}
//! ```

use serde::Deserialize;

use super::Transform;
use crate::base::nearest::nearest;
use crate::kustomize::BuildError;
use crate::kustomize::resource::{Id, Resource};
use crate::kustomize::schema::configuration::Configuration;
use crate::kustomize::schema::field_spec::FieldSpec;
use crate::kustomize::schema::kustomization::Replicas;
use crate::kustomize::tree::walk::set_scalar;
use crate::yaml::{Node, Style, Value};

/// Sets the number of replicas of the workloads with a name.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ReplicaCountTransformer {
    replica: Replicas,
    field_specs: Vec<FieldSpec>,
}

pub(crate) fn from_entry(
    replicas: &Replicas,
    configuration: &Configuration,
) -> Result<ReplicaCountTransformer, BuildError> {
    Ok(ReplicaCountTransformer {
        replica: replicas.clone(),
        field_specs: configuration.replicas.clone(),
    })
}

impl Transform for ReplicaCountTransformer {
    fn apply(&self, resources: &mut Vec<Resource>) -> Result<(), BuildError> {
        let mut found = false;
        for field in &self.field_specs {
            let named = |resource: &Resource| {
                resource.any_id(|id| id.name == self.replica.name && field.selects(id))
            };
            for resource in resources.iter_mut().filter(|resource| named(resource)) {
                found = true;
                if field.selects(&resource.id()) {
                    let count = Node::new(Value::Scalar(
                        self.replica.count.to_string().into(),
                        Style::Plain,
                    ));
                    field.visit(&mut resource.node, &mut |node| {
                        set_scalar(node, count.clone())
                    })?;
                }
            }
        }
        if found {
            return Ok(());
        }
        let kinds: Vec<&str> = self.field_specs.iter().map(|field| &*field.kind).collect();
        let name = &self.replica.name;
        let ids: Vec<Id> = resources.iter().map(Resource::id).collect();
        let of_kinds = ids.iter().filter(|id| kinds.contains(&id.kind.as_str()));
        let near = nearest(name, of_kinds.map(|id| id.name.as_str()));
        let message = format!(
            "no object of the kinds {} is named {name}",
            kinds.join(", ")
        );
        Err(BuildError::new(message).suggest(near))
    }
}
