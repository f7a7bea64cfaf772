//! Stages of an apply: what others need comes first.

use serde_json::Value;

use crate::cluster::client::discovery::Served;
use crate::manifest::Object;

/// When an object is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Namespaces and definitions, which are waited for.
    Definitions,
    /// Classes, accounts, what gives rights, configuration and claims.
    Foundations,
    /// Everything else.
    Rest,
    /// What stands in the way of all others.
    Webhooks,
}

impl Stage {
    /// All, in order.
    pub const ALL: [Self; 4] = [
        Self::Definitions,
        Self::Foundations,
        Self::Rest,
        Self::Webhooks,
    ];

    /// As it is told.
    pub fn words(self) -> &'static str {
        match self {
            Self::Definitions => "namespaces and definitions",
            Self::Foundations => "classes, accounts, rights and configuration",
            Self::Rest => "workloads and the rest",
            Self::Webhooks => "webhooks",
        }
    }

    /// The stage of an object.
    pub fn of(object: &Object) -> Self {
        if object.is_namespace() || object.is_definition() {
            return Self::Definitions;
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

/// What the objects of a set bring along themselves, and the cluster need not have yet.
#[derive(Debug, Default)]
pub struct Brought {
    /// Names of namespaces.
    pub namespaces: Vec<String>,
    /// Group and kind, and whether it is namespaced.
    kinds: Vec<(String, String, bool)>,
}

impl Brought {
    /// Looks through a set.
    pub fn by(objects: &[Object]) -> Self {
        let mut brought = Self::default();
        for object in objects {
            if object.is_namespace() {
                brought.namespaces.push(object.name().to_owned());
            }
            if let Some((group, kind)) = object.defines() {
                let scope = object.0.get("spec").and_then(|spec| spec.get("scope"));
                brought.kinds.push((
                    group.to_owned(),
                    kind.to_owned(),
                    scope.is_some_and(|scope| scope == "Namespaced"),
                ));
            }
        }
        brought
    }

    /// Whether an object's kind comes with the set, and then whether it is namespaced.
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

/// Gives every namespaced object a namespace, and takes it from those that have none.
pub fn place(objects: &mut [Object], namespace: &str, served: &Served, brought: &Brought) {
    for object in objects {
        let namespaced = served
            .resource(object)
            .ok()
            .map(|resource| resource.namespaced)
            .or_else(|| brought.kind(object));
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
