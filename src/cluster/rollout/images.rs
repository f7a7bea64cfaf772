//! Finds the images that objects use, and the architectures of the cluster's nodes.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::cluster::client::Api;
use crate::cluster::client::api::Select;
use crate::cluster::rollout::snapshot::Snapshot;
use crate::manifest::Object;

/// Images and pull secrets of a workload.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct UsedImages {
    /// Image references, without duplicates.
    pub images: BTreeSet<String>,
    /// Names of the pull secrets.
    pub pull_secrets: BTreeSet<String>,
}

/// Returns the images of a Pod or workload; nothing for other kinds.
pub fn of(object: &Object) -> UsedImages {
    let Some(path) = object.pod_path() else {
        return UsedImages::default();
    };
    let spec = path.split_first().and_then(|(first, rest)| {
        rest.iter()
            .try_fold(object.0.get(*first)?, |value, member| value.get(*member))
    });
    let texts = |list: &str, member: &str| -> BTreeSet<String> {
        let items = spec
            .and_then(|spec| spec.get(list)?.as_array())
            .into_iter()
            .flatten();
        items
            .filter_map(|item| item.get(member).and_then(Value::as_str).map(str::to_owned))
            .collect()
    };
    let images = texts("initContainers", "image")
        .into_iter()
        .chain(texts("containers", "image"))
        .collect();
    UsedImages {
        images,
        pull_secrets: texts("imagePullSecrets", "name"),
    }
}

/// Returns the architectures of the first page of nodes; empty if nodes may not be read.
pub async fn architectures(api: &Api, snapshot: &Snapshot) -> BTreeSet<String> {
    let Ok(resource) = snapshot.served.kind("v1", "Node") else {
        return BTreeSet::new();
    };
    let page = api.page(&resource.api, "", &Select::labels(""), None).await;
    let nodes = page.map(|page| page.objects).unwrap_or_default();
    let of = |node: &Object| {
        node.metadata("labels")?
            .get("kubernetes.io/arch")?
            .as_str()
            .map(str::to_owned)
    };
    nodes.iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn images_of_all_containers_are_found_once() {
        let containers = json!([{"image": "a"}, {"image": "b"}, {"image": "a"}]);
        let spec = json!({"containers": containers, "initContainers": [{"image": "i"}], "imagePullSecrets": [{"name": "s"}]});
        let job = json!({"apiVersion": "batch/v1", "kind": "CronJob", "spec": {"jobTemplate": {"spec": {"template": {"spec": spec}}}}});
        let used = of(&Object(job.as_object().unwrap().clone()));
        assert_eq!(used.images.into_iter().collect::<Vec<_>>(), ["a", "b", "i"]);
        assert_eq!(used.pull_secrets.into_iter().collect::<Vec<_>>(), ["s"]);
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap"});
        assert_eq!(
            of(&Object(map.as_object().unwrap().clone())),
            UsedImages::default()
        );
    }
}
