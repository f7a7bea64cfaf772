//! Stages of an apply: objects that others depend on come first.

use serde_json::Value;

use crate::cluster::client::discovery::ServedKinds;
use crate::manifest::Object;

/// Stage in which an object is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Namespaces and CRDs. The apply waits until the CRDs are established.
    Prerequisites,
    /// Classes, service accounts, RBAC, configuration, volumes and volume claims.
    Foundations,
    /// Everything else.
    Rest,
    /// Webhook configurations, which may block the requests for all other objects.
    Webhooks,
}

impl Stage {
    /// All stages, in order.
    pub const ALL: [Self; 4] = [
        Self::Prerequisites,
        Self::Foundations,
        Self::Rest,
        Self::Webhooks,
    ];

    /// Returns the words that progress messages use.
    pub fn words(self) -> &'static str {
        match self {
            Self::Prerequisites => "namespaces and CRDs",
            Self::Foundations => "classes, service accounts, RBAC and configuration",
            Self::Rest => "workloads and the rest",
            Self::Webhooks => "webhooks",
        }
    }

    /// Returns the stage of an object.
    pub fn of(object: &Object) -> Self {
        if object.is_namespace() || object.is_crd() {
            return Self::Prerequisites;
        }
        match object.kind() {
            "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => Self::Webhooks,
            "ServiceAccount"
            | "ConfigMap"
            | "Secret"
            | "PersistentVolumeClaim"
            | "PersistentVolume" => Self::Foundations,
            kind if kind.ends_with("Class") || object.group() == "rbac.authorization.k8s.io" => {
                Self::Foundations
            }
            _ => Self::Rest,
        }
    }
}

/// Namespaces and kinds that the set itself defines, so that the cluster need not have them yet.
#[derive(Debug, Default)]
pub struct Provided {
    /// Names of the namespaces in the set.
    pub namespaces: Vec<String>,
    /// Group and kind of each CRD in the set, and whether the kind is namespaced.
    kinds: Vec<(String, String, bool)>,
}

impl Provided {
    /// Collects them from a set.
    pub fn of(objects: &[Object]) -> Self {
        let mut provided = Self::default();
        for object in objects {
            if object.is_namespace() {
                provided.namespaces.push(object.name().to_owned());
            }
            if let Some((group, kind)) = object.defined_kind() {
                let scope = object.0.get("spec").and_then(|spec| spec.get("scope"));
                provided.kinds.push((
                    group.to_owned(),
                    kind.to_owned(),
                    scope.is_some_and(|scope| scope == "Namespaced"),
                ));
            }
        }
        provided
    }

    /// Returns whether an object's kind is namespaced, if the set defines the kind.
    pub fn kind(&self, object: &Object) -> Option<bool> {
        let is_it = |(group, kind, _): &&(String, String, bool)| {
            group == object.group() && kind == object.kind()
        };
        self.kinds
            .iter()
            .find(is_it)
            .map(|(.., namespaced)| *namespaced)
    }
}

/// Sets the namespace of namespaced objects that have none, and removes it from cluster-scoped
/// objects.
pub fn set_namespaces(
    objects: &mut [Object],
    namespace: &str,
    served: &ServedKinds,
    provided: &Provided,
) {
    for object in objects {
        let namespaced = served
            .resource(object)
            .ok()
            .map(|resource| resource.namespaced)
            .or_else(|| provided.kind(object));
        match namespaced {
            Some(true) if object.namespace().is_empty() => object.set_namespace(namespace),
            Some(false) => {
                if let Some(Value::Object(metadata)) = object.0.get_mut("metadata") {
                    metadata.shift_remove("namespace");
                }
            }
            _ => {}
        }
    }
}
