//! Unions: members of a built-in kind of which an object has at most one, such as the handlers of
//! a probe or the sources of a volume.
//!
//! An apply removes only fields that its manager owns. A member that the server has defaulted, or
//! that another client has set, would stay beside the one that the manifest names, and the server
//! refuses an object with both. So it is removed explicitly.

use serde_json::Value;

use crate::manifest::Object;

/// How the members of a union exclude each other.
enum Rule {
    /// Any of these members excludes the others.
    OneOf(&'static [&'static str]),
    /// Any member excludes the others, except `name`, which all may have.
    OneBesideName,
    /// A member is present only while the discriminator has this value: (discriminator, value,
    /// member).
    Selected(&'static str, &'static str, &'static str),
}

/// A union: where it is, and its rule. A step `*` stands for the items of a list that `name` keys.
type Union = (&'static str, Rule);

const HANDLERS: Rule = Rule::OneOf(&["exec", "httpGet", "tcpSocket", "grpc", "sleep"]);
const LOCALHOST: Rule = Rule::Selected("type", "Localhost", "localhostProfile");
const ROLLING: Rule = Rule::Selected("type", "RollingUpdate", "rollingUpdate");

/// Lists of containers in a pod.
const CONTAINERS: [&str; 2] = ["containers", "initContainers"];

const OF_CONTAINERS: [Union; 9] = [
    ("livenessProbe", HANDLERS),
    ("readinessProbe", HANDLERS),
    ("startupProbe", HANDLERS),
    ("lifecycle.postStart", HANDLERS),
    ("lifecycle.preStop", HANDLERS),
    ("env.*", Rule::OneOf(&["value", "valueFrom"])),
    ("env.*.valueFrom", Rule::OneBesideName),
    ("securityContext.seccompProfile", LOCALHOST),
    ("securityContext.appArmorProfile", LOCALHOST),
];

const OF_PODS: [Union; 4] = [
    ("volumes.*", Rule::OneBesideName),
    ("resourceClaims.*", Rule::OneBesideName),
    ("securityContext.seccompProfile", LOCALHOST),
    ("securityContext.appArmorProfile", LOCALHOST),
];

/// Returns the unions of a kind outside of its pods.
fn of_kind(object: &Object) -> &'static [Union] {
    const BACKENDS: Rule = Rule::OneOf(&["service", "resource"]);
    const CLIENTS: Rule = Rule::OneOf(&["url", "service"]);
    match (object.group(), object.kind()) {
        ("apps", "Deployment") => &[("spec.strategy", ROLLING)],
        ("apps", "StatefulSet" | "DaemonSet") => &[("spec.updateStrategy", ROLLING)],
        ("policy", "PodDisruptionBudget") => {
            &[("spec", Rule::OneOf(&["minAvailable", "maxUnavailable"]))]
        }
        ("networking.k8s.io", "Ingress") => &[("spec.defaultBackend", BACKENDS)],
        (
            "admissionregistration.k8s.io",
            "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration",
        ) => &[("webhooks.*.clientConfig", CLIENTS)],
        ("apiextensions.k8s.io", "CustomResourceDefinition") => &[
            (
                "spec.conversion",
                Rule::Selected("strategy", "Webhook", "webhook"),
            ),
            ("spec.conversion.webhook.clientConfig", CLIENTS),
        ],
        ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration") => &[
            ("spec", Rule::Selected("type", "Limited", "limited")),
            ("spec", Rule::Selected("type", "Exempt", "exempt")),
            (
                "spec.limited.limitResponse",
                Rule::Selected("type", "Queue", "queuing"),
            ),
        ],
        _ => &[],
    }
}

/// Returns true if a live object has union members that the manifest excludes.
pub fn has_excluded(live: &Object, wanted: &Object) -> bool {
    remove_excluded(&mut Value::Object(live.0.clone()), wanted)
}

/// Removes from `after`, the merge of a manifest into the live object, the union members that the
/// manifest excludes by naming another one. Returns true if there was one.
pub(super) fn remove_excluded(after: &mut Value, wanted: &Object) -> bool {
    let mut removed = false;
    let whole = Value::Object(wanted.0.clone());
    let mut each = |prefix: &str, unions: &[Union]| {
        for (path, rule) in unions {
            let path = prefix.split('.').chain(path.split('.'));
            let path: Vec<&str> = path.filter(|step| !step.is_empty()).collect();
            removed |= remove_at(after, &whole, &path, rule);
        }
    };
    each("", of_kind(wanted));
    if let Some(pod) = wanted.pod_path() {
        let pod = pod.join(".");
        each(&pod, &OF_PODS);
        for containers in CONTAINERS {
            each(&format!("{pod}.{containers}.*"), &OF_CONTAINERS);
        }
    }
    removed
}

