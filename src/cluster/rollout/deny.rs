//! Objects that no component may contain, even in an approved plan: those that the operator
//! forbids, and the runner's own inventories.

use std::str::FromStr;

use serde_json::Value;

use crate::base::invalid::InvalidInput;
use crate::cluster::client::ClusterError;
use crate::cluster::rollout::inventory;
use crate::manifest::Object;

/// A rule of the setting `deploy.deny`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DenyRule {
    /// `KIND[.GROUP]`: all objects of a kind.
    Kind(String, Option<String>),
    /// `namespace:NAME`: the namespace and everything in it.
    Namespace(String),
    /// `binding:ROLE`: bindings of a role (`Role` or `ClusterRole`) to a subject other than a
    /// service account of the same set.
    Binding(String),
}

impl FromStr for DenyRule {
    type Err = InvalidInput;

    fn from_str(text: &str) -> Result<Self, InvalidInput> {
        let is_name = |name: &str| !name.is_empty() && !name.contains(char::is_whitespace);
        let rule = match text.split_once(':') {
            Some(("namespace", name)) if is_name(name) => Some(Self::Namespace(name.to_owned())),
            Some(("binding", role)) if is_name(role) => Some(Self::Binding(role.to_owned())),
            Some(_) => None,
            None => match text.split_once('.') {
                Some((kind, group)) if is_name(kind) && is_name(group) => {
                    Some(Self::Kind(kind.into(), Some(group.into())))
                }
                None if is_name(text) => Some(Self::Kind(text.into(), None)),
                _ => None,
            },
        };
        rule.ok_or_else(|| {
            format!("{text:?} is none of KIND, KIND.GROUP, namespace:NAME and binding:ROLE").into()
        })
    }
}

impl DenyRule {
    /// Returns why the rule forbids an object of a set, if it does.
    fn forbids(&self, object: &Object, set: &[Object]) -> Option<String> {
        match self {
            Self::Kind(kind, group) => {
                let is_it = kind == object.kind()
                    && group.as_ref().is_none_or(|group| group == object.group());
                is_it.then(|| format!("deploy.deny forbids objects of the kind {kind}"))
            }
            Self::Namespace(name) => {
                let is_in =
                    object.namespace() == name || (object.is_namespace() && object.name() == name);
                is_in.then(|| format!("deploy.deny forbids the namespace {name}"))
            }
            Self::Binding(role) => {
                let is_binding = object.group() == "rbac.authorization.k8s.io"
                    && object.kind().ends_with("Binding");
                let given = object
                    .0
                    .get("roleRef")
                    .and_then(|of| of.get("name"))
                    .and_then(Value::as_str);
                let stranger =
                    foreign_subject(object, set).filter(|_| is_binding && given == Some(role));
                stranger.map(|who| format!("deploy.deny forbids binding the role {role} to {who}"))
            }
        }
    }
}

/// Returns the first subject of a binding that is not a service account of the set.
fn foreign_subject(binding: &Object, set: &[Object]) -> Option<String> {
    let subjects = binding
        .0
        .get("subjects")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    subjects
        .map(|subject| {
            let text = |member: &str| {
                subject
                    .get(member)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
            };
            let (kind, name) = (text("kind"), text("name"));
            let namespace = if text("namespace").is_empty() {
                binding.namespace()
            } else {
                text("namespace")
            };
            let is_own = kind == "ServiceAccount"
                && set.iter().any(|object| {
                    object.kind() == kind
                        && object.name() == name
                        && [namespace, ""].contains(&object.namespace())
                });
            (is_own, format!("{kind} {name}"))
        })
        .find_map(|(is_own, who)| (!is_own).then_some(who))
}

/// Returns the forbidden objects of a set, each with the reason.
pub fn refusals<'a>(set: &'a [Object], rules: &[DenyRule]) -> Vec<(&'a Object, String)> {
    let forbidden = |object: &'a Object| {
        Some((
            object,
            rules.iter().find_map(|rule| rule.forbids(object, set))?,
        ))
    };
    set.iter().filter_map(forbidden).collect()
}

/// Refuses a set that contains an inventory, which could replace that of another component.
///
/// # Errors
/// Fails with [`ClusterError::Guarded`] if an object is named or labeled as an inventory.
pub fn refuse_inventories(set: &[Object]) -> Result<(), ClusterError> {
    match set.iter().find(|object| inventory::is_inventory(object)) {
        Some(object) => Err(ClusterError::Guarded(format!(
            "{} is named or labeled as an inventory of this runner, which no component may contain",
            object.subject()
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Object {
        Object(value.as_object().unwrap().clone())
    }

    #[test]
    fn rules_forbid_kinds_namespaces_and_roles_of_strangers() {
        let rules: Vec<DenyRule> = [
            "Secret",
            "Widget.example.org",
            "namespace:kube-system",
            "binding:cluster-admin",
        ]
        .iter()
        .map(|text| text.parse().unwrap())
        .collect();
        let binding = |subject: Value, role: &str| {
            object(
                json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "b"},
                "roleRef": {"kind": "ClusterRole", "name": role}, "subjects": [subject]}),
            )
        };
        let account = object(
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "own", "namespace": "shop"}}),
        );
        let own = json!({"kind": "ServiceAccount", "name": "own", "namespace": "shop"});
        let forbidden = |one: Object| refusals(&[one, account.clone()], &rules).len() == 1;
        assert!(forbidden(object(
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}})
        )));
        assert!(forbidden(object(
            json!({"apiVersion": "example.org/v1", "kind": "Widget"})
        )));
        assert!(!forbidden(object(
            json!({"apiVersion": "other.org/v1", "kind": "Widget"})
        )));
        assert!(forbidden(object(
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kube-system"}})
        )));
        assert!(forbidden(object(
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "kube-system"}})
        )));
        assert!(forbidden(binding(
            json!({"kind": "User", "name": "somebody"}),
            "cluster-admin"
        )));
        assert!(forbidden(binding(
            json!({"kind": "ServiceAccount", "name": "own", "namespace": "other"}),
            "cluster-admin"
        )));
        assert!(!forbidden(binding(own, "cluster-admin")));
        assert!(!forbidden(binding(
            json!({"kind": "User", "name": "somebody"}),
            "view"
        )));
        for text in ["", "namespace:", "role:x", "a b", ".x"] {
            assert!(text.parse::<DenyRule>().is_err(), "{text}");
        }
    }

    #[test]
    fn inventories_are_the_runners_own() {
        let map = |name: &str, labels: Value| {
            object(
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}}),
            )
        };
        let labels = json!({"app.kubernetes.io/component": "inventory", "app.kubernetes.io/managed-by": "nuon-runner"});
        assert!(refuse_inventories(&[map("nuon-inventory-web", json!({}))]).is_err());
        assert!(refuse_inventories(&[map("x", labels)]).is_err());
        // An application may use the label for something of its own.
        assert!(
            refuse_inventories(&[map(
                "x",
                json!({"app.kubernetes.io/component": "inventory"})
            )])
            .is_ok()
        );
    }
}
