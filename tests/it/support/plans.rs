//! Plans of jobs.

use serde_json::{Value, json};

/// Returns a deploy plan. The component's ID depends on the namespace or, in the shared namespace
/// `default`, on the manifest.
pub fn deploy(namespace: &str, manifest: &str, kubeconfig: &str) -> Value {
    let component = match namespace {
        "default" => format!("cmp{:016x}", hash_of(manifest)),
        namespace => format!("cmp{namespace}"),
    };
    json!({
        "install_id": "inl00000000000000000000001", "app_id": "app00000000000000000000001",
        "app_config_id": "apc00000000000000000000001", "component_id": component,
        "component_name": "web", "src_registry": null, "src_tag": "",
        "kubernetes_manifest": {
            "cluster_info": {"id": "testbed", "endpoint": "", "ca_data": "", "kube_config": kubeconfig},
            "namespace": namespace, "manifest": manifest,
        },
        "apply_plan_contents": "",
    })
}

fn hash_of(text: &str) -> u64 {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}