fn remove_at(after: &mut Value, wanted: &Value, path: &[&str], rule: &Rule) -> bool {
    match path.split_first() {
        None => remove_by(after, wanted, rule),
        Some((&"*", rest)) => {
            let (Value::Array(items), Value::Array(wanted)) = (after, wanted) else {
                return false;
            };
            let mut removed = false;
            for item in items {
                let same = wanted
                    .iter()
                    .find(|wanted| item.get("name") == wanted.get("name"));
                removed |= same.is_some_and(|same| remove_at(item, same, rest, rule));
            }
            removed
        }
        Some((member, rest)) => match (after.get_mut(member), wanted.get(member)) {
            (Some(after), Some(wanted)) => remove_at(after, wanted, rest, rule),
            _ => false,
        },
    }
}

fn remove_by(after: &mut Value, wanted: &Value, rule: &Rule) -> bool {
    let (Value::Object(after), Value::Object(wanted)) = (after, wanted) else {
        return false;
    };
    let is_named = |member: &str| wanted.get(member).is_some_and(|value| !value.is_null());
    let is_member = |member: &str| match rule {
        Rule::OneOf(members) => members.contains(&member),
        Rule::OneBesideName => member != "name",
        Rule::Selected(_, _, selected) => member == *selected,
    };
    let excludes = match rule {
        Rule::Selected(discriminator, value, _) => wanted
            .get(*discriminator)
            .is_some_and(|text| text.is_string() && text != value),
        _ => wanted
            .keys()
            .any(|member| is_member(member) && is_named(member)),
    };
    let before = after.len();
    after.retain(|member, _| !(excludes && is_member(member) && !is_named(member)));
    after.len() < before
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn removed(wanted: Value, mut after: Value) -> (bool, Value) {
        let wanted = Object(wanted.as_object().unwrap().clone());
        let removed = remove_excluded(&mut after, &wanted);
        (removed, after)
    }

    #[test]
    fn members_go_that_the_manifest_excludes_by_naming_another_one() {
        let budget = |spec: Value| json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "spec": spec});
        let both = budget(json!({"minAvailable": 1, "maxUnavailable": 1, "selector": {}}));
        assert_eq!(
            removed(budget(json!({"maxUnavailable": 1})), both.clone()),
            (true, budget(json!({"maxUnavailable": 1, "selector": {}})))
        );
        for names_none_or_both in [json!({"minAvailable": null}), both["spec"].clone()] {
            assert!(!removed(budget(names_none_or_both), both.clone()).0);
        }
    }

    #[test]
    fn a_member_goes_with_the_value_that_selects_it() {
        let deployment = |strategy: Value| json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"strategy": strategy}});
        let both = deployment(json!({"type": "Recreate", "rollingUpdate": {"maxSurge": 1}}));
        let recreate = json!({"type": "Recreate"});
        let without = deployment(recreate.clone());
        assert_eq!(
            removed(without.clone(), both.clone()),
            (true, without.clone())
        );
        let null = deployment(json!({"type": "Recreate", "rollingUpdate": null}));
        assert_eq!(removed(null, both.clone()), (true, without));
        for silent in [json!({}), json!({"type": "RollingUpdate"})] {
            assert!(!removed(deployment(silent), both.clone()).0);
        }
    }

    #[test]
    fn containers_and_volumes_are_found_by_name_in_every_kind_with_pods() {
        let of = |probe: Value, volume: Value| {
            json!({"apiVersion": "batch/v1", "kind": "CronJob", "spec": {"jobTemplate": {"spec": {"template": {"spec": {
                "initContainers": [{"name": "other"}, {"name": "c", "livenessProbe": probe}], "volumes": [volume]}}}}}})
        };
        let both = of(
            json!({"exec": {}, "grpc": {}, "periodSeconds": 1}),
            json!({"name": "v", "emptyDir": {}, "secret": {}}),
        );
        let wanted = of(
            json!({"grpc": {}, "periodSeconds": 1}),
            json!({"name": "v", "secret": {}}),
        );
        assert_eq!(removed(wanted.clone(), both), (true, wanted));
    }
}
