//! `namePrefix` and `nameSuffix`.

use crate::kustomize::resource::Resource;

/// Kinds whose names mean something and are left.
const LEFT: [&str; 3] = ["CustomResourceDefinition", "APIService", "Namespace"];

pub(super) fn apply(resources: &mut [Resource], prefix: &str, suffix: &str) {
    if prefix.is_empty() && suffix.is_empty() {
        return;
    }
    for resource in resources {
        let id = resource.id();
        if !LEFT.contains(&id.kind.as_str()) {
            resource.remember();
            resource.set_metadata("name", &format!("{prefix}{}{suffix}", id.name));
        }
    }
}
