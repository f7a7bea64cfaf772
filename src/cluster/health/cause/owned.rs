//! Finds the objects that an object owns, and the pods that explain why it is not ready.

use serde_json::Value;

use crate::cluster::client::api::Select;
use crate::cluster::client::discovery::ServedKinds;
use crate::cluster::client::{Api, ClusterError};
use crate::cluster::health::cause::pod::condition;
use crate::manifest::Object;

/// Returns the objects of a kind that `owner` selects and owns, of the first page of the list.
///
/// # Errors
/// Fails if the cluster does not serve the kind, or the list request fails.
pub async fn owned_by(
    api: &Api,
    served: &ServedKinds,
    owner: &Object,
    api_version: &str,
    kind: &str,
) -> Result<Vec<Object>, ClusterError> {
    let Some(labels) = selector(owner) else {
        return Ok(Vec::new());
    };
    let resource = &served.kind(api_version, kind)?.api;
    let page = api
        .page(resource, owner.namespace(), &Select::labels(&labels), None)
        .await?;
    let uid = owner.metadata("uid");
    let is_owned = |object: &Object| {
        let owners = object.metadata("ownerReferences").and_then(Value::as_array);
        owners
            .into_iter()
            .flatten()
            .any(|reference| reference.get("uid") == uid)
    };
    Ok(page.objects.into_iter().filter(is_owned).collect())
}

/// Returns the pods to diagnose: those of the current revision first, replaced ones last. Healthy
/// and terminating pods are left out.
pub fn pods_to_diagnose<'a>(owner: &Object, pods: &'a [Object]) -> Vec<&'a Object> {
    let stays = |pod: &&Object| pod.metadata("deletionTimestamp").is_none() && !is_healthy(pod);
    let mut candidates: Vec<&Object> = pods.iter().filter(stays).collect();
    candidates.sort_by_key(|pod| (is_replaced(owner, pod), !is_current_revision(owner, pod)));
    candidates
}

/// Returns true if the controller creates another pod in place of this one: the pod has failed, and
/// its owner is a workload or a Job that is still running.
pub fn is_replaced(owner: &Object, pod: &Object) -> bool {
    let phase = pod.0.get("status").and_then(|status| status.get("phase"));
    let goes_on =
        owner.group() == "apps" || (owner.kind() == "Job" && job_failure(owner).is_none());
    goes_on && phase.is_some_and(|phase| phase == "Failed")
}

/// Returns the condition by which a Job has failed or is about to.
pub fn job_failure(job: &Object) -> Option<&Value> {
    job.conditions().find(|condition| {
        let text = |member: &str| {
            condition
                .get(member)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        ["Failed", "FailureTarget"].contains(&text("type")) && text("status") == "True"
    })
}

/// Returns true if a pod belongs to the current revision. All pods of a ReplicaSet and of a Job do.
pub fn is_current_revision(owner: &Object, pod: &Object) -> bool {
    let label = |key: &str| {
        pod.metadata("labels")
            .and_then(|labels| labels.get(key)?.as_str())
    };
    match owner.kind() {
        "StatefulSet" => {
            let revision = owner
                .0
                .get("status")
                .and_then(|status| status.get("updateRevision")?.as_str());
            revision.is_none() || label("controller-revision-hash") == revision
        }
        "DaemonSet" => {
            let generation = owner.annotation("deprecated.daemonset.template.generation");
            generation.is_none() || label("pod-template-generation") == generation
        }
        _ => true,
    }
}

/// Returns true if a pod is ready or has succeeded.
pub fn is_healthy(pod: &Object) -> bool {
    let status = pod.0.get("status").unwrap_or(&Value::Null);
    let is_done = status
        .get("phase")
        .is_some_and(|phase| phase == "Succeeded");
    is_done || condition(status, "Ready", "True").is_some()
}

/// Formats `spec.selector` as a label selector.
fn selector(object: &Object) -> Option<String> {
    let selector = object.0.get("spec")?.get("selector")?;
    let labels = selector
        .get("matchLabels")
        .and_then(Value::as_object)
        .into_iter()
        .flatten();
    let mut terms: Vec<String> = labels
        .filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?)))
        .collect();
    for expression in selector
        .get("matchExpressions")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let key = expression.get("key")?.as_str()?;
        let values: Vec<&str> = expression
            .get("values")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        terms.push(match expression.get("operator")?.as_str()? {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "Exists" => key.to_owned(),
            _ => format!("!{key}"),
        });
    }
    Some(terms.join(",")).filter(|terms| !terms.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Object {
        Object(value.as_object().unwrap().clone())
    }

    fn pod(name: &str, labels: Value, status: Value) -> Object {
        object(
            json!({"kind": "Pod", "metadata": {"name": name, "labels": labels}, "status": status}),
        )
    }

    fn names(owner: &Object, pods: &[Object]) -> Vec<String> {
        pods_to_diagnose(owner, pods)
            .into_iter()
            .map(|pod| pod.name().to_owned())
            .collect()
    }

    #[test]
    fn pods_of_what_is_wanted_now_are_asked_first_and_those_on_their_way_out_never() {
        let set = object(
            json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "status": {"updateRevision": "new"}}),
        );
        let of = |revision: &str| json!({"controller-revision-hash": revision});
        let mut going = pod("going", of("new"), json!({}));
        going.0["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        let pods = [
            pod(
                "evicted",
                of("new"),
                json!({"phase": "Failed", "reason": "Evicted"}),
            ),
            pod("old", of("old"), json!({"phase": "Pending"})),
            pod(
                "well",
                of("new"),
                json!({"conditions": [{"type": "Ready", "status": "True"}]}),
            ),
            going,
            pod("new", of("new"), json!({"phase": "Pending"})),
        ];
        assert_eq!(names(&set, &pods), ["new", "old", "evicted"]);
        assert!(is_current_revision(&set, &pods[4]) && !is_current_revision(&set, &pods[1]));
    }

    #[test]
    fn selectors_of_both_forms_are_written() {
        let object = Object(
            json!({"spec": {"selector": {"matchLabels": {"app": "web"}, "matchExpressions": [
                {"key": "tier", "operator": "In", "values": ["a", "b"]}, {"key": "old", "operator": "DoesNotExist"},
            ]}}})
            .as_object()
            .unwrap()
            .clone(),
        );
        assert_eq!(selector(&object).unwrap(), "app=web,tier in (a,b),!old");
    }
}
